"""Pictures and strings to tensors, for the models that read the published byte-pair vocabulary."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from seesay.config import from_dict
from seesay.errors import InputError
from seesay.processing.image import ImageSpec, pixels
from seesay.processing.tokens import BytePairTokenizer, Vocabulary
from seesay.types import Picture, TextBatch

MERGES = Path(__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
PUBLISHED_SIZE = 49408


class BytePairProcessor:
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


def make_byte_pair_processor(
    vocab_size: int, max_length: int, settings: Mapping[str, Any], folder: Path | None
) -> BytePairProcessor:
    """Return the processor of a checkpoint; a folder without a tokenizer gets the published one.

    Args:
        vocab_size: V of the text tower.
        max_length: The most tokens of a text.
        settings: What `BytePairProcessor.settings` returned.
        folder: May hold the tokenizer's files.

    Raises:
        CheckpointError: The settings or the tokenizer's files are damaged.
    """
    image = from_dict(ImageSpec, settings["image"])
    compat = settings.get("compat")
    if compat == "hf":
        image = dataclasses.replace(image, centre="floor")
    vocabulary = Vocabulary.from_folder(folder) if folder else None
    if vocabulary is None and vocab_size == PUBLISHED_SIZE:
        vocabulary = published_vocabulary()
    if vocabulary is None:
        return BytePairProcessor(image, None, compat=compat)
    highest = max(vocabulary.ids.values())
    if highest >= vocab_size:
        why = f"the tokenizer's ids reach {highest}, the model's {vocab_size - 1}"
        return BytePairProcessor(image, None, compat=compat, why_none=why)
    tokenizer = BytePairTokenizer(vocabulary, max_length, compat=compat)
    return BytePairProcessor(image, tokenizer, compat=compat)


def published_vocabulary() -> Vocabulary:
    """Return the vocabulary all released checkpoints share."""
    return Vocabulary.from_merges(MERGES, PUBLISHED_SIZE - 2 * 256 - 2)


def published_end(vocab_size: int) -> int | None:
    """Return the end token's id where a layout does not tell it: the published one, or unknown."""
    return PUBLISHED_SIZE - 1 if vocab_size == PUBLISHED_SIZE else None
