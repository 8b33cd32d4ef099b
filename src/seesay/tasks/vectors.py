"""Images and texts to unit vectors, in batches and in input order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seesay.device import without_gradient
from seesay.errors import InputError
from seesay.tasks.pictures import pixel_chunks
from seesay.types import ImageInput

if TYPE_CHECKING:
    from seesay.model import Model


class ImageChunk(NamedTuple):
    """Some consecutive images: where they start, their vectors [N, E], and what failed.

    A failed item's row is NaN; `failures` maps its position in the whole input to the error.
    """

    start: int
    vectors: Tensor
    failures: dict[int, InputError]


def stream_images(
    model: Model, images: Sequence[ImageInput], batch_size: int
) -> Iterator[ImageChunk]:
    """Encode images chunk by chunk while the next chunks are being decoded."""
    for chunk in pixel_chunks(model, images, batch_size):
        vectors = torch.full((chunk.size, width(model)), float("nan"))
        for rows, pixels in chunk.batches:
            vectors[rows] = embed_pixels(model, pixels)
        yield ImageChunk(chunk.start, vectors, chunk.failures)


def embed_pixels(model: Model, pixels: Tensor) -> Tensor:
    """Normalised pixels [B, 3, h, w] to float32 unit vectors [B, E] on the CPU."""
    with without_gradient(model.module):
        vectors = model.module.embed_image(  # type: ignore[operator]
            pixels.to(model.device, model.dtype, memory_format=torch.channels_last)
        )
        return F.normalize(vectors.float(), dim=-1).cpu()


def embed_texts(model: Model, texts: Sequence[str] | str, batch_size: int) -> Tensor:
    """Encode strings as float32 unit vectors [N, E] on the CPU; see `Model.embed_texts`."""
    strings = as_texts(texts)
    vectors = torch.empty(len(strings), width(model))
    # neighbours in length share a batch, so little is spent on padding
    order = sorted(range(len(strings)), key=lambda i: len(strings[i]))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        ids, mask = model.processor.texts([strings[i] for i in rows])
        with without_gradient(model.module):
            encoded = model.module.embed_text(  # type: ignore[operator]
                ids.to(model.device), mask.to(model.device)
            )
            vectors[rows] = F.normalize(encoded.float(), dim=-1).cpu()
    return vectors


def as_texts(texts: Sequence[str] | str) -> list[str]:
    """One text or many, as a list.

    Raises:
        InputError: An item is not a string.
    """
    strings = [texts] if isinstance(texts, str) else list(texts)
    for i, text in enumerate(strings):
        if not isinstance(text, str):
            raise InputError(f"text {i} is {type(text).__name__}, not a string")
    return strings


def width(model: Model) -> int:
    """Return E."""
    return int(model.config.embed_width)
