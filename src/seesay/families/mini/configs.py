"""Configurations of seesay/mini."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from seesay.processing.image import ImageSpec


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The text tower.

    Attributes:
        vocab_size: Rows of the token table.
        token_width: Width of the token table; a matrix widens it to `width`.
        width: D of the transformer.
        depth: Number of blocks.
        num_heads: H of each block.
        mlp_width: Inner width of each block's feed-forward network.
        max_length: Longest text in tokens; the rest is cut off.
    """

    vocab_size: int = 13_000
    token_width: int = 192
    width: int = 256
    depth: int = 2
    num_heads: int = 4
    mlp_width: int = 1024
    max_length: int = 64


@dataclass(frozen=True, kw_only=True)
class WriterConfig:
    """The writer: what captions and answers come from.

    Attributes:
        vocab_size: V.
        width: D.
        depth: Number of layers.
        num_heads: H of each layer.
        mlp_width: Inner width of each layer's feed-forward network.
        max_length: Longest text in tokens, read or written.
        grid: Rows and columns of the places that are looked at; of the processor's size, those of
            the trunk's last map.
        meanings: How many tokens the image's vector becomes; divides 1 + grid^2, so that they can
            stand where places are not shown.
        limit: How unlike a drawing a picture may be for the writer to be shown its places.
        dropout: Part of activations and attention weights that is left out in training.
    """

    vocab_size: int = 5_000
    width: int = 256
    depth: int = 3
    num_heads: int = 4
    mlp_width: int = 1024
    max_length: int = 64
    grid: int = 7
    meanings: int = 5
    limit: float = 1.7
    dropout: float = 0.0


@dataclass(frozen=True, kw_only=True)
class MiniConfig:
    """The whole model.

    Attributes:
        embed_width: E, the length of the vectors of both towers.
        trunk_width: Factor on the trunk's widths, as in EfficientNet.
        trunk_depth: Factor on the trunk's repeats.
        stem_width: Width of the trunk's first convolution.
        head_width: Width of the trunk's pooled features.
        num_classes: How many classes the trunk was trained to tell apart.
        grid: Rows and columns of the coarse map that the sight head reads.
        sight_width: Inner width of the sight head.
        text: The text tower.
        writer: The writer; None for models that only compare, as all were before there was one.
    """

    embed_width: int = 384
    trunk_width: float = 1.0
    trunk_depth: float = 1.0
    stem_width: int = 32
    head_width: int = 1280
    num_classes: int = 1000
    grid: int = 4
    sight_width: int = 512
    text: TextConfig = TextConfig()
    writer: WriterConfig | None = None


def mini() -> MiniConfig:
    """Return the configuration of the shipped weights."""
    return MiniConfig(writer=WriterConfig())


def tiny() -> MiniConfig:
    """Return the size that contract tests run on; it reads with the shipped tokenizer."""
    return MiniConfig(
        embed_width=24,
        trunk_width=0.25,
        trunk_depth=0.5,
        stem_width=8,
        head_width=40,
        num_classes=11,
        grid=2,
        sight_width=16,
        text=TextConfig(token_width=6, width=24, num_heads=3, mlp_width=40),
        writer=WriterConfig(
            width=24,
            depth=1,
            num_heads=3,
            mlp_width=40,
            grid=2,
            limit=4.0,
        ),
    )


def settings(size: int = 224) -> dict[str, Any]:
    """Return how the trunk was fed when the weights were made: whole pictures, (x - 127) / 128."""
    image = ImageSpec(
        size=(size, size),
        mean=(127 / 255, 127 / 255, 127 / 255),
        std=(128 / 255, 128 / 255, 128 / 255),
        resize="squash",
    )
    return {"image": dataclasses.asdict(image)}
