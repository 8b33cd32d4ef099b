"""CLIP's pictures and strings to tensors."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from seesay.checkpoints.files import Source
from seesay.config import from_dict
from seesay.errors import InputError
from seesay.families.clip.configs import ClipConfig, pair
from seesay.processing.image import ImageSpec, pixels
from seesay.processing.tokens import BytePairTokenizer, Vocabulary
from seesay.types import Picture, TextBatch

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
PUBLISHED_MERGES = Path(__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
PUBLISHED_SIZE = 49408
_log = logging.getLogger("seesay")


class ClipProcessor:
    """Turns pictures and strings into what the towers read.

    Args:
        image: How pictures become pixels.
        tokenizer: Strings to ids, or None.
        compat: "hf" reproduces transformers where it departs from the original training code.
        why_none: What to tell who needs a tokenizer when there is none.
    """

    def __init__(
        self,
        image: ImageSpec,
        tokenizer: BytePairTokenizer | None,
        *,
        compat: str | None = None,
        why_none: str = "the checkpoint came without a tokenizer",
    ) -> None:
        self.image = image
        self.tokenizer = tokenizer
        self.compat = compat
        self._why_none = why_none

    def images(self, pictures: Sequence[Picture]) -> Tensor:
        """Return normalised pixels [B, 3, h, w]."""
        return pixels(pictures, self.image)

    def texts(self, texts: Sequence[str]) -> TextBatch:
        """Return ids and mask [B, L].

        Raises:
            InputError: There is no tokenizer.
        """
        if self.tokenizer is None:
            raise InputError(self._why_none, "put its tokenizer.json beside the weights")
        return self.tokenizer(texts)

    def settings(self) -> dict[str, Any]:
        """Return what decides pixels and ids."""
        return {
            "image": dataclasses.asdict(self.image),
            "compat": self.compat,
            "vocabulary": self.tokenizer.vocabulary.digest if self.tokenizer else None,
        }

    def save(self, folder: Path) -> None:
        """Write the tokenizer into a folder."""
        if self.tokenizer is not None:
            self.tokenizer.save(folder)


def make_processor(
    config: ClipConfig, settings: Mapping[str, Any], folder: Path | None = None
) -> ClipProcessor:
    """Return the processor of a checkpoint; a folder without a tokenizer gets the published one.

    Raises:
        CheckpointError: The settings or the tokenizer's files are damaged.
    """
    image = from_dict(ImageSpec, settings["image"])
    compat = settings.get("compat")
    if compat == "hf":
        image = dataclasses.replace(image, centre="floor")
    vocabulary = Vocabulary.from_folder(folder) if folder else None
    if vocabulary is None and config.text.vocab_size == PUBLISHED_SIZE:
        vocabulary = published_vocabulary()
    if vocabulary is None:
        return ClipProcessor(image, None, compat=compat)
    highest = max(vocabulary.ids.values())
    if highest >= config.text.vocab_size:
        why = f"the tokenizer's ids reach {highest}, the model's {config.text.vocab_size - 1}"
        return ClipProcessor(image, None, compat=compat, why_none=why)
    tokenizer = BytePairTokenizer(vocabulary, config.text.max_length, compat=compat)
    return ClipProcessor(image, tokenizer, compat=compat)


def published_vocabulary() -> Vocabulary:
    """Return the vocabulary all released checkpoints share."""
    return Vocabulary.from_merges(PUBLISHED_MERGES, PUBLISHED_SIZE - 2 * 256 - 2)


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
