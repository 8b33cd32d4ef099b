"""A small text encoder: factorised token table, pre-norm transformer, mean over tokens.

Paper: the factorised table is ALBERT's (arXiv 1909.11942, section 3.1); the blocks are those of
    arXiv 2002.04745, figure 1 (b); the mean over tokens is Sentence-BERT's (arXiv 1908.10084).
Reference: none; made for seesay/mini.
Differs: no special tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seesay.nn.blocks import PreNormBlock, initialise
from seesay.nn.masks import padding
from seesay.nn.norm import LayerNorm


class TextTower(nn.Module):
    """Token ids [B, L] to one vector [B, E] a text."""

    def __init__(
        self,
        *,
        vocab_size: int,
        token_width: int,
        width: int,
        depth: int,
        num_heads: int,
        mlp_width: int,
        max_length: int,
        embed_width: int,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, token_width)
        self.widen = nn.Linear(token_width, width)
        self.positions = nn.Parameter(torch.zeros(max_length, width))
        self.blocks = nn.ModuleList(
            PreNormBlock(width, num_heads, mlp_width, "gelu") for _ in range(depth)
        )
        self.norm = LayerNorm(width)
        self.project = nn.Linear(width, embed_width)
        nn.init.normal_(self.tokens.weight, std=0.05)
        nn.init.normal_(self.positions, std=0.02)
        initialise([b for b in self.blocks if isinstance(b, PreNormBlock)])

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode; `mask` [B, L] is True where a token counts, at least once a row."""
        x = self.widen(self.tokens(ids)) + self.positions[: ids.shape[1]]
        seen = padding(mask)
        for block in self.blocks:
            x = block(x, seen)
        x = self.norm(x).masked_fill(~mask[..., None], 0)
        mean = x.sum(1) / mask.sum(1, keepdim=True)
        return self.project(mean.to(x.dtype))  # type: ignore[no-any-return]
