"""The residual network with a three-layer stem, anti-aliased strides and attention pooling."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seesay.networks.vit import resample_positions
from seesay.nn.attention import MultiHeadAttention


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """The published facts of one such residual network.

    Attributes:
        image_size: Height and width in pixels that the pooling positions were trained for.
        depths: Number of blocks in each of the four stages.
        width: Channels after the stem; the last stage has 32 times as many.
        num_heads: Heads of the attention pooling.
    """

    image_size: tuple[int, int] = (224, 224)
    depths: tuple[int, int, int, int]
    width: int
    num_heads: int

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the last stage at the trained image size."""
        return self.image_size[0] // 32, self.image_size[1] // 32


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut; strides are average pooling.

    Shapes: [B, c, h, w] -> [B, 4 * width, h / stride, w / stride].
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels != 4 * width:
            self.shortcut = nn.Sequential(
                OrderedDict(
                    pool=nn.AvgPool2d(stride),
                    conv=nn.Conv2d(channels, 4 * width, 1, bias=False),
                    bn=nn.BatchNorm2d(4 * width),
                )
            )
        # each block starts as its shortcut
        nn.init.zeros_(self.bn3.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Add the convolved branch to the shortcut."""
        branch = torch.relu(self.bn1(self.conv1(x)))
        branch = torch.relu(self.bn2(self.conv2(branch)))
        branch = self.bn3(self.conv3(self.pool(branch)))
        return torch.relu(branch + self.shortcut(x))


class Stem(nn.Module):
    """Three 3x3 convolutions and average pooling: [B, 3, h, w] -> [B, width, h / 4, w / 4]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """Reduce the image to a quarter of its side."""
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.pool(torch.relu(self.bn3(self.conv3(x))))  # type: ignore[no-any-return]


class AttentionPool(nn.Module):
    """One attention layer whose only query is the mean of the feature map.

    Shapes: [B, D, rows, columns] -> [B, out_width].
    """

    def __init__(self, width: int, num_heads: int, grid: tuple[int, int], out_width: int) -> None:
        super().__init__()
        self.grid = grid
        self.position_embedding = nn.Parameter(torch.empty(1 + grid[0] * grid[1], width))
        self.attention = MultiHeadAttention(width, num_heads, out_width)
        nn.init.normal_(self.position_embedding, std=width**-0.5)
        heads = self.attention
        for layer in (heads.q_proj, heads.k_proj, heads.v_proj, heads.out_proj):
            nn.init.normal_(layer.weight, std=width**-0.5)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Pool a feature map; one of another size gets its positions resampled."""
        size = (x.shape[-2], x.shape[-1])
        tokens = x.flatten(2).transpose(1, 2)  # [B, P, D]
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)
        positions: Tensor = self.position_embedding
        if size != self.grid:
            positions = resample_positions(positions, self.grid, size)
        tokens = tokens + positions.to(tokens.dtype)
        return self.attention(tokens[:, :1], source=tokens)[:, 0]  # type: ignore[no-any-return]


class ResNet(nn.Module):
    """Stem, four stages and attention pooling.

    Paper: arXiv 2103.00020, section 2.4; stem arXiv 1812.01187, pooling before strides
        arXiv 1904.11486.
    Reference: openai/CLIP, clip/model.py, ModifiedResNet.
    Differs: positions of the pooling are resampled for other image sizes.
    Shapes: pixels [B, 3, h, w] -> [B, out_width]; `features` gives [B, 32 * width, h/32, w/32].
    """

    def __init__(self, config: ResNetConfig, out_width: int) -> None:
        super().__init__()
        self.config = config
        self.stem = Stem(config.width)
        channels, self.stages = config.width, nn.ModuleList()
        for index, depth in enumerate(config.depths):
            width = config.width * 2**index
            blocks = [Bottleneck(channels, width, stride=1 if index == 0 else 2)]
            channels = 4 * width
            blocks += [Bottleneck(channels, width, stride=1) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(*blocks))
        self.pool = AttentionPool(channels, config.num_heads, config.grid, out_width)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return one vector per image."""
        return self.pool(self.features(pixels))  # type: ignore[no-any-return]

    def features(self, pixels: Tensor) -> Tensor:
        """Return the feature map of the last stage."""
        x = self.stem(pixels)
        for stage in self.stages:
            x = stage(x)
        return x  # type: ignore[no-any-return]
