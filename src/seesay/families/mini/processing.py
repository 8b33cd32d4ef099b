"""Pictures and strings of seesay/mini to tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from seesay.config import from_dict
from seesay.errors import CheckpointError
from seesay.families.mini.configs import MiniConfig
from seesay.processing.image import ImageSpec, pixels
from seesay.types import Picture, TextBatch

TOKENIZER = "tokenizer.json"
SHIPPED = Path(__file__).with_name("weights")
UNKNOWN = 0


class MiniProcessor:
    """Turns pictures and strings into what the towers read.

    Args:
        image: How pictures become pixels.
        tokenizer: Strings to ids.
        max_length: Where texts are cut off.
    """

    def __init__(self, image: ImageSpec, tokenizer: Tokenizer, max_length: int) -> None:
        self.image = image
        self.tokenizer = tokenizer
        self.max_length = max_length

    def images(self, pictures: Sequence[Picture]) -> Tensor:
        """Return normalised pixels [B, 3, h, w]."""
        return pixels(pictures, self.image)

    def texts(self, texts: Sequence[str]) -> TextBatch:
        """Return ids and mask [B, L]; an empty text is one unknown token."""
        encoded = self.tokenizer.encode_batch(list(texts))
        rows = [e.ids[: self.max_length] or [UNKNOWN] for e in encoded]
        longest = max((len(row) for row in rows), default=1)
        ids = torch.zeros(len(rows), longest, dtype=torch.int64)
        lengths = torch.tensor([len(row) for row in rows])
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
        return TextBatch(ids, torch.arange(longest) < lengths[:, None])

    def settings(self) -> dict[str, Any]:
        """Return what decides pixels and ids."""
        return {"image": dataclasses.asdict(self.image)}

    def save(self, folder: Path) -> None:
        """Write the tokenizer into a folder."""
        self.tokenizer.save(str(folder / TOKENIZER), pretty=False)


def make_processor(
    config: MiniConfig, settings: Mapping[str, Any], folder: Path | None = None
) -> MiniProcessor:
    """Return the processor of a checkpoint; a folder without a tokenizer gets the shipped one.

    Raises:
        CheckpointError: The settings or the tokenizer's file are damaged.
    """
    path = folder / TOKENIZER if folder else SHIPPED / TOKENIZER
    path = path if path.is_file() else SHIPPED / TOKENIZER
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust reader raises bare Exceptions
        raise CheckpointError(f"{path}: not a tokenizer ({error})") from None
    if tokenizer.get_vocab_size() > config.text.vocab_size:
        raise CheckpointError(
            f"{path}: {tokenizer.get_vocab_size()} tokens, the model has {config.text.vocab_size}"
        )
    image = from_dict(ImageSpec, settings["image"])
    return MiniProcessor(image, tokenizer, config.text.max_length)
