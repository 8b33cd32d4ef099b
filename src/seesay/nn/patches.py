"""An image cut into patches."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class PatchEmbedding(nn.Conv2d):
    """A convolution whose windows neither overlap nor leave gaps, computed as one product.

    The weights are those of the convolution. Its backward pass takes processors up to 25 times as
    long as that of the product, which was a tenth to a fifth of a whole training step of ViT-B/32.

    Paper: arXiv 2010.11929, equation 1.
    Reference: openai/CLIP, clip/model.py, VisionTransformer.conv1.
    Differs: one product; what lies past the last whole patch is not seen, as there.
    Shapes: pixels [B, c, h, w] -> [B, D, h / patch, w / patch], channels last in memory.

    Args:
        channels: c.
        width: D.
        patch_size: Side of a patch in pixels.
        bias: Whether a bias is added.
    """

    def __init__(self, channels: int, width: int, patch_size: int, bias: bool = True) -> None:
        super().__init__(channels, width, patch_size, stride=patch_size, bias=bias)
        self.patch_size = patch_size

    def forward(self, pixels: Tensor) -> Tensor:
        """Cut into patches and project each."""
        side = self.patch_size
        batch, channels, height, width = pixels.shape
        rows, columns = height // side, width // side
        whole = pixels[..., : rows * side, : columns * side]
        tiles = whole.reshape(batch, channels, rows, side, columns, side)
        patches = tiles.permute(0, 2, 4, 1, 3, 5).flatten(3)  # [B, rows, columns, c * side * side]
        return F.linear(patches, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
