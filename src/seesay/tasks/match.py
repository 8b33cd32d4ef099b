"""How well a text describes an image."""

from __future__ import annotations

import math
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
        probability: How likely it is that the text describes the image, 0..1, whatever other texts
            there are. None for models that were trained to compare texts, not to judge one.
    """

    itc: float
    probability: float | None = None

    def show(self) -> str:
        """Return the scores, for people."""
        likely = "" if self.probability is None else f"   {self.probability:.1%}"
        return f"{self.itc:.3f}{likely}"


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
            yield failure or _scored(model, float(image @ vectors[request.text]))


def _scored(model: Model, itc: float) -> MatchOutput:
    """The cosine, and the probability of models that were trained with a sigmoid loss."""
    bias = getattr(model.module, "logit_bias", None)
    if bias is None:
        return MatchOutput(itc=itc)
    scale = model.module.logit_scale.detach().exp()  # type: ignore[operator]
    logit = float(scale) * itc + float(bias.detach())
    # written so that neither exponential overflows
    likely = 1 / (1 + math.exp(-logit)) if logit > 0 else 1 - 1 / (1 + math.exp(logit))
    return MatchOutput(itc=itc, probability=likely)


def identity(image: ImageInput) -> object:
    """Arrays cannot be compared cheaply: the same object counts as the same image."""
    return image if isinstance(image, (str, bytes)) else id(image)
