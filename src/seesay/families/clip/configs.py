"""CLIP's configurations: one function per architecture, with the upstream file that states it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seesay.errors import CheckpointError
from seesay.networks.causaltext import CausalTextConfig
from seesay.networks.resnet import ResNetConfig
from seesay.networks.vit import VitConfig


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """Both towers and the width of the space they share.

    Attributes:
        embed_width: E.
        image: The image tower, a vision transformer or a residual network.
        text: The text tower.
    """

    embed_width: int
    image: VitConfig | ResNetConfig
    text: CausalTextConfig


def check_plain(config: ClipConfig, layout: str) -> None:
    """Refuse what no published layout can say.

    Raises:
        CheckpointError: The image is not square, or the patches have a bias.
    """
    height, width = config.image.image_size
    biased = isinstance(config.image, VitConfig) and config.image.patch_bias
    if height != width or biased:
        raise CheckpointError(f"{layout} has square images, and patches without a bias")


def pair(size: Any) -> tuple[int, int]:
    """Read an image size: a number, [h, w], or {"height": h, "width": w}."""
    if isinstance(size, Mapping):
        return size["height"], size["width"]
    return (size[0], size[1]) if isinstance(size, (list, tuple)) else (size, size)


def tiny() -> ClipConfig:
    """The one that tests build: every part of the real thing, thousands of times smaller."""
    image = VitConfig(
        image_size=(32, 32),
        patch_size=8,
        width=40,
        depth=2,
        num_heads=5,
        mlp_width=72,
        activation="quick_gelu",
        pre_norm=True,
        patch_bias=False,
    )
    text = CausalTextConfig(width=24, depth=2, num_heads=3, mlp_width=56, activation="quick_gelu")
    return ClipConfig(embed_width=20, image=image, text=text)


def small() -> ClipConfig:
    """One to train from random weights on a laptop: small pictures, few layers. Never published.

    A residual network, for a thousand pictures teach it more than they teach a transformer.
    """
    image = ResNetConfig(image_size=(64, 64), depths=(1, 1, 1, 1), width=16, num_heads=8)
    text = CausalTextConfig(width=128, depth=2, num_heads=2, mlp_width=512, activation="gelu")
    return ClipConfig(embed_width=128, image=image, text=text)


def tiny_resnet() -> ClipConfig:
    """The smallest residual network, for tests."""
    image = ResNetConfig(image_size=(64, 64), depths=(1, 2, 1, 1), width=8, num_heads=4)
    text = CausalTextConfig(width=24, depth=2, num_heads=3, mlp_width=56, activation="quick_gelu")
    return ClipConfig(embed_width=20, image=image, text=text)


def vit_b_32(activation: str = "quick_gelu") -> ClipConfig:
    """openai/clip-vit-base-patch32, config.json; open_clip model_configs/ViT-B-32.json."""
    return _vit(512, _image(32, 768, 12, 12, activation), _text(512, 12, 8, activation))


def vit_b_16(activation: str = "quick_gelu") -> ClipConfig:
    """openai/clip-vit-base-patch16, config.json; open_clip model_configs/ViT-B-16.json."""
    return _vit(512, _image(16, 768, 12, 12, activation), _text(512, 12, 8, activation))


def vit_l_14(activation: str = "quick_gelu", image_size: int = 224) -> ClipConfig:
    """openai/clip-vit-large-patch14 (and -336), config.json; open_clip ViT-L-14(-336).json."""
    return _vit(
        768, _image(14, 1024, 24, 16, activation, image_size), _text(768, 12, 12, activation)
    )


def vit_h_14() -> ClipConfig:
    """open_clip model_configs/ViT-H-14.json."""
    return _vit(1024, _image(14, 1280, 32, 16, "gelu"), _text(1024, 24, 16, "gelu"))


def vit_g_14() -> ClipConfig:
    """open_clip model_configs/ViT-g-14.json; the feed-forward width is int(1408 * 4.3637)."""
    image = _image(14, 1408, 40, 16, "gelu", mlp_width=6144)
    return _vit(1024, image, _text(1024, 24, 16, "gelu"))


def vit_bigg_14() -> ClipConfig:
    """open_clip model_configs/ViT-bigG-14.json; the feed-forward width is int(1664 * 4.9231)."""
    image = _image(14, 1664, 48, 16, "gelu", mlp_width=8192)
    return _vit(1280, image, _text(1280, 32, 20, "gelu"))


def rn50() -> ClipConfig:
    """open_clip model_configs/RN50-quickgelu.json."""
    return _resnet(1024, 224, (3, 4, 6, 3), 64, _text(512, 12, 8, "quick_gelu"))


def rn101() -> ClipConfig:
    """open_clip model_configs/RN101-quickgelu.json."""
    return _resnet(512, 224, (3, 4, 23, 3), 64, _text(512, 12, 8, "quick_gelu"))


def rn50x4() -> ClipConfig:
    """open_clip model_configs/RN50x4-quickgelu.json."""
    return _resnet(640, 288, (4, 6, 10, 6), 80, _text(640, 12, 10, "quick_gelu"))


def rn50x16() -> ClipConfig:
    """open_clip model_configs/RN50x16-quickgelu.json."""
    return _resnet(768, 384, (6, 8, 18, 8), 96, _text(768, 12, 12, "quick_gelu"))


def rn50x64() -> ClipConfig:
    """open_clip model_configs/RN50x64-quickgelu.json."""
    return _resnet(1024, 448, (3, 15, 36, 10), 128, _text(1024, 12, 16, "quick_gelu"))


def _vit(embed_width: int, image: VitConfig, text: CausalTextConfig) -> ClipConfig:
    return ClipConfig(embed_width=embed_width, image=image, text=text)


def _image(
    patch_size: int,
    width: int,
    depth: int,
    num_heads: int,
    activation: str,
    size: int = 224,
    mlp_width: int | None = None,
) -> VitConfig:
    return VitConfig(
        image_size=(size, size),
        patch_size=patch_size,
        width=width,
        depth=depth,
        num_heads=num_heads,
        mlp_width=mlp_width or 4 * width,
        activation=activation,
        pre_norm=True,
        patch_bias=False,
    )


def _text(width: int, depth: int, num_heads: int, activation: str) -> CausalTextConfig:
    return CausalTextConfig(
        width=width,
        depth=depth,
        num_heads=num_heads,
        mlp_width=4 * width,
        activation=activation,
    )


def _resnet(
    embed_width: int,
    size: int,
    depths: tuple[int, int, int, int],
    width: int,
    text: CausalTextConfig,
) -> ClipConfig:
    # the pooling's heads are 64 wide, over 32 * width channels
    image = ResNetConfig(
        image_size=(size, size), depths=depths, width=width, num_heads=width * 32 // 64
    )
    return ClipConfig(embed_width=embed_width, image=image, text=text)
