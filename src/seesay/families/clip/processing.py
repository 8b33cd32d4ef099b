"""CLIP's pictures and strings to tensors."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seesay.checkpoints.files import Source
from seesay.families.clip.configs import ClipConfig, pair
from seesay.processing.bytepairs import BytePairProcessor, make_byte_pair_processor
from seesay.processing.image import ImageSpec

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
_log = logging.getLogger("seesay")


def make_processor(
    config: ClipConfig, settings: Mapping[str, Any], folder: Path | None = None
) -> BytePairProcessor:
    """Return the processor of a checkpoint; a folder without a tokenizer gets the published one.

    Raises:
        CheckpointError: The settings or the tokenizer's files are damaged.
    """
    text = config.text
    return make_byte_pair_processor(text.vocab_size, text.max_length, settings, folder)


def published_settings(size: int | tuple[int, int], **spec: Any) -> dict[str, Any]:
    """Return the settings of the released checkpoints at an image size.

    Args:
        size: Side, or height and width.
        spec: Other fields of `ImageSpec` that depart from the usual.
    """
    told = {"size": pair(size), "mean": MEAN, "std": STD} | spec
    fields: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in told.items()
    }
    return {"image": dataclasses.asdict(ImageSpec(**fields)), "compat": None}


def unsaid_settings(source: Source, config: ClipConfig, file: str) -> dict[str, Any]:
    """Return the settings of a checkpoint that lacks the file with its own.

    Those of the released size, where that was asked for by name; else OpenAI's, with a warning.
    """
    if source.usual is not None:
        return dict(source.usual)
    _log.warning(
        "%s has no %s: its pixels are normalised as OpenAI's models want them", source.folder, file
    )
    return published_settings(config.image.image_size)
