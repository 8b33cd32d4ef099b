"""A causal text tower: token ids to features, each of which has seen what stands before it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seesay.nn.blocks import PreNormBlock, initialise
from seesay.nn.masks import causal, padding
from seesay.nn.norm import LayerNorm


@dataclass(frozen=True, kw_only=True)
class CausalTextConfig:
    """The published facts of a text tower.

    Attributes:
        vocab_size: V.
        max_length: Number of positions.
        width: D.
        depth: Number of blocks.
        num_heads: H.
        mlp_width: Width inside the feed-forward networks.
        activation: "gelu" or "quick_gelu", whichever the weights were trained with.
        eps: Added to the variance in all norms.
        end_id: The id that ends a text, where it is pooled; None pools at the highest id.
    """

    vocab_size: int = 49408
    max_length: int = 77
    width: int
    depth: int
    num_heads: int
    mlp_width: int
    activation: str
    eps: float = 1e-5
    end_id: int | None = 49407


class CausalText(nn.Module):
    """A causal transformer over token ids.

    Paper: arXiv 2103.00020, section 2.4; architecture of GPT-2.
    Reference: openai/CLIP, clip/model.py, CLIP.encode_text; microsoft/UniCL,
        model/text_encoder/transformer.py.
    Differs: takes texts of any length up to the number of positions; pools at the first end token,
        not at the highest id. The two agree unless ids were added to the vocabulary.
    Shapes: ids [B, L] -> [B, L, D].
    """

    def __init__(self, config: CausalTextConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.position_embedding = nn.Parameter(torch.empty(config.max_length, width))
        self.blocks = nn.ModuleList(
            PreNormBlock(width, config.num_heads, config.mlp_width, config.activation, config.eps)
            for _ in range(config.depth)
        )
        self.final_norm = LayerNorm(width, eps=config.eps)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.position_embedding, std=0.01)
        initialise(list(self.blocks))  # type: ignore[arg-type]

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the normalised features of every token.

        Args:
            ids: [B, L].
            mask: [B, L], True from start to end token.

        Raises:
            ValueError: There are more tokens than positions.
        """
        length = ids.shape[1]
        if length > self.config.max_length:
            raise ValueError(f"{length} tokens, but there are {self.config.max_length} positions")
        x = self.token_embedding(ids) + self.position_embedding[:length]  # [B, L, D]
        allowed = causal(length, ids.device) & padding(mask)  # [B, 1, L, L]
        for block in self.blocks:
            x = block(x, allowed)
        return self.final_norm(x)  # type: ignore[no-any-return]

    def pool(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the features [B, D] that stand for each text: those of its first end token.

        Checkpoints that do not say which id ends a text are pooled at the highest id.
        """
        tokens = self(ids, mask)
        end = self.config.end_id
        places = ids.argmax(-1) if end is None else (ids == end).int().argmax(-1)
        return tokens[torch.arange(len(ids), device=ids.device), places]  # type: ignore[no-any-return]
