"""What the tasks that say where things are have in common: what is asked, and what is read back."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeVar

from seesay.errors import InputError, UsageError
from seesay.regions import Box, Region, Regions
from seesay.types import ImageInput

if TYPE_CHECKING:
    from PIL import Image

    from seesay.generation import Written
    from seesay.generation.options import Options
    from seesay.model import Model
    from seesay.regions.types import Size
    from seesay.tasks.pictures import Seen
    from seesay.types import Picture

Request = TypeVar("Request", bound="Looking")


ONE_IMAGE = {"help": "An image, or a folder.", "each": "folder"}
"""Metadata of an image that texts follow on the command line."""


@dataclass(frozen=True, kw_only=True)
class Looking:
    """An image to look at, and how what is found is written.

    Attributes:
        constrained: Whether only well-formed places can be written: boxes of four edges in order,
            quads of four corners, outlines of three points or more.
        options: Fields of `seesay.generation.Options`; for the others the published values hold.
    """

    image: ImageInput = field(metadata={"help": "Images, or folders of them.", "each": True})
    constrained: bool = field(
        default=False, metadata={"help": "Let nothing but well-formed places be written."}
    )
    options: Mapping[str, Any] = field(
        default_factory=dict, metadata={"options": "seesay.generation.options:Options"}
    )


@dataclass(frozen=True, kw_only=True)
class Found(Regions):
    """What a model found in an image: a text, and regions of the picture.

    Attributes:
        score: How sure the model was of what it wrote, 0 to 1: the geometric mean of the
            probabilities of its tokens.
        finished: Whether it ended by itself, and not because it had become too long. One that did
            is still `truncated` where its last region is not whole.
        image: The image, as it was given.
    """

    score: float
    finished: bool = field(default=True, repr=False, metadata={"json": False})
    image: ImageInput = field(repr=False, compare=False, metadata={"json": False})

    def draw(self, image: Image.Image | Picture | None = None) -> Image.Image:
        """Return the picture with everything drawn over it; reads it again unless it is given."""
        from seesay.processing.image import open_picture

        return super().draw(open_picture(self.image) if image is None else image)


@dataclass(frozen=True)
class Question:
    """One prompt about an image.

    Attributes:
        template: The family's, as `writing.asked` returns it.
        options: How the answer is written.
        text: What is put into the template.
        box: What is put there instead: a place in the picture, spelled.
    """

    template: str
    options: Options
    text: str = ""
    box: Box | None = None


@dataclass(frozen=True)
class _Asked:
    """A question with its image, as `pictures.serve` takes it."""

    image: ImageInput
    question: Question
    constrained: bool


Join = Callable[[Sequence[Box], list[Found]], Found]
"""Some boxes, and what was found about each, to what is said of the image."""


def find(
    model: Model,
    task: str,
    requests: Sequence[Request],
    ask: Callable[[Request], list[Question]],
    join: Join | None = None,
    *,
    batch_size: int,
) -> Iterator[Found | InputError]:
    """Serve requests in batches; an image that follows itself is encoded once.

    Args:
        model: One that can do the task.
        task: Its name.
        requests: Requests, each with tiles where it has a field of that name.
        ask: The questions of a request: one; or one for each of some boxes.
        join: Makes one answer of those about boxes.
        batch_size: How many images are encoded together, and questions answered, at most.

    Yields:
        What was found, or the error of a bad image, for each request in order.
    """
    from seesay.tasks.tiles import as_grid, piecewise

    def look(pieces: list[Request]) -> Iterator[Found | InputError]:
        return find(model, task, pieces, ask, join, batch_size=batch_size)

    asked = [ask(request) for request in requests]
    for question in (question for questions in asked for question in questions):
        if question.options.num_return_sequences > 1:
            raise UsageError(
                f"num_return_sequences={question.options.num_return_sequences}, but one result is "
                "told for each image"
            )
    tiled = [as_grid(getattr(request, "tiles", None)) is not None for request in requests]
    whole = [
        (request, questions)
        for request, questions, cut in zip(requests, asked, tiled, strict=True)
        if not cut
    ]
    answers = _answers(model, task, whole, batch_size)
    for request, questions, cut in zip(requests, asked, tiled, strict=True):
        if cut:
            yield piecewise(request, look)
            continue
        found = [next(answers) for _ in questions]
        bad = next((one for one in found if isinstance(one, InputError)), None)
        if bad is not None:
            yield bad
            continue
        known = [one for one in found if not isinstance(one, InputError)]
        boxes = [question.box for question in questions if question.box is not None]
        yield join(boxes, known) if join is not None and boxes else known[0]


def _answers(
    model: Model,
    task: str,
    requests: Sequence[tuple[Looking, list[Question]]],
    batch_size: int,
) -> Iterator[Found | InputError]:
    """An answer to each question of each request, in order."""
    from seesay.tasks.pictures import serve
    from seesay.tasks.writing import generated

    processor: Any = model.processor

    def respond(groups: list[list[_Asked]], seen: Seen) -> list[Found | InputError]:
        listed = [one for group in groups for one in group]
        sizes = [size for group, [size] in zip(groups, seen.sizes, strict=True) for _ in group]
        prompts = [_prompt(one.question, size) for one, size in zip(listed, sizes, strict=True)]
        options = listed[0].question.options
        rules = []
        if listed[0].constrained:
            rule = processor.rule(prompts[0])
            rules = [] if rule is None else [rule]
        rows = generated(model, task, prompts, seen.features[:, 0], options, rules)
        return [
            _outside(one, size) or _found(processor, one.image, prompt, size, row[0], options)
            for one, prompt, size, row in zip(listed, prompts, sizes, rows, strict=True)
        ]

    def alike(one: _Asked) -> tuple[Options, str | None]:
        # a rule is of one grammar, which the task token at the beginning decides
        filled = one.question.template.replace("{}", one.question.text)
        return one.question.options, filled.partition(">")[0] if one.constrained else None

    yield from serve(
        model,
        [
            _Asked(request.image, question, request.constrained)
            for request, questions in requests
            for question in questions
        ],
        respond,
        see=model.module.encode_image,  # type: ignore[arg-type]
        alike=alike,
        batch_size=batch_size,
    )


def _prompt(question: Question, size: Size) -> str:
    """What is asked about a picture of this size, task token and all."""
    from seesay.regions.locations import spell

    text = question.text if question.box is None else spell(question.box, size)
    return question.template.replace("{}", text)


def _outside(one: _Asked, size: Size) -> InputError | None:
    """What is wrong with a box that holds nothing of the picture, as one of another size does."""
    from seesay.names import printable

    box = one.question.box
    if box is None or (box.x1 < size[0] and box.y1 < size[1] and box.x2 > 0 and box.y2 > 0):
        return None
    place, (width, height) = ",".join(f"{value:g}" for value in box), size
    name = ""
    if isinstance(one.image, (str, os.PathLike)):
        name = f"{printable(os.fspath(one.image))}: "
    return InputError(
        f"{name}the box {place} is outside the picture of {width} x {height} pixels",
        "count the pixels of the upright original",
    )


def _found(
    processor: Any, image: ImageInput, prompt: str, size: Size, one: Written, options: Options
) -> Found:
    """Read back what was written."""
    pieces = list(zip(processor.pieces(one.ids), one.logprobs, strict=False))
    whole = "".join(piece for piece, _ in pieces) == one.text  # no stop has cut it
    regions = processor.parse(prompt, one.text, size, pieces if whole else None)
    told = {f.name: getattr(regions, f.name) for f in dataclasses.fields(Regions)}
    told["truncated"] |= not one.finished
    chosen = one.logprobs[options.forced_bos_id is not None :]  # what is forced is no choice
    sure = exp(sum(chosen) / max(1, len(chosen)))
    return Found(**told, score=round(sure, 6), finished=one.finished, image=image)


def labelled(boxes: Sequence[Box], found: list[Found]) -> Found:
    """Return one region for each box, its label what was written about it."""
    regions = [
        Region(label=one.text, box=box, score=one.score)
        for box, one in zip(boxes, found, strict=True)
    ]
    return _together(found, regions, "\n".join(one.text for one in found))


def outlined(_boxes: Sequence[Box], found: list[Found]) -> Found:
    """Return what was found about each box, each a thing of its own."""
    regions = [
        dataclasses.replace(region, instance=number)
        for number, one in enumerate(found)
        for region in one.regions
    ]
    return _together(found, regions, "\n".join(one.text for one in found if one.text))


def _together(found: list[Found], regions: list[Region], text: str) -> Found:
    return dataclasses.replace(
        found[0],
        text=text,
        regions=regions,
        raw="\n".join(one.raw for one in found),
        truncated=any(one.truncated for one in found),
        finished=all(one.finished for one in found),
        score=round(sum(one.score for one in found) / len(found), 6),
    )


def as_boxes(boxes: Any) -> tuple[Box, ...]:
    """Return boxes of four numbers each, edges in order.

    Raises:
        UsageError: There are none, or one is no box.
    """
    found = []
    for box in boxes:
        try:
            region = Region(box=box)
        except TypeError:
            raise UsageError(f"{box!r} is no box", "give x1, y1, x2, y2 in pixels") from None
        found.append(region.box.ordered)
    if not found:
        raise UsageError("there are no boxes", "give x1, y1, x2, y2 in pixels for each")
    return tuple(found)


def boxes_of_each(boxes: Any, count: int) -> list[tuple[Box, ...]]:
    """Return the boxes of each of `count` images: of a list of lists, or the same for all.

    A single box counts as a list of one.

    Raises:
        UsageError: There are not as many lists as images, or a box is none.
    """
    listed = list(boxes.tolist() if hasattr(boxes, "tolist") else boxes)
    if listed and isinstance(listed[0], Real):
        return [as_boxes([listed])] * count  # one box
    if listed and all(isinstance(value, Real) for value in listed[0]):
        return [as_boxes(listed)] * count
    if len(listed) != count:
        raise UsageError(
            f"{len(listed)} lists of boxes for {count} images",
            "give a list of boxes for each image, or one list of boxes for all",
        )
    return [as_boxes(one) for one in listed]
