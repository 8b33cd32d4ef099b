"""EfficientNet-Lite: the convolutional trunk of small image encoders.

Paper: EfficientNet (arXiv 1905.11946), section 4, table 1 for the stages; the Lite sizes drop
    squeeze-and-excitation, use ReLU6, and scale neither the stem nor the head.
Reference: tensorflow/tpu, models/official/efficientnet/lite; timm, `tf_efficientnet_lite0`.
Differs: batch normalisation can be folded into the convolutions (`batch_norm=False`), which is
    how frozen trunks are shipped: fewer tensors, the same function, and faster.

Padding. The published weights were trained with TensorFlow's "SAME" rule, which for a strided
convolution puts the odd row and column of padding at the bottom and right. The symmetric rule of
PyTorch loads the same weights without a word and shifts every map by a pixel or two.
`python -m seesay.recipes.mini.padding` asks the batch normalisations, which recorded the statistics
of their inputs in training: over 77 photographs the mean disagreement is 0.163 with "same" and
0.237 with "symmetric"; 86 % of the layers and all of 200 resamples of the pictures prefer "same".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seesay.nn.packed.plain import PackedConv

NORM_EPS = 1e-3
# Repeats, kernel, stride, expansion and width of each stage of the smallest size.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


@dataclass(frozen=True, kw_only=True)
class EfficientNetConfig:
    """The scaling of one size.

    Attributes:
        width: Factor on the widths of the stages; widths are rounded to multiples of 8.
        depth: Factor on the repeats of all but the first and last stage, rounded up.
        stem_width: Width of the first convolution, never scaled in the Lite sizes.
        head_width: Width of the last convolution, never scaled in the Lite sizes.
        num_classes: Rows of the classifier; 0 builds none.
        batch_norm: Whether convolutions are followed by batch normalisation; without it they
            carry a bias that has absorbed it (`fold_batch_norm`).
        padding: "same" as TensorFlow pads, or "symmetric" as PyTorch does.
    """

    width: float = 1.0
    depth: float = 1.0
    stem_width: int = 32
    head_width: int = 1280
    num_classes: int = 1000
    batch_norm: bool = True
    padding: str = "same"

    def stages(self) -> list[tuple[int, int, int, int, int]]:
        """Return (repeats, kernel, stride, expansion, width) of each stage, scaled."""
        last = len(STAGES) - 1
        return [
            (
                repeats if i in (0, last) else math.ceil(repeats * self.depth),
                kernel,
                stride,
                expansion,
                _multiple_of_8(width * self.width),
            )
            for i, (repeats, kernel, stride, expansion, width) in enumerate(STAGES)
        ]


def _multiple_of_8(width: float) -> int:
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


class ConvUnit(nn.Module):
    """A convolution, its normalisation if any, and ReLU6 if `active`."""

    def __init__(
        self,
        config: EfficientNetConfig,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        active: bool = True,
    ) -> None:
        super().__init__()
        self.same = config.padding == "same" and stride > 1
        self.conv: nn.Conv2d | PackedConv = nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride,
            padding=0 if self.same else kernel // 2,
            groups=groups,
            bias=not config.batch_norm,
        )
        self.norm = nn.BatchNorm2d(outputs, eps=NORM_EPS) if config.batch_norm else None
        self.active = active
        nn.init.kaiming_normal_(
            self.conv.weight, nonlinearity="relu" if active else "linear", mode="fan_in"
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, D, h, w] to [B, D', h / stride, w / stride]."""
        if self.same:
            x = _pad_same(x, self.conv.kernel_size[0], self.conv.stride[0])
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        active: Tensor = F.relu6(x) if self.active else x
        return active

    def packed(self) -> nn.Module:
        """Return the same for inference on a CPU: the clamp is folded into the convolution."""
        if self.norm is not None or not isinstance(self.conv, nn.Conv2d):
            return self
        self.conv = PackedConv(self.conv, relu6=self.active)
        self.active = False
        return self


def _pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Pad so that the output has ceil(size / stride) rows; the odd one goes below and right."""
    height, width = x.shape[-2:]
    down = max((math.ceil(height / stride) - 1) * stride + kernel - height, 0)
    right = max((math.ceil(width / stride) - 1) * stride + kernel - width, 0)
    return F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))


class InvertedBottleneck(nn.Module):
    """Widen, filter each channel by itself, narrow; added to the input where shapes allow."""

    def __init__(
        self,
        config: EfficientNetConfig,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        expansion: int,
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = ConvUnit(config, inputs, hidden) if expansion > 1 else None
        self.depthwise = ConvUnit(config, hidden, hidden, kernel, stride, groups=hidden)
        self.project = ConvUnit(config, hidden, outputs, active=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, D, h, w] to [B, D', h / stride, w / stride]."""
        y: Tensor = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.residual else y


class EfficientNet(nn.Module):
    """Stem, seven stages, head convolution and the classifier."""

    def __init__(self, config: EfficientNetConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = ConvUnit(config, 3, config.stem_width, kernel=3, stride=2)
        self.stages = nn.ModuleList()
        inputs = config.stem_width
        for repeats, kernel, stride, expansion, width in config.stages():
            blocks = nn.Sequential()
            for i in range(repeats):
                blocks.append(
                    InvertedBottleneck(
                        config, inputs, width, kernel, stride if i == 0 else 1, expansion
                    )
                )
                inputs = width
            self.stages.append(blocks)
        self.head = ConvUnit(config, inputs, config.head_width)
        self.classifier = (
            nn.Linear(config.head_width, config.num_classes) if config.num_classes else None
        )

    def features(self, pixels: Tensor) -> list[Tensor]:
        """Return the maps of all stages, [B, D, h, w] each: strides 2, 4, 8, 16, 16, 32, 32."""
        maps = []
        x = self.stem(pixels)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels [B, 3, h, w] to the head's features [B, D, h / 32, w / 32]."""
        features: Tensor = self.head(self.features(pixels)[-1])
        return features

    def logits(self, pooled: Tensor) -> Tensor:
        """Map pooled features [B, D] to class logits [B, num_classes]."""
        if self.classifier is None:
            raise ValueError("this EfficientNet was built with num_classes=0")
        logits: Tensor = self.classifier(pooled)
        return logits


def from_reference(state: Mapping[str, Tensor], config: EfficientNetConfig) -> dict[str, Tensor]:
    """Return the published state dict under this module's names.

    The reference and this file list the same tensors in the same order (stem, blocks, head,
    classifier), so they are paired by position and every shape is checked.

    Raises:
        ValueError: The numbers of tensors or two shapes differ.
    """
    with torch.device("meta"):
        mine = EfficientNet(config).state_dict()
    if len(mine) != len(state):
        raise ValueError(f"{len(state)} tensors given, {len(mine)} expected")
    paired = {}
    for (name, wanted), (theirs, tensor) in zip(mine.items(), state.items(), strict=True):
        if wanted.shape != tensor.shape:
            raise ValueError(f"{theirs} is {tuple(tensor.shape)}, {name} is {tuple(wanted.shape)}")
        paired[name] = tensor
    return paired


def fold_batch_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of the same function for `batch_norm=False`.

    With scale g = weight / sqrt(running_var + eps), a convolution w followed by normalisation
    equals the convolution g w with the bias `bias - running_mean g`.
    """
    folded = {}
    for name, tensor in state.items():
        if ".norm." in name:
            continue
        unit = name.removesuffix(".conv.weight")
        if unit == name:
            folded[name] = tensor
            continue
        norm = {key: state[f"{unit}.norm.{key}"].double() for key in _NORM_KEYS}
        gain = norm["weight"] / torch.sqrt(norm["running_var"] + NORM_EPS)
        folded[name] = (tensor.double() * gain[:, None, None, None]).float()
        folded[f"{unit}.conv.bias"] = (norm["bias"] - norm["running_mean"] * gain).float()
    return folded


_NORM_KEYS = ("weight", "bias", "running_mean", "running_var")
