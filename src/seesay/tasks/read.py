"""Reading the text in images: all of it, with the place of each line, or that in some boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seesay.errors import InputError, UsageError, all_or_raise
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
from seesay.tasks.tiles import TILES, Grid
from seesay.types import ImageInput

if TYPE_CHECKING:
    from seesay.model import Model


@dataclass(frozen=True, kw_only=True)
class ReadInput(Looking):
    """An image with text in it, and whether to say where the text is.

    Attributes:
        regions: Whether each line comes with its four corners.
        boxes: Read what is in these, and nothing else.
    """

    regions: bool = field(default=False, metadata={"help": "Say where each line is."})
    boxes: tuple[Box, ...] = field(
        default=(),
        metadata={"help": "Read this box x1,y1,x2,y2 in pixels alone; again for each more."},
    )
    tiles: Grid | None = field(default=None, metadata=TILES)


def read(
    model: Model,
    images: Iterable[ImageInput] | ImageInput,
    *,
    regions: bool = False,
    boxes: Iterable[Any] | None = None,
    tiles: tuple[int, int] | None = None,
    constrained: bool = False,
    batch_size: int = 8,
    **options: Any,
) -> list[Found]:
    """Read the text in images.

    Args:
        model: One that reads.
        images: Paths, encoded bytes, PIL images or arrays [h, w, c]; one or many.
        regions: Whether each line comes with its place: its label is what it says, its quad the
            four corners.
        boxes: Read these alone: in pixels of the upright original, the same for every image, or a
            list of them for each image. The label of each is the text in it.
        tiles: Rows and columns of parts that are read one by one, each as large as the model can
            see: for pages whose letters are too small. Lines come with their places.
        constrained: Let nothing but well-formed places be written.
        batch_size: How many are read together. What is read does not depend on it.
        **options: Fields of `seesay.generation.Options`.

    Raises:
        UsageError: The model cannot, or an argument cannot be.
        ItemsFailed: Some images cannot be read.
    """
    from seesay.tasks.pictures import as_list

    seen = as_list(images)
    given: dict[str, Any] = {"regions": regions, "tiles": tiles}
    given |= {"constrained": constrained, "options": options}
    each = [()] * len(seen) if boxes is None else boxes_of_each(boxes, len(seen))
    requests = [
        ReadInput(image=image, boxes=some, **given) for image, some in zip(seen, each, strict=True)
    ]
    return all_or_raise(run(model, requests, batch_size=batch_size))


def run(
    model: Model, requests: Sequence[ReadInput], *, batch_size: int = 8
) -> Iterator[Found | InputError]:
    """Serve requests in batches."""
    from seesay.tasks.writing import asked

    model.require("read")

    def ask(request: ReadInput) -> list[Question]:
        if request.boxes and (request.regions or request.tiles):
            raise UsageError(
                "boxes are read as they are", "leave out regions and tiles, or the boxes"
            )
        if request.boxes:
            template, options = asked(model, "read", request.options, "boxes")
            return [Question(template, options, box=box) for box in as_boxes(request.boxes)]
        return [
            Question(*asked(model, "read", request.options, "regions" if request.regions else ""))
        ]

    # only places tell which lines of neighbouring tiles are the same
    placed = [dataclasses.replace(r, regions=True) if r.tiles else r for r in requests]
    yield from find(model, "read", placed, ask, labelled, batch_size=batch_size)
