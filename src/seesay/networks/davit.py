"""DaViT: attention among the tokens of a window and among the channels of an image, in turn."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from seesay.networks.packed_davit import (
    PackedChannelAttention,
    PackedHalf,
    PackedWindowAttention,
)
from seesay.nn import windows
from seesay.nn.attention import MultiHeadAttention
from seesay.nn.droppath import DropPath
from seesay.nn.mlp import Mlp
from seesay.nn.norm import LayerNorm
from seesay.nn.packed.plain import PackedConv


@dataclass(frozen=True, kw_only=True)
class DavitConfig:
    """The published facts of one DaViT; those in tuples are of each stage.

    Attributes:
        image_size: Height and width in pixels that it was trained on; others work as well.
        widths: D.
        depths: Number of blocks; a block attends twice, in windows and among channels.
        num_heads: H of the attention in windows.
        num_groups: Groups of channels that attend to each other.
        patch_sizes: Side of the convolution that leads to the stage.
        strides: By how much it shrinks the map.
        paddings: Zeros around the map before it.
        norms_first: Whether it is normalised before the convolution and not after it.
        window_size: Side of a window in tokens.
        mlp_ratio: Width inside the feed-forward networks, in widths of their stage.
        eps: Added to the variance in all norms.
    """

    image_size: tuple[int, int] = (768, 768)
    widths: tuple[int, ...] = (128, 256, 512, 1024)
    depths: tuple[int, ...] = (1, 1, 9, 1)
    num_heads: tuple[int, ...] = (4, 8, 16, 32)
    num_groups: tuple[int, ...] = (4, 8, 16, 32)
    patch_sizes: tuple[int, ...] = (7, 3, 3, 3)
    strides: tuple[int, ...] = (4, 2, 2, 2)
    paddings: tuple[int, ...] = (3, 1, 1, 1)
    norms_first: tuple[bool, ...] = (False, True, True, True)
    window_size: int = 12
    mlp_ratio: float = 4.0
    eps: float = 1e-5

    def __post_init__(self) -> None:
        told = (self.depths, self.num_heads, self.num_groups, self.patch_sizes, self.strides)
        if {len(each) for each in (*told, self.paddings, self.norms_first)} != {len(self.widths)}:
            raise ValueError(f"not every setting is told for each of {len(self.widths)} stages")

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of the last map, of an image of so many pixels."""
        for size, stride, padding in zip(
            self.patch_sizes, self.strides, self.paddings, strict=True
        ):
            height = (height + 2 * padding - size) // stride + 1
            width = (width + 2 * padding - size) // stride + 1
        return height, width


class Davit(nn.Module):
    """Stages of blocks on maps that shrink.

    Paper: arXiv 2204.03645, section 3.
    Reference: dingmyu/davit, davit.py; transformers, models/florence2.
    Differs: no classifier and none of the norms in front of it, as in Florence-2.
    Shapes: pixels [B, 3, h, w] -> map [B, rows, columns, D].
    """

    def __init__(self, config: DavitConfig) -> None:
        super().__init__()
        self.config = config
        self.stages = nn.ModuleList(Stage(config, i) for i in range(len(config.widths)))
        self.apply(initialise)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the map of the last stage."""
        x = pixels.permute(0, 2, 3, 1)
        for stage in self.stages:
            x = stage(x)
        return x


class Stage(nn.Module):
    """A convolution that shrinks the map, and blocks on what is left.

    Shapes: [B, rows, columns, D] -> [B, rows / stride, columns / stride, D'], rounded up.
    """

    def __init__(self, config: DavitConfig, index: int) -> None:
        super().__init__()
        self.embedding = ConvEmbedding(config, index)
        self.blocks = nn.ModuleList(DualBlock(config, index) for _ in range(config.depths[index]))

    def forward(self, x: Tensor) -> Tensor:
        """Transform a map."""
        x = self.embedding(x)
        for block in self.blocks:
            x = block(x)
        return x


class ConvEmbedding(nn.Module):
    """Overlapping patches of a map to tokens, normalised before or after.

    Shapes: [B, rows, columns, D] -> [B, rows / stride, columns / stride, D'], rounded up.
    """

    def __init__(self, config: DavitConfig, index: int) -> None:
        super().__init__()
        source = config.widths[index - 1] if index else 3
        width, self.norm_first = config.widths[index], config.norms_first[index]
        self.conv = nn.Conv2d(
            source,
            width,
            config.patch_sizes[index],
            stride=config.strides[index],
            padding=config.paddings[index],
        )
        self.norm = LayerNorm(source if self.norm_first else width, eps=config.eps)

    def forward(self, x: Tensor) -> Tensor:
        """Cut, project, normalise."""
        if self.norm_first:
            x = self.norm(x)
        x = self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x if self.norm_first else self.norm(x)

    def packed(self) -> nn.Module:
        """Return the same for inference on a CPU."""
        self.conv = PackedConv(self.conv, relu6=False)  # type: ignore[assignment]
        return self


class DualBlock(nn.Module):
    """Attention in windows, then among channels; each followed by a feed-forward network.

    Paper: arXiv 2204.03645, figure 3.
    Shapes: [B, rows, columns, D] -> the same.
    """

    def __init__(self, config: DavitConfig, index: int) -> None:
        super().__init__()
        width = config.widths[index]
        attentions = (
            WindowAttention(width, config.num_heads[index], config.window_size),
            ChannelAttention(width, config.num_groups[index]),
        )
        self.spatial, self.channel = (AttentionBlock(config, index, each) for each in attentions)

    def forward(self, x: Tensor) -> Tensor:
        """Transform a map."""
        return self.channel(self.spatial(x))  # type: ignore[no-any-return]


class AttentionBlock(nn.Module):
    """One attention and one feed-forward network, with positions added in front of each.

    Positions are what a convolution of 3 x 3 finds around each token, channel by channel.

    Paper: arXiv 2204.03645, section 3 and appendix A (conditional positional encoding, arXiv
        2102.10882).
    Shapes: [B, rows, columns, D] -> the same.
    """

    def __init__(
        self, config: DavitConfig, index: int, attention: WindowAttention | ChannelAttention
    ) -> None:
        super().__init__()
        width = config.widths[index]
        self.attention_positions = Positions(width)
        self.attention_norm = LayerNorm(width, eps=config.eps)
        self.attention = attention
        self.mlp_positions = Positions(width)
        self.mlp_norm = LayerNorm(width, eps=config.eps)
        self.mlp = Mlp(width, int(width * config.mlp_ratio))
        self.drop_path = DropPath()

    def forward(self, x: Tensor) -> Tensor:
        """Transform the residual stream."""
        x = self.attention_positions(x)
        x = x + self.drop_path(self.attention(self.attention_norm(x)))
        x = self.mlp_positions(x)
        return x + self.drop_path(self.mlp(self.mlp_norm(x)))  # type: ignore[no-any-return]

    def packed(self) -> nn.Module:
        """Return the same for inference on a CPU."""
        positions = (self.attention_positions, self.mlp_positions)
        norms = (self.attention_norm, self.mlp_norm)
        return PackedHalf(positions, norms, self.attention.packed(), self.mlp)


class Positions(nn.Conv2d):
    """Adds to each token what stands around it, channel by channel.

    Shapes: [B, rows, columns, D] -> the same.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, width, 3, padding=1, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map and what was found."""
        return x + super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class WindowAttention(MultiHeadAttention):
    """Attention inside each window; a map that is no multiple of it is filled up with zeros.

    The zeros are tokens like others: they are attended to.

    Shapes: [B, rows, columns, D] -> the same.
    """

    def __init__(self, width: int, num_heads: int, size: int) -> None:
        super().__init__(width, num_heads)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Attend in windows."""
        rows, columns = x.shape[1:3]
        x = windows.pad(x, self.size)
        found = super().forward(windows.partition(x, self.size))
        return windows.merge(found, self.size, *x.shape[1:3])[:, :rows, :columns]

    def packed(self) -> PackedWindowAttention:
        """Return the same for inference on a CPU, which adds to a stream."""
        return PackedWindowAttention(self, self.size)


class ChannelAttention(nn.Module):
    """Attention of the channels of a group on each other, over all tokens.

    Paper: arXiv 2204.03645, section 3.2.
    Reference: transformers, models/florence2, Florence2VisionChannelAttention.
    Differs: nothing known. Scores are divided by the root of the number of tokens, so that they
        depend on the size of the image, as published.
    Shapes: [B, rows, columns, D] -> the same.

    Args:
        width: D; divisible by `num_groups`.
        num_groups: Groups of channels.
    """

    def __init__(self, width: int, num_groups: int) -> None:
        super().__init__()
        if width % num_groups:
            raise ValueError(f"width {width} is not a multiple of num_groups {num_groups}")
        self.num_groups = num_groups
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend among channels."""
        batch, rows, columns, width = x.shape
        shape = (batch, rows * columns, self.num_groups, width // self.num_groups)
        query, key, value = (
            project(x).view(shape).transpose(1, 2)  # [B, groups, N, c]
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        query = query * (rows * columns) ** -0.5
        weights = (query.transpose(-1, -2) @ key).softmax(-1)  # [B, groups, c, c]
        found = value @ weights.transpose(-1, -2)
        return self.out_proj(found.transpose(1, 2).reshape(x.shape))  # type: ignore[no-any-return]

    def packed(self) -> PackedChannelAttention:
        """Return the same for inference on a CPU, which adds to a stream."""
        return PackedChannelAttention(self, self.num_groups)


def initialise(module: nn.Module) -> None:
    """Draw fresh weights: normal, with a standard deviation of 0.02."""
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
