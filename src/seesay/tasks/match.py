"""How well a text describes an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from seesay.errors import InputError, UsageError, all_or_raise
from seesay.types import ImageInput

if TYPE_CHECKING:
    from seesay.model import Model


@dataclass(frozen=True, kw_only=True)
class MatchInput:
    """An image and a text."""

    image: ImageInput = field(metadata={"help": "An image."})
    text: str = field(metadata={"help": "Texts to score against it.", "each": True})


@dataclass(frozen=True, kw_only=True)
class MatchOutput:
    """The scores of one pair.

    Attributes:
        itc: Cosine of the two vectors, -1..1 (the image-text contrastive score).
    """

    itc: float

    def show(self) -> str:
        """Return the score, for people."""
        return f"{self.itc:.3f}"


def match(model: Model, images: Sequence[ImageInput], texts: Sequence[str]) -> list[MatchOutput]:
    """Score pairs of an image and a text.

    Args:
        model: A dual encoder.
        images: As many as texts, or one for all texts.
        texts: As many as images, or one for all images.

    Raises:
        UsageError: The numbers of images and texts do not pair up.
        ItemsFailed: Some images cannot be read.
    """
    pairs = max(len(images), len(texts))
    if {len(images), len(texts)} - {1, pairs} or not pairs:
        raise UsageError(f"{len(images)} images and {len(texts)} texts do not pair up")
    one_image, one_text = len(images) == 1, len(texts) == 1
    requests = [
        MatchInput(image=images[0 if one_image else i], text=texts[0 if one_text else i])
        for i in range(pairs)
    ]
    return all_or_raise(run(model, requests))


def run(model: Model, requests: Sequence[MatchInput]) -> Iterator[MatchOutput | InputError]:
    """Score each request; a text that comes again, or an image after itself, is encoded once."""
    texts = list(dict.fromkeys(request.text for request in requests))
    vectors = dict(zip(texts, model.embed_texts(texts), strict=True))
    groups = [list(group) for _, group in groupby(requests, key=lambda r: identity(r.image))]
    encoded = model.each_image([group[0].image for group in groups])
    for group, (image, failure) in zip(groups, encoded, strict=True):
        for request in group:
            yield failure or MatchOutput(itc=float(image @ vectors[request.text]))


def identity(image: ImageInput) -> object:
    """Arrays cannot be compared cheaply: the same object counts as the same image."""
    return image if isinstance(image, (str, bytes)) else id(image)
