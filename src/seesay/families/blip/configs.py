"""Configurations of BLIP."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from seesay.networks.bert import BertConfig
from seesay.networks.vit import VitConfig

Kind = Literal["pretraining", "retrieval", "captioning", "vqa", "nlvr", "classification"]


@dataclass(frozen=True, kw_only=True)
class BlipConfig:
    """One checkpoint of BLIP: its sizes, and which parts it has.

    Attributes:
        kind: What it was trained for, which decides its parts.
        image: The vision transformer.
        text: The text network, or networks: all are of one size.
        embed_width: E of the projections (pretraining, retrieval).
        num_classes: How many answers the classifier chooses from (nlvr, classification).
        class_names: What these are called, where the checkpoint says so (classification).
    """

    kind: Kind
    image: VitConfig
    text: BertConfig
    embed_width: int = 256
    num_classes: int = 2
    class_names: tuple[str, ...] = ()


def base(kind: Kind, image_size: int = 384, num_classes: int = 2) -> BlipConfig:
    """Return the sizes with ViT-B/16: configs/med_config.json of the BLIP repository.

    The text network sees 768 wide image tokens.
    """
    image = VitConfig(
        image_size=(image_size, image_size),
        patch_size=16,
        width=768,
        depth=12,
        num_heads=12,
        mlp_width=3072,
        eps=1e-6,
    )
    return BlipConfig(kind=kind, image=image, text=_text(kind, 768), num_classes=num_classes)


def large(kind: Kind, image_size: int = 384) -> BlipConfig:
    """Return the sizes with ViT-L/16; the text network stays that of base."""
    image = VitConfig(
        image_size=(image_size, image_size),
        patch_size=16,
        width=1024,
        depth=24,
        num_heads=16,
        mlp_width=4096,
        eps=1e-6,
    )
    return BlipConfig(kind=kind, image=image, text=_text(kind, 1024))


def on_hub(kind: Kind, image: Literal["base", "large"] = "base") -> BlipConfig:
    """Return what the config.json files on the hub say: another eps for images, and no dropout."""
    config = base(kind) if image == "base" else large(kind)
    return dataclasses.replace(
        config,
        image=dataclasses.replace(config.image, eps=1e-5),
        text=dataclasses.replace(config.text, dropout=0.0),
    )


def small(kind: Kind, image_size: int = 128) -> BlipConfig:
    """Return a size of our own that learns from scratch on a processor in minutes."""
    image = VitConfig(
        image_size=(image_size, image_size),
        patch_size=16,
        width=256,
        depth=6,
        num_heads=4,
        mlp_width=1024,
        eps=1e-6,
    )
    text = dataclasses.replace(
        _text(kind, 256), max_length=64, width=256, depth=4, num_heads=4, mlp_width=1024
    )
    return BlipConfig(kind=kind, image=image, text=text, embed_width=128)


def tiny(kind: Kind) -> BlipConfig:
    """Return the size that contract tests run on; it reads with the published vocabulary."""
    image = VitConfig(
        image_size=(32, 32), patch_size=8, width=20, depth=2, num_heads=2, mlp_width=28, eps=1e-6
    )
    text = dataclasses.replace(
        _text(kind, 20), max_length=48, width=24, depth=3, num_heads=3, mlp_width=36
    )
    return BlipConfig(kind=kind, image=image, text=text, embed_width=12)


def _text(kind: Kind, source_width: int) -> BertConfig:
    return BertConfig(
        source_width=source_width,
        two_way=kind == "pretraining",
        sources=2 if kind == "nlvr" else 1,
    )
