"""Rows as raw prompts and what is written after them, for models that are told what to do.

What is asked follows from what a row has: prefix and suffix say it themselves; a question stands
behind a task token, captions answer one, and boxes, phrases and lines of text are spelt as
locations after one. Task tokens are Florence-2's: arXiv 2311.06242, section 3.1 and appendix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from seesay.data.questions import Question, Questions
from seesay.data.readers import asked, coco
from seesay.data.readers.jsonl import forget_json
from seesay.data.readers.options import Options
from seesay.data.readers.places import Refused
from seesay.data.record import Cell
from seesay.errors import InputError
from seesay.processing.image import measure
from seesay.regions.locations import spell

QUESTION, DOCUMENT, CAPTION = "<VQA>", "<DocVQA>", "<CAPTION>"
PROPOSAL, PLAIN = "<REGION_PROPOSAL>", "<OCR>"
PLACED = {
    "objects": "<OD>",
    "phrases": "<CAPTION_TO_PHRASE_GROUNDING>",
    "lines": "<OCR_WITH_REGION>",
}
"""Columns of things that have a place -> what is asked about them."""
PAGES = ("docid", "ucsf_document_id")
"""Columns that only questions about documents have."""
CAPTIONS = ("caption", "text", "sentence")
"""Where the caption is whose phrases are placed."""
GRACE = 1.0
"""Pixels that a place may lie outside of the picture: published ones are rounded."""

Numbers = Sequence[float]
Spell = Callable[[Mapping[str, Any], tuple[int, int], list[str]], str]
"""A row, the size of its picture, and where to tell what is wrong -> what is written."""


def read(path: str, options: Options, prompt: str | None = None) -> Questions:
    """Read data of any format as prompts.

    Args:
        path: Whatever holds questions, captions, COCO's boxes, or rows as described above.
        options: What the user said.
        prompt: The task token of rows that have no prefix, in place of the one that follows from
            what they have.

    Raises:
        InputError: Nothing there is known.
    """
    try:
        if asked.recognises(path) or asked.columns_of(path) & PLACED.keys():
            return asked.read(path, options, _telling(prompt))
    finally:
        forget_json()
    return _captions(path, options, prompt or CAPTION)


def recognises(path: str) -> bool:
    """Whether it is rows of things that have a place that lie at a path, and not COCO's."""
    return bool(asked.columns_of(path) & PLACED.keys()) and not coco.recognises(path)


def _captions(path: str, options: Options, prompt: str) -> Questions:
    """Captions, or else names of classes, as answers to one prompt."""
    from seesay.data.source import open_dataset

    dataset = open_dataset(path, **vars(options))
    classes = dataset.classes or ()

    def questions() -> Iterator[Question]:
        for i, record in enumerate(dataset):
            label = len(classes) if record.label is None else record.label
            said = record.texts or classes[label : label + 1]
            yield Question((record.image,), prompt, said, str(i), where=record.where)

    return Questions(
        dataset.name,
        questions(),
        root=dataset.root,
        findings=[found for found in dataset.findings if found.kind != "empty-caption"],
        read_cell=dataset.read_cell,
    )


def _telling(prompt: str | None) -> Callable[[asked.Columns, Sequence[str]], asked.Tell]:
    """Return what finds out, from the columns of a listing, how its rows are told."""

    def find(columns: asked.Columns, names: Sequence[str]) -> asked.Tell:
        lower = {name.lower(): name for name in names}
        placed = next((kind for kind in PLACED if kind in lower), None)
        if "prefix" in lower and columns.text == lower["prefix"]:
            return columns.told
        if placed is None:
            document = any(name in lower for name in PAGES)
            return _behind(prompt or (DOCUMENT if document else QUESTION), columns.told)
        token = prompt or PLACED[placed]
        column = lower[placed]
        if placed == "phrases":
            caption = next((lower[name] for name in CAPTIONS if name in lower), "")
            return _placed(token, caption, lambda row, *to: _phrases(row.get(column), *to))
        spelt = _objects if placed == "objects" else _lines
        return _placed(token, "", lambda row, *to: spelt(row.get(column), token, *to))

    return find


def _behind(prompt: str, told: asked.Tell) -> asked.Tell:
    """Put a prompt before each question."""

    def tell(values: Mapping[str, Any], image: Any) -> asked.Told:
        found = told(values, image)
        return found._replace(texts=tuple(prompt + text for text in found.texts))

    return tell


def _placed(prompt: str, caption: str, spelt: Spell) -> asked.Tell:
    """Tell a row by where its things are."""

    def tell(values: Mapping[str, Any], image: Any) -> asked.Told:
        told = str(values.get(caption) or "").strip() if caption else ""
        if caption and not told:
            return asked.Told((), ())
        wrong: list[str] = []
        written = spelt(values, _size(values, image), wrong)
        return asked.Told((prompt + told,), (written,), tuple(wrong))

    return tell


def _objects(given: Any, prompt: str, size: tuple[int, int], wrong: list[str]) -> str:
    """Things with a label and a box, each label once, in alphabetical order.

    The boxes of a label stand from the largest to the smallest.
    """
    boxes: dict[str, list[Numbers]] = {}
    for thing in _listed(given, "objects"):
        label, box = _text(thing.get("label", thing.get("category"))), _box(thing, size, wrong)
        if prompt == PROPOSAL:
            label = ""
        elif not label:
            wrong.append(f"{thing!r} has no label")
            continue
        if box is not None:
            boxes.setdefault(label, []).append(box)
    written = []
    for label in sorted(boxes):
        largest = sorted(boxes[label], key=lambda b: (-(b[2] - b[0]) * (b[3] - b[1]), *b))
        written.append(label + "".join(spell(box, size) for box in largest))
    return "".join(written)


def _phrases(given: Any, size: tuple[int, int], wrong: list[str]) -> str:
    """Phrases of a caption with their boxes, as listed."""
    written = []
    for phrase in _listed(given, "phrases"):
        words = _text(phrase.get("phrase", phrase.get("label")))
        several = phrase.get("boxes")
        each = [{"box": box} for box in several] if isinstance(several, list) else [phrase]
        boxes = [found for one in each if (found := _box(one, size, wrong)) is not None]
        if not words:
            wrong.append(f"{phrase!r} has no words")
        elif boxes:
            written.append(words + "".join(spell(box, size) for box in boxes))
    return "".join(written)


def _lines(given: Any, prompt: str, size: tuple[int, int], wrong: list[str]) -> str:
    """Lines of text with their four corners; or, for plain OCR, the text alone."""
    lines = _listed(given, "lines")
    texts = [_text(line.get("text", line.get("label"))) for line in lines]
    if prompt == PLAIN:
        return "\n".join(text for text in texts if text)
    written = []
    for text, line in zip(texts, lines, strict=True):
        quad = _quad(line, size, wrong)
        if not text:
            wrong.append(f"{line!r} has no text")
        elif quad is not None:
            written.append(text + spell(quad, size))
    return "".join(written)


def _listed(given: Any, name: str) -> list[Mapping[str, Any]]:
    if not isinstance(given, list) or not all(isinstance(one, Mapping) for one in given):
        raise Refused(f"{name} is no list of objects: {str(given)[:60]}")
    return given


def _text(value: Any) -> str:
    return "" if value is None else " ".join(str(value).split())


def _box(thing: Mapping[str, Any], size: tuple[int, int], wrong: list[str]) -> Numbers | None:
    """The box of a thing, left, top, right, bottom; None, and told, where it cannot be."""
    given = thing.get("box", thing.get("bbox"))
    box = _numbers(given, 4)
    if box is not None and "box" not in thing:  # as COCO has it: left, top, width, height
        box = [box[0], box[1], box[0] + box[2], box[1] + box[3]]
    if box is None:
        wrong.append(f"box {given!r} is not four numbers")
    elif not (box[0] < box[2] and box[1] < box[3]):
        wrong.append(f"box {given!r} has no area")
    elif _within(box, size, wrong):
        return box
    return None


def _quad(line: Mapping[str, Any], size: tuple[int, int], wrong: list[str]) -> Numbers | None:
    """The corners of a line of text, clockwise from the top left; those of its box without any."""
    if "quad" not in line:
        box = _box(line, size, wrong)
        return None if box is None else [box[i] for i in (0, 1, 2, 1, 2, 3, 0, 3)]
    given = line["quad"]
    pairs = isinstance(given, list) and all(isinstance(point, list) for point in given)
    quad = _numbers([value for point in given for value in point] if pairs else given, 8)
    if quad is None:
        wrong.append(f"quad {given!r} is not four points")
    return quad if quad is not None and _within(quad, size, wrong) else None


def _numbers(given: Any, count: int) -> list[float] | None:
    try:
        numbers = [float(value) for value in given]
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def _within(places: Numbers, size: tuple[int, int], wrong: list[str]) -> bool:
    sides = zip(places[::2], places[1::2], strict=True)
    inside = all(
        -GRACE <= x <= size[0] + GRACE and -GRACE <= y <= size[1] + GRACE for x, y in sides
    )
    if not inside:
        shown = ", ".join(f"{value:g}" for value in places)
        wrong.append(f"({shown}) leaves the picture of {size[0]}x{size[1]}")
    return inside


def _size(values: Mapping[str, Any], image: Any) -> tuple[int, int]:
    """Width and height of a picture: as listed, else as its file says."""
    width, height = values.get("width"), values.get("height")
    if isinstance(width, int) and isinstance(height, int) and min(width, height) > 0:
        return width, height
    try:
        if isinstance(image, Cell):
            raise InputError("give the columns width and height")
        return measure(image)
    except (InputError, OSError) as error:
        name = image.name if isinstance(image, Cell) else image
        raise Refused(f"{name}: its size is not known ({error})") from None
