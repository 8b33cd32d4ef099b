"""Trained weights to the folder that ships with the library."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from seesay import registry
from seesay.checkpoints.native import save
from seesay.config import from_dict
from seesay.errors import StorageError
from seesay.families.mini.model import Mini
from seesay.families.mini.processing import MiniProcessor
from seesay.processing.image import ImageSpec

MOST_BYTES = 38_000_000


def export(model: Mini, tokenizer: Tokenizer, words: Tokenizer, folder: Path) -> int:
    """Write half-precision weights, manifest and tokenizers; return their size in bytes.

    Args:
        model: What ships.
        tokenizer: The text tower's.
        words: The writer's.
        folder: Where it goes.

    Raises:
        StorageError: They are larger than what may ship.
    """
    family, variant = registry.variant("seesay/mini")
    image = from_dict(ImageSpec, variant.settings()["image"])
    processor = MiniProcessor(image, tokenizer, model.config.text.max_length, words)
    save(folder, family, model.config, processor, model.half(), name="seesay/mini")
    size = sum(p.stat().st_size for p in folder.iterdir())
    if size > MOST_BYTES:
        raise StorageError(f"{folder} has {size} bytes, {MOST_BYTES} may ship")
    return size
