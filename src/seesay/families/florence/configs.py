"""Florence's configurations: one function per size, with the upstream file that states it."""

from __future__ import annotations

from dataclasses import dataclass

from seesay.networks.causaltext import CausalTextConfig
from seesay.networks.swin import SwinConfig


@dataclass(frozen=True, kw_only=True)
class FlorenceConfig:
    """Both towers and the width of the space they share.

    Attributes:
        embed_width: E.
        image: The image tower.
        text: The text tower.
    """

    embed_width: int
    image: SwinConfig
    text: CausalTextConfig


def tiny() -> FlorenceConfig:
    """The one that tests build; its last map is one window, the two before have several."""
    image = SwinConfig(
        image_size=(48, 48),
        width=12,
        depths=(2, 2, 1),
        num_heads=(2, 3, 4),
        window_size=3,
        mlp_ratio=2.5,
    )
    return FlorenceConfig(embed_width=20, image=image, text=_text(width=64, depth=2))


def unicl_swin_t() -> FlorenceConfig:
    """microsoft/UniCL, configs/unicl_swin_tiny.yaml."""
    image = SwinConfig(width=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24))
    return FlorenceConfig(embed_width=512, image=image, text=_text())


def unicl_swin_b() -> FlorenceConfig:
    """microsoft/UniCL, configs/unicl_swin_base.yaml."""
    image = SwinConfig(width=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32))
    return FlorenceConfig(embed_width=512, image=image, text=_text())


def _text(width: int = 512, depth: int = 12) -> CausalTextConfig:
    return CausalTextConfig(
        width=width,
        depth=depth,
        num_heads=width // 64,
        mlp_width=4 * width,
        activation="quick_gelu",
        eps=1e-12,
    )
