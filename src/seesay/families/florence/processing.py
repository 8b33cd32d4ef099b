"""Florence's pictures and strings to tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seesay.families.florence.configs import FlorenceConfig
from seesay.processing.bytepairs import BytePairProcessor, make_byte_pair_processor
from seesay.processing.image import ImageSpec

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def make_processor(
    config: FlorenceConfig, settings: Mapping[str, Any], folder: Path | None = None
) -> BytePairProcessor:
    """Return the processor of a checkpoint; a folder without a tokenizer gets the published one.

    Raises:
        CheckpointError: The settings or the tokenizer's files are damaged.
    """
    text = config.text
    return make_byte_pair_processor(text.vocab_size, text.max_length, settings, folder)


def published_settings(size: int) -> dict[str, Any]:
    """Return how pictures of an image size are made: an eighth of the short side is cut off."""
    spec = ImageSpec(size=(size, size), shortest_edge=int(256 / 224 * size), mean=MEAN, std=STD)
    return {"image": dataclasses.asdict(spec), "compat": None}
