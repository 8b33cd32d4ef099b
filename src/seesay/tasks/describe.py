"""Saying what is in some boxes of an image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from seesay.errors import InputError, all_or_raise
from seesay.regions import Box
from seesay.tasks.finding import (
    Found,
    Looking,
    Question,
    as_boxes,
    boxes_of_each,
    find,
    labelled,
)
from seesay.types import ImageInput

if TYPE_CHECKING:
    from seesay.model import Model

What = Literal["description", "category", "text"]


@dataclass(frozen=True, kw_only=True)
class DescribeInput(Looking):
    """An image, boxes in it, and what to say about each."""

    boxes: tuple[Box, ...] = field(
        metadata={"help": "A box x1,y1,x2,y2 in pixels, again for each more."}
    )
    what: What = field(
        default="description",
        metadata={"help": "Describe it, name its kind, or read the text in it."},
    )


def describe(
    model: Model,
    images: Iterable[ImageInput] | ImageInput,
    boxes: Iterable[Any],
    *,
    what: What = "description",
    constrained: bool = False,
    batch_size: int = 8,
    **options: Any,
) -> list[Found]:
    """Say what is in boxes of images; each image is encoded once, however many there are.

    Args:
        model: One that reads places.
        images: Paths, encoded bytes, PIL images or arrays [h, w, c]; one or many.
        boxes: In pixels of the upright original, x1, y1, x2, y2 each; the same for every image, or
            a list of them for each image.
        what: A "description" of each, the "category" of the thing in it, or the "text" it holds.
        constrained: Let nothing but well-formed places be written.
        batch_size: How many are described together. What is said does not depend on it.
        **options: Fields of `seesay.generation.Options`.

    Returns:
        For each image a region for each of its boxes, in order; its label is what is said of it.

    Raises:
        UsageError: The model cannot, or boxes cannot be.
        ItemsFailed: Some images cannot be read.
    """
    from seesay.tasks.pictures import as_list

    seen = as_list(images)
    given: dict[str, Any] = {"what": what, "constrained": constrained, "options": options}
    requests = [
        DescribeInput(image=image, boxes=some, **given)
        for image, some in zip(seen, boxes_of_each(boxes, len(seen)), strict=True)
    ]
    return all_or_raise(run(model, requests, batch_size=batch_size))


def run(
    model: Model, requests: Sequence[DescribeInput], *, batch_size: int = 8
) -> Iterator[Found | InputError]:
    """Serve requests in batches."""
    from seesay.tasks.writing import asked

    model.require("describe")

    def ask(request: DescribeInput) -> list[Question]:
        form = "" if request.what == "description" else request.what
        template, options = asked(model, "describe", request.options, form)
        return [Question(template, options, box=box) for box in as_boxes(request.boxes)]

    yield from find(model, "describe", requests, ask, labelled, batch_size=batch_size)
