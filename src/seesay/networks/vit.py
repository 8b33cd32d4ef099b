"""The vision transformer: an image as a sequence of patches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.nn.blocks import PreNormBlock, initialise
from seesay.nn.norm import LayerNorm


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
        activation: "gelu" or "quick_gelu", whichever the weights were trained with.
        eps: Added to the variance in all norms.
        pre_norm: Whether the patch tokens are normalised before the first block.
        patch_bias: Whether the patch projection has a bias.
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

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches at the trained image size."""
        height, width = self.image_size
        return height // self.patch_size, width // self.patch_size


class ViT(nn.Module):
    """Patches and a class token through pre-norm transformer blocks.

    Paper: arXiv 2010.11929, section 3.1.
    Reference: openai/CLIP, clip/model.py, VisionTransformer; salesforce/BLIP, models/vit.py.
    Differs: an image of another size than the trained one gets its positions resampled
        (bicubic, as transformers' `interpolate_pos_encoding`); what lies past the last whole
        patch is not seen.
    Shapes: pixels [B, 3, h, w] -> tokens [B, 1 + P, D], the class token first.
    """

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config
        rows, columns = config.grid
        width, patch = config.width, config.patch_size
        self.patch_embedding = nn.Conv2d(3, width, patch, stride=patch, bias=config.patch_bias)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.position_embedding = nn.Parameter(torch.empty(1 + rows * columns, width))
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
        """Return what the first block reads: [B, 1 + P, D]."""
        patches = self.patch_embedding(pixels)  # [B, D, rows, columns]
        rows, columns = patches.shape[-2:]
        tokens = patches.flatten(2).transpose(1, 2)  # [B, P, D]
        start = self.class_embedding.to(tokens.dtype).expand(len(tokens), 1, -1)
        positions = self.positions(rows, columns).to(tokens.dtype)
        return self.pre_norm(torch.cat([start, tokens], 1) + positions)  # type: ignore[no-any-return]

    def positions(self, rows: int, columns: int) -> Tensor:
        """Return the position embeddings [1 + rows * columns, D] of a grid of patches."""
        if (rows, columns) == self.config.grid:
            return self.position_embedding
        return resample_positions(self.position_embedding, self.config.grid, (rows, columns))


def resample_positions(table: Tensor, grid: tuple[int, int], wanted: tuple[int, int]) -> Tensor:
    """Return a position table for another grid, by bicubic interpolation in fp32.

    Args:
        table: [1 + rows * columns, D]; the first row belongs to the class token and is kept.
        grid: Rows and columns of the table.
        wanted: Rows and columns of the result.
    """
    start, image = table[:1], table[1:]
    image = image.float().reshape(*grid, -1).permute(2, 0, 1)[None]  # [1, D, rows, columns]
    image = F.interpolate(image, size=wanted, mode="bicubic", align_corners=False)
    return torch.cat([start, image[0].flatten(1).T.to(table.dtype)])
