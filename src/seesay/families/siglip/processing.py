"""SigLIP's pictures and strings to tensors."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from seesay.checkpoints.files import Source
from seesay.config import from_dict
from seesay.errors import InputError
from seesay.families.siglip.configs import BYTES, SiglipConfig
from seesay.families.siglip.tokens import (
    SPIECE,
    Cleaning,
    SiglipTokenizer,
    byte_tokenizer,
    read_pipeline,
)
from seesay.processing.image import ImageSpec, pixels
from seesay.types import Picture, TextBatch

GEMMA_SIZE = 256000
"""V of SigLIP 2, by which its releases are told from those of the first."""
_log = logging.getLogger("seesay")


class SiglipProcessor:
    """Turns pictures and strings into what the towers read.

    Args:
        image: How pictures become pixels.
        tokenizer: Strings to ids, or None.
        cleaning: What happens to a text before it becomes ids.
        patch_size: Side of a patch in pixels.
        max_patches: The most patches of a picture, which then keeps its proportions; None for the
            fixed size of `image`.
        compat: "hf" reproduces transformers where it departs from the original training code.
    """

    def __init__(
        self,
        image: ImageSpec,
        tokenizer: SiglipTokenizer | None,
        *,
        cleaning: Cleaning,
        patch_size: int,
        max_patches: int | None = None,
        compat: str | None = None,
    ) -> None:
        self.image = image
        self.tokenizer = tokenizer
        self.cleaning = cleaning
        self.patch_size = patch_size
        self.max_patches = max_patches
        self.compat = compat

    def images(self, pictures: Sequence[Picture]) -> Tensor:
        """Return normalised pixels [B, 3, h, w].

        Raises:
            InputError: The pictures keep their proportions, and these do not make one batch.
        """
        if self.max_patches is None:
            return pixels(pictures, self.image)
        sizes = {fitted(picture.size, self.patch_size, self.max_patches) for picture in pictures}
        if len(sizes) > 1:
            raise InputError(
                f"pictures that become {len(sizes)} different sizes do not make one batch",
                "take them one by one, or by size",
            )
        size = sizes.pop() if sizes else self.image.size
        return pixels(pictures, dataclasses.replace(self.image, size=size))

    def texts(self, texts: Sequence[str]) -> TextBatch:
        """Return ids and mask [B, L].

        Raises:
            InputError: There is no tokenizer.
        """
        if self.tokenizer is None:
            raise InputError(
                "the checkpoint came without a tokenizer",
                "put its tokenizer.json, or spiece.model, beside the weights",
            )
        return self.tokenizer(texts)

    def settings(self) -> dict[str, Any]:
        """Return what decides pixels and ids."""
        return {
            "image": dataclasses.asdict(self.image),
            "max_patches": self.max_patches,
            "cleaning": self.cleaning,
            "compat": self.compat,
            "vocabulary": self.tokenizer.digest if self.tokenizer else None,
        }

    def save(self, folder: Path) -> None:
        """Write the tokenizer into a folder."""
        if self.tokenizer is not None:
            self.tokenizer.save(folder)


def make_processor(
    config: SiglipConfig, settings: Mapping[str, Any], folder: Path | None = None
) -> SiglipProcessor:
    """Return the processor of a checkpoint.

    Raises:
        CheckpointError: The settings or the tokenizer's file are damaged.
    """
    compat, cleaning = settings.get("compat"), settings["cleaning"]
    if cleaning not in ("lower", "canonicalize"):
        raise ValueError(f"cleaning {cleaning!r}")
    pipeline = read_pipeline(folder) if folder else None
    if pipeline is None and config.text.vocab_size == BYTES:
        pipeline = byte_tokenizer()
    tokenizer = None
    if pipeline is not None:
        path = folder / SPIECE if folder else None
        spiece = path.read_bytes() if path and path.is_file() else None
        tokenizer = SiglipTokenizer(pipeline, config.text, cleaning, compat, spiece)
    return SiglipProcessor(
        from_dict(ImageSpec, settings["image"]),
        tokenizer,
        cleaning=cleaning,
        patch_size=config.image.patch_size,
        max_patches=settings.get("max_patches"),
        compat=compat,
    )


def fitted(size: tuple[int, int], patch_size: int, max_patches: int) -> tuple[int, int]:
    """Return the height and width a picture is scaled to, both multiples of the patch.

    The proportions are kept but for that, and as many patches are made as are allowed. Bounds and
    precision of the search are those of the original, and decide where two sizes are close.

    Args:
        size: Width and height of the picture.
        patch_size: Side of a patch in pixels.
        max_patches: The most patches.
    """
    width, height = size

    def grid(scale: float) -> tuple[int, int]:
        rows, columns = (math.ceil(side * scale / patch_size) for side in (height, width))
        return max(rows, 1), max(columns, 1)

    low, high = 1e-6, 100.0
    while high - low >= 1e-5:
        middle = (low + high) / 2
        if math.prod(grid(middle)) <= max_patches:
            low = middle
        else:
            high = middle
    rows, columns = grid(low)
    return rows * patch_size, columns * patch_size


def published_settings(
    size: int | tuple[int, int],
    vocab_size: int = 32000,
    max_patches: int | None = None,
    cleaning: Cleaning | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """Return the settings of the released checkpoints.

    Args:
        size: Side, or height and width, of the pixels.
        vocab_size: V, by which SigLIP 2 is known.
        max_patches: The most patches of a picture that keeps its proportions.
        cleaning: What happens to a text first; None for what the release was trained with.
        spec: Fields of `ImageSpec` that depart from the usual.
    """
    second = vocab_size in (GEMMA_SIZE, BYTES)
    half = (0.5, 0.5, 0.5)
    told = {
        "size": (size, size) if isinstance(size, int) else size,
        "mean": half,
        "std": half,
        "resize": "squash",
        "resample": "bilinear" if second else "bicubic",
    } | spec
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in told.items()}
    return {
        "image": dataclasses.asdict(ImageSpec(**fields)),
        "max_patches": max_patches,
        "cleaning": cleaning or ("lower" if second else "canonicalize"),
        "compat": None,
    }


def unsaid_settings(source: Source, config: SiglipConfig, file: str) -> dict[str, Any]:
    """Return the settings of a checkpoint that lacks the file with its own.

    Those of the released size, where that was asked for by name; else those that released
    checkpoints like it have, with a warning.
    """
    if source.usual is not None:
        return dict(source.usual)
    _log.warning(
        "%s has no %s: its pixels are made as Google's released models want them",
        source.folder, file,
    )  # fmt: skip
    any_size = config.image.resampling == "bilinear"
    return published_settings(
        config.image.image_size,
        config.text.vocab_size,
        max_patches=math.prod(config.image.grid) if any_size else None,
    )
