"""SigLIP: an image tower and a bidirectional text tower, trained pair by pair."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.families.siglip.configs import SiglipConfig, TextConfig
from seesay.networks.vit import AttentionPooling, ViT
from seesay.nn.blocks import PreNormBlock, initialise
from seesay.nn.norm import LayerNorm


class Siglip(nn.Module):
    """Language-image pre-training with a sigmoid loss.

    exp(logit_scale) times the cosine plus logit_bias is the logit of "this text describes this
    image", of one pair whatever the others are.

    Paper: arXiv 2303.15343, section 3 and algorithm 1; arXiv 2502.14786 for SigLIP 2.
    Reference: google-research/big_vision, models/proj/image_text/two_towers.py and naflex_vit.py.
    Differs: a batch of pictures has one size. NaFlex pads sequences of patches to one length and
        masks the padding, which gives the same vectors.
    Shapes: pixels [B, 3, h, w] and ids [B, L] -> unit vectors [B, E].
    """

    def __init__(self, config: SiglipConfig) -> None:
        super().__init__()
        self.config = config
        self.image = ViT(config.image)
        self.image_map = PatchMap()
        self.image_pooling = AttentionPooling(config.image)
        self.text = TextEncoder(config.text)
        self.text_projection = nn.Linear(config.text.width, config.embed_width)
        nn.init.normal_(self.text_projection.weight, std=config.text.width**-0.5)
        nn.init.zeros_(self.text_projection.bias)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.logit_bias = nn.Parameter(torch.tensor(-10.0))

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return token features [B, P, D]."""
        return self.image(pixels)  # type: ignore[no-any-return]

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return features [B, max_length, D] of all positions; see `TextEncoder`."""
        return self.text(ids, mask)  # type: ignore[no-any-return]

    def pool_image(self, pixels: Tensor) -> Tensor:
        """Return the pooled features [B, E]."""
        rows = pixels.shape[-2] // self.config.image.patch_size
        patches = self.image_map(self.encode_image(pixels), rows)
        return self.image_pooling(patches.flatten(2).transpose(1, 2))  # type: ignore[no-any-return]

    def project_image(self, pooled: Tensor) -> Tensor:
        """Return unit vectors [B, E] of pooled features [B, E]: there is no projection."""
        return F.normalize(pooled, dim=-1)

    def embed_image(self, pixels: Tensor) -> Tensor:
        """Return unit vectors [B, E]."""
        return self.project_image(self.pool_image(pixels))

    def pool_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the features [B, D] at the last position, before the projection."""
        return self.text.last_position(ids, mask)

    def project_text(self, pooled: Tensor) -> Tensor:
        """Return unit vectors [B, E] of pooled features [B, D]."""
        return F.normalize(self.text_projection(pooled), dim=-1)

    def embed_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return unit vectors [B, E] of ids [B, L]; `mask` is True up to the end token."""
        return self.project_text(self.pool_text(ids, mask))

    def relevance_layer(self) -> nn.Module:
        """Return the map of patches that is pooled."""
        return self.image_map


class PatchMap(nn.Module):
    """Tokens of patches laid out as the image they come from, for whoever watches this module.

    Shapes: [B, P, D] -> [B, D, rows, columns].
    """

    def forward(self, tokens: Tensor, rows: int) -> Tensor:
        """Lay out."""
        columns = tokens.shape[1] // rows  # B may be 0
        return tokens.transpose(1, 2).reshape(len(tokens), tokens.shape[-1], rows, columns)


class TextEncoder(nn.Module):
    """A bidirectional transformer over token ids, padded to the number of positions.

    It was trained on texts padded to that length, reads the padding and speaks at the last
    position, which is padding more often than not. So it pads by itself: what stands where `mask`
    is False, and how much of it there is, changes nothing.

    Paper: arXiv 2303.15343, section 4.
    Reference: google-research/big_vision, models/proj/image_text/text_transformer.py.
    Differs: nothing known. transformers masks the padding when it is given a mask, unlike in
        training; its released tokenizers give none.
    Shapes: ids [B, L] -> [B, max_length, D].
    """

    def __init__(self, config: TextConfig) -> None:
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
        nn.init.normal_(self.token_embedding.weight, std=width**-0.5)
        nn.init.normal_(self.position_embedding, std=width**-0.5)
        initialise(list(self.blocks))  # type: ignore[arg-type]

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the normalised features of every position."""
        x = self.embed_tokens(ids, mask)
        for block in self.blocks:
            x = block(x)
        return self.final_norm(x)  # type: ignore[no-any-return]

    def last_position(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the last of `forward` [B, D], sparing the others the last block."""
        x = self.embed_tokens(ids, mask)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        # attention does not mind the order, so the one that is wanted may come first
        return self.final_norm(last(x.roll(1, dims=1), queries=1)[:, 0])  # type: ignore[no-any-return]

    def embed_tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return what the first block reads: [B, max_length, D].

        Raises:
            ValueError: There are more tokens than positions.
        """
        length, longest = ids.shape[1], self.config.max_length
        if length > longest:
            raise ValueError(f"{length} tokens, but there are {longest} positions")
        ids = ids.masked_fill(~mask, self.config.pad_id)
        ids = F.pad(ids, (0, longest - length), value=self.config.pad_id)
        return self.token_embedding(ids) + self.position_embedding  # type: ignore[no-any-return]
