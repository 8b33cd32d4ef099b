"""The vision transformer: an image as a sequence of patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.nn.attention import MultiHeadAttention
from seesay.nn.blocks import PreNormBlock, initialise
from seesay.nn.mlp import Mlp
from seesay.nn.norm import LayerNorm
from seesay.nn.patches import PatchEmbedding


@dataclass(frozen=True, kw_only=True)
class VitConfig:
    """The published facts of one vision transformer.

    Attributes:
        image_size: Height and width in pixels that the positions were trained for.
        patch_size: Side of a square patch in pixels.
        width: D.
        depth: Number of blocks.
        num_heads: H.
        mlp_width: Width inside the feed-forward networks.
        activation: A name in `seesay.nn.mlp.ACTIVATIONS`, the one the weights were trained with.
        eps: Added to the variance in all norms.
        pre_norm: Whether the patch tokens are normalised before the first block.
        patch_bias: Whether the patch projection has a bias.
        class_token: Whether a learned token, which stands for the image, comes before the patches.
        resampling: How positions are found for another grid than the trained one: "bicubic", or
            "bilinear", which averages over all of the table where the new grid is coarser.
    """

    image_size: tuple[int, int] = (224, 224)
    patch_size: int
    width: int
    depth: int
    num_heads: int
    mlp_width: int
    activation: str = "gelu"
    eps: float = 1e-5
    pre_norm: bool = False
    patch_bias: bool = True
    class_token: bool = True
    resampling: Literal["bicubic", "bilinear"] = "bicubic"

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches at the trained image size."""
        height, width = self.image_size
        return height // self.patch_size, width // self.patch_size


class ViT(nn.Module):
    """Patches, and perhaps a class token, through pre-norm transformer blocks.

    Paper: arXiv 2010.11929, section 3.1.
    Reference: openai/CLIP, clip/model.py, VisionTransformer; salesforce/BLIP, models/vit.py;
        google-research/big_vision, models/vit.py, for the one without a class token.
    Differs: an image of another size than the trained one gets its positions resampled
        (as transformers' `interpolate_pos_encoding`); what lies past the last whole patch is not
        seen.
    Shapes: pixels [B, 3, h, w] -> tokens [B, 1 + P, D], the class token first; [B, P, D] without.
    """

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config
        rows, columns = config.grid
        width, patch = config.width, config.patch_size
        self.patch_embedding = PatchEmbedding(3, width, patch, bias=config.patch_bias)
        if config.class_token:
            self.class_embedding = nn.Parameter(torch.empty(width))
        positions = rows * columns + config.class_token
        self.position_embedding = nn.Parameter(torch.empty(positions, width))
        self.pre_norm = LayerNorm(width, eps=config.eps) if config.pre_norm else nn.Identity()
        self.blocks = nn.ModuleList(
            PreNormBlock(width, config.num_heads, config.mlp_width, config.activation, config.eps)
            for _ in range(config.depth)
        )
        self.final_norm = LayerNorm(width, eps=config.eps)
        self.initialise()

    def initialise(self) -> None:
        """Draw fresh weights."""
        scale = self.config.width**-0.5
        if self.config.class_token:
            nn.init.normal_(self.class_embedding, std=scale)
        nn.init.normal_(self.position_embedding, std=scale)
        initialise(list(self.blocks))  # type: ignore[arg-type]

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the tokens after the last block and the final norm."""
        x = self.embed_patches(pixels)
        for block in self.blocks:
            x = block(x)
        return self.final_norm(x)  # type: ignore[no-any-return]

    def class_token(self, pixels: Tensor) -> Tensor:
        """Return the first token of `forward` [B, D], sparing the others the last block."""
        x = self.embed_patches(pixels)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        return self.final_norm(last(x, queries=1)[:, 0])  # type: ignore[no-any-return]

    def embed_patches(self, pixels: Tensor) -> Tensor:
        """Return what the first block reads: [B, 1 + P, D], or [B, P, D]."""
        patches = self.patch_embedding(pixels)  # [B, D, rows, columns]
        rows, columns = patches.shape[-2:]
        tokens = patches.flatten(2).transpose(1, 2)  # [B, P, D]
        if self.config.class_token:
            start = self.class_embedding.expand(len(tokens), 1, -1)
            tokens = torch.cat([start, tokens], 1)
        # under autocast the products are in bfloat16 and the positions, so the stream, in float32:
        # a gradient that went through a rounded stream is three times as far off
        return self.pre_norm(tokens + self.positions(rows, columns))  # type: ignore[no-any-return]

    def positions(self, rows: int, columns: int) -> Tensor:
        """Return the position embeddings [1 + P, D], or [P, D], of a grid of patches."""
        config = self.config
        if (rows, columns) == config.grid:
            return self.position_embedding
        return resample_positions(
            self.position_embedding, config.grid, (rows, columns), config.resampling
        )


def resample_positions(
    table: Tensor,
    grid: tuple[int, int],
    wanted: tuple[int, int],
    mode: Literal["bicubic", "bilinear"] = "bicubic",
) -> Tensor:
    """Return a position table for another grid, interpolated in fp32.

    Args:
        table: [rows * columns, D], perhaps after rows of other tokens, which are kept.
        grid: Rows and columns of the table.
        wanted: Rows and columns of the result.
        mode: "bicubic"; or "bilinear" with the filter widened where the result is smaller.
    """
    others = len(table) - grid[0] * grid[1]
    start, image = table[:others], table[others:]
    image = image.float().reshape(*grid, -1).permute(2, 0, 1)[None]  # [1, D, rows, columns]
    image = F.interpolate(image, size=wanted, mode=mode, antialias=mode == "bilinear")
    return torch.cat([start, image[0].flatten(1).T.to(table.dtype)])


class AttentionPooling(nn.Module):
    """One vector for an image: a learned query attends to its tokens, then a feed-forward network.

    Paper: arXiv 2106.04560, section 3.2 (multihead attention pooling).
    Reference: google-research/big_vision, models/vit.py, MAPHead.
    Differs: nothing known.
    Shapes: tokens [B, P, D] -> [B, D].
    """

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        width = config.width
        self.query = nn.Parameter(torch.empty(1, width))
        self.attention = MultiHeadAttention(width, config.num_heads)
        self.norm = LayerNorm(width, eps=config.eps)
        self.mlp = Mlp(width, config.mlp_width, config.activation)
        self.initialise()

    def initialise(self) -> None:
        """Draw fresh weights."""
        nn.init.xavier_uniform_(self.query)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Pool."""
        query = self.query.to(tokens.dtype).expand(len(tokens), 1, -1)
        x = self.attention(query, source=tokens)[:, 0]  # [B, D]
        return x + self.mlp(self.norm(x))  # type: ignore[no-any-return]
