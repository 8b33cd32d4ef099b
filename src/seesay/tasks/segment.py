"""Outlining a thing in an image: one that a phrase names, or the one in each of some boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seesay.errors import InputError, UsageError, all_or_raise
from seesay.regions import Box
from seesay.tasks.finding import (
    ONE_IMAGE,
    Found,
    Looking,
    Question,
    as_boxes,
    boxes_of_each,
    find,
    outlined,
)
from seesay.types import ImageInput

if TYPE_CHECKING:
    from seesay.model import Model


@dataclass(frozen=True, kw_only=True)
class SegmentInput(Looking):
    """An image, and what to outline in it: a phrase or boxes."""

    image: ImageInput = field(metadata=ONE_IMAGE)
    phrase: str | None = field(
        default=None,
        metadata={"help": "What to outline, in your words.", "each": True, "positional": True},
    )
    boxes: tuple[Box, ...] = field(
        default=(), metadata={"help": "A box x1,y1,x2,y2 in pixels, again for each more."}
    )


def segment(
    model: Model,
    images: Iterable[ImageInput] | ImageInput,
    phrases: Sequence[str] | str | None = None,
    boxes: Iterable[Any] | None = None,
    *,
    constrained: bool = False,
    batch_size: int = 8,
    **options: Any,
) -> list[Found]:
    """Outline things in images; `masks()` of a result rasterises its polygons.

    Args:
        model: One that says where things are.
        images: As many as phrases, or one for all.
        phrases: As many as images, or one for all.
        boxes: In place of phrases: boxes in pixels of the upright original, the same for every
            image; or a list of them for each image. The thing in each is outlined; polygons of one
            thing have the number of its box as `instance`.
        constrained: Let nothing but well-formed outlines be written.
        batch_size: How many are outlined together. What is found does not depend on it.
        **options: Fields of `seesay.generation.Options`.

    Raises:
        UsageError: The model cannot, or neither phrases nor boxes are given, or both.
        ItemsFailed: Some images cannot be read.
    """
    from seesay.tasks.match import pairs
    from seesay.tasks.pictures import as_list
    from seesay.tasks.vectors import as_texts

    if (phrases is None) == (boxes is None):
        raise UsageError("segment takes phrases or boxes, one of the two")
    seen = as_list(images)
    given: dict[str, Any] = {"constrained": constrained, "options": options}
    if phrases is not None:
        paired = pairs(seen, as_texts(phrases), "phrases")
        requests = [SegmentInput(image=image, phrase=text, **given) for image, text in paired]
    else:
        requests = [
            SegmentInput(image=image, boxes=some, **given)
            for image, some in zip(seen, boxes_of_each(boxes, len(seen)), strict=True)
        ]
    return all_or_raise(run(model, requests, batch_size=batch_size))


def run(
    model: Model, requests: Sequence[SegmentInput], *, batch_size: int = 8
) -> Iterator[Found | InputError]:
    """Serve requests in batches."""
    from seesay.tasks.writing import asked

    model.require("segment")

    def ask(request: SegmentInput) -> list[Question]:
        if (request.phrase is None) == (not request.boxes):
            raise UsageError("segment takes a phrase or boxes, one of the two")
        if request.phrase is not None:
            return [Question(*asked(model, "segment", request.options), request.phrase)]
        template, options = asked(model, "segment", request.options, "boxes")
        return [Question(template, options, box=box) for box in as_boxes(request.boxes)]

    found = find(model, "segment", requests, ask, outlined, batch_size=batch_size)
    for request, one in zip(requests, found, strict=True):
        yield one if isinstance(one, InputError) else _named(one, request.phrase or "")


def _named(found: Found, phrase: str) -> Found:
    """Outlines that have no label of their own are called what was asked for."""
    regions = [dataclasses.replace(r, label=r.label or phrase) for r in found.regions]
    return dataclasses.replace(found, regions=regions)
