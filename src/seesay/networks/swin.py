"""The Swin transformer: attention in windows that shift, on maps that shrink by stages."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.nn import windows
from seesay.nn.attention import MultiHeadAttention
from seesay.nn.droppath import DropPath
from seesay.nn.mlp import Mlp
from seesay.nn.norm import LayerNorm
from seesay.nn.patches import PatchEmbedding


@dataclass(frozen=True, kw_only=True)
class SwinConfig:
    """The published facts of one Swin transformer.

    Attributes:
        image_size: Height and width in pixels that it was trained on; others work as well.
        patch_size: Side of a square patch in pixels.
        width: D of the first stage; each following one is twice as wide.
        depths: Number of blocks of each stage.
        num_heads: H of each stage.
        window_size: Side of a window in tokens.
        mlp_ratio: Width inside the feed-forward networks, in widths of their stage.
        eps: Added to the variance in all norms.
    """

    image_size: tuple[int, int] = (224, 224)
    patch_size: int = 4
    width: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    window_size: int = 7
    mlp_ratio: float = 4.0
    eps: float = 1e-5

    @property
    def out_width(self) -> int:
        """D of the last stage."""
        return self.width << (len(self.depths) - 1)

    @property
    def grids(self) -> list[tuple[int, int]]:
        """Rows and columns of tokens of each stage, at the trained image size."""
        found = [
            (-(-self.image_size[0] // self.patch_size), -(-self.image_size[1] // self.patch_size))
        ]
        for _ in self.depths[1:]:
            found.append(((found[-1][0] + 1) // 2, (found[-1][1] + 1) // 2))
        return found


def window_of(config: SwinConfig, rows: int, columns: int) -> tuple[int, int]:
    """Return side and shift of the windows on a map: one that is too small is not shifted."""
    if min(rows, columns) <= config.window_size:
        return min(rows, columns), 0
    return config.window_size, config.window_size // 2


class Swin(nn.Module):
    """Patches through stages of windowed attention, each but the last halving the map.

    Paper: arXiv 2103.14030, section 3.
    Reference: microsoft/Swin-Transformer, models/swin_transformer.py; transformers, models/swin.
    Differs: takes images of any size: what is not a whole patch, window or pair of tokens is filled
        up with zeros, as in the paper's detectors; a map smaller than a window uses the middle of
        the table of offsets. Tokens that a shift brought together are kept apart exactly, not by
        adding -100.
    Shapes: pixels [B, 3, h, w] -> map [B, D, rows, columns].
    """

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        if len(config.depths) != len(config.num_heads):
            raise ValueError(f"depths {config.depths} and num_heads {config.num_heads} differ")
        self.config = config
        patch = config.patch_size
        self.patch_embedding = PatchEmbedding(3, config.width, patch)
        self.patch_norm = LayerNorm(config.width, eps=config.eps)
        self.stages = nn.ModuleList(Stage(config, stage) for stage in range(len(config.depths)))
        self.final_norm = LayerNorm(config.out_width, eps=config.eps)
        self.channels_first = ChannelsFirst()
        self.initialise()

    def initialise(self) -> None:
        """Draw fresh weights."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, SwinBlock):
                nn.init.trunc_normal_(module.position_bias, std=0.02)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the last stage's map after the final norm."""
        patch = self.config.patch_size
        below, right = -pixels.shape[2] % patch, -pixels.shape[3] % patch
        if below or right:
            pixels = F.pad(pixels, (0, right, 0, below))
        x = self.patch_norm(self.patch_embedding(pixels).permute(0, 2, 3, 1))
        for stage in self.stages:
            x = stage(x)
        return self.channels_first(self.final_norm(x))  # type: ignore[no-any-return]


class Stage(nn.Module):
    """Blocks on maps of one size, and the halving that leads to the next stage.

    Shapes: [B, rows, columns, D] -> the same, or [B, rows / 2, columns / 2, 2 D] when halved.
    """

    def __init__(self, config: SwinConfig, index: int) -> None:
        super().__init__()
        self.config = config
        width = config.width << index
        self.blocks = nn.ModuleList(
            SwinBlock(config, width, config.num_heads[index]) for _ in range(config.depths[index])
        )
        last = index == len(config.depths) - 1
        self.halving = nn.Identity() if last else Halving(width, config.eps)

    def forward(self, x: Tensor) -> Tensor:
        """Every second block's windows are shifted by half a window."""
        size, by = window_of(self.config, x.shape[1], x.shape[2])
        mask = None
        if by:
            rows, columns = (-(-side // size) * size for side in x.shape[1:3])
            mask = windows.shifted_mask(rows, columns, size, by, x.device)
        for i, block in enumerate(self.blocks):
            x = block(x, size, by, mask) if i % 2 else block(x, size)
        return self.halving(x)  # type: ignore[no-any-return]


class SwinBlock(nn.Module):
    """Attention inside windows and a feed-forward network, each normalised before and added after.

    Paper: arXiv 2103.14030, equations 3 and 4, figure 3 (b).
    Shapes: [B, rows, columns, D] -> [B, rows, columns, D].
    """

    def __init__(self, config: SwinConfig, width: int, num_heads: int) -> None:
        super().__init__()
        self.attention_norm = LayerNorm(width, eps=config.eps)
        self.attention = MultiHeadAttention(width, num_heads)
        offsets = (2 * config.window_size - 1) ** 2
        self.position_bias = nn.Parameter(torch.empty(offsets, num_heads))
        self.mlp_norm = LayerNorm(width, eps=config.eps)
        self.mlp = Mlp(width, int(width * config.mlp_ratio))
        self.drop_path = DropPath()

    def forward(self, x: Tensor, size: int, by: int = 0, mask: Tensor | None = None) -> Tensor:
        """Transform the residual stream.

        Args:
            x: [B, rows, columns, D].
            size: Side of a window in tokens.
            by: How far the map is shifted before it is cut.
            mask: `windows.shifted_mask` of the map, when it is shifted.
        """
        x = x + self.drop_path(self.attend(self.attention_norm(x), size, by, mask))
        return x + self.drop_path(self.mlp(self.mlp_norm(x)))  # type: ignore[no-any-return]

    def attend(self, x: Tensor, size: int, by: int, mask: Tensor | None) -> Tensor:
        """Attend inside each window: [B, rows, columns, D] -> the same."""
        rows, columns = x.shape[1:3]
        x = windows.shift(windows.pad(x, size), by)
        bias = windows.relative_bias(self.position_bias, size).to(x.dtype)[None]  # [1, H, L, L]
        if mask is not None:
            bias = bias.masked_fill(~mask[:, None], float("-inf"))  # [W, H, L, L]
            bias = bias.repeat(len(x), 1, 1, 1)  # [B * W, H, L, L]
        cut = self.attention(windows.partition(x, size), bias)
        x = windows.shift(windows.merge(cut, size, *x.shape[1:3]), -by)
        return x[:, :rows, :columns]


class Halving(nn.Module):
    """Four neighbouring tokens become one of twice the width ("patch merging").

    Paper: arXiv 2103.14030, section 3.1.
    Shapes: [B, rows, columns, D] -> [B, rows / 2, columns / 2, 2 D], rounded up.
    """

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.norm = LayerNorm(4 * width, eps=eps)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Join, normalise, project."""
        x = windows.pad(x, 2)
        batch, rows, columns, width = x.shape
        cells = x.reshape(batch, rows // 2, 2, columns // 2, 2, width)
        # the checkpoints count the four down first, then right
        cells = cells.permute(0, 1, 3, 4, 2, 5).reshape(batch, rows // 2, columns // 2, 4 * width)
        return self.reduction(self.norm(cells))  # type: ignore[no-any-return]


class ChannelsFirst(nn.Module):
    """Shows a map as convolutions have it: [B, rows, columns, D] -> [B, D, rows, columns]."""

    def forward(self, x: Tensor) -> Tensor:
        """Return a view."""
        return x.permute(0, 3, 1, 2)
