"""What the model writes to labels and places, and back: `parse` and `spell`.

Paper: arXiv 2311.06242, section 3.1.
Reference: microsoft/Florence-2-large, processing_florence2.py, Florence2PostProcesser.
Differs: labels keep every letter, not only those of ASCII, and any line breaks; phrases that the
    reference hides (pronouns, "the image" and the like) are kept; places are fractions of a pixel;
    the region that an answer about a region repeats is taken out of its text; boxes and polygons
    may stand side by side; a box before which there is no label is kept, a polygon of fewer than
    three points is not. No text makes the parser raise.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, isnan
from typing import Literal

from seesay.errors import UsageError
from seesay.regions.locations import BINS, box_of, points_of, spell_points
from seesay.regions.locations import spell as spell_places
from seesay.regions.types import Region, Regions, Size, extent

Grammar = Literal["text", "boxes", "outlines", "proposals", "quads", "polygons", "answer"]

GRAMMARS: dict[str, Grammar] = {
    "<OD>": "boxes",
    "<DENSE_REGION_CAPTION>": "boxes",
    "<CAPTION_TO_PHRASE_GROUNDING>": "boxes",
    "<OPEN_VOCABULARY_DETECTION>": "outlines",
    "<REGION_PROPOSAL>": "proposals",
    "<OCR_WITH_REGION>": "quads",
    "<REFERRING_EXPRESSION_SEGMENTATION>": "polygons",
    "<REGION_TO_SEGMENTATION>": "polygons",
    "<REGION_TO_CATEGORY>": "answer",
    "<REGION_TO_DESCRIPTION>": "answer",
    "<REGION_TO_OCR>": "answer",
}
"""How the answers of a task are written; those of every other task, known or not, are text alone.

    boxes      label, then a box of four places or several of them
    outlines   label, then boxes, or polygons between <poly> and </poly>
    proposals  boxes without a label
    quads      what a line of text says, then eight places
    polygons   pairs of places, <sep> between the parts of one thing, <poly> around each of several
    answer     a text, and the region it is about
"""

_COUNTS = {"quads": 8, "polygons": 0}
"""How many places make a region where they are not in a `<poly>`; 4 elsewhere, 0 for any."""

_TOKENS = re.compile(
    r"<loc_(?P<bin>[0-9]+)>"
    r"|(?P<mark><sep>|</?poly>)"
    # the ends of texts, and what else the vocabulary has that brackets answers and says nothing
    r"|</?s>|<pad>|</?(?:od|ocr|cap|ncap|dcap|grounding|ground|obj|seg|region_cap"
    r"|region_to_desciption|proposal|box|bbox)>"
)
_ENDS = re.compile(r"</?s>|<pad>")

LogProbs = Sequence[tuple[str, float]]
"""What each token wrote and its log-probability; together the pieces are the text."""


def grammar_of(task: str) -> Grammar:
    """Return how the answers to a raw prompt, which begins with a task token, are written."""
    found = re.match(r"\s*(<[^<>]*>)", task)
    return GRAMMARS.get(found[1], "text") if found else "text"


@dataclass
class _Run:
    """Places that follow each other, in parts, with the text before them.

    Attributes:
        label: The text, or that of the run before where there is none in between.
        bracketed: Whether they stand after a `<poly>`.
        parts: Bin and offset in the text of each place.
        closed: Whether something came after it.
    """

    label: str
    bracketed: bool
    parts: list[list[tuple[int, int]]] = field(default_factory=lambda: [[]])
    closed: bool = False


def parse(task: str, text: str, size: Size, logprobs: LogProbs | None = None) -> Regions:
    """Return what a text that the model wrote says, and where.

    The result says `truncated` where the text stops inside a region. That a text was cut elsewhere
    only those know who wrote it.

    Args:
        task: The task token, or the raw prompt that begins with it.
        text: What was written, location tokens included; any string can be read.
        size: Width and height of the upright original in pixels.
        logprobs: Tokens of the text with their log-probabilities; scores of regions are the
            geometric means of the probabilities of their places.

    Raises:
        UsageError: The size is none, or the pieces of `logprobs` are not those of the text.
    """
    if len(size) != 2 or min(size) < 1:
        raise UsageError(f"size={tuple(size)} is no size of a picture", "give (width, height)")
    grammar = grammar_of(task)
    if grammar == "text":
        return Regions(_ENDS.sub("", text).strip(), [], size, False, text)
    runs, said, tail = _scan(text)
    if grammar in ("proposals", "answer"):
        for run in runs:
            run.label = "" if grammar == "proposals" else " ".join(said)
    sure = _Sure(text, logprobs) if logprobs is not None else None
    regions = []
    number = 0
    for run in runs:
        if run.bracketed or grammar == "polygons":
            found = _polygons(run, number, size, sure)
            number += bool(found)
        else:
            found = _fixed(run, _COUNTS.get(grammar, 4), size, sure)
        regions += found
    # text after the last place is a label whose place is missing, unless it is part of an answer
    cut = bool(tail) and bool(runs) and grammar != "answer"
    if runs and not runs[-1].closed:
        last = runs[-1]
        count = 0 if last.bracketed else _COUNTS.get(grammar, 4)
        left = len(last.parts[-1])
        open_polygon = last.bracketed or left % 2 or left < 6
        cut = cut or bool(left % count if count else open_polygon)
    between = {"quads": "\n", "answer": " "}.get(grammar, ", ")
    return Regions(between.join(said), regions, size, cut, text)


def _scan(text: str) -> tuple[list[_Run], list[str], str]:
    """Return the runs of places, all texts between them, and the one after the last."""
    runs: list[_Run] = []
    said: list[str] = []
    words = ""  # text since the last place
    run: _Run | None = None

    def begin(bracketed: bool) -> _Run:
        nonlocal words
        label, words = words.strip(), ""
        if label:
            said.append(label)
        runs.append(_Run(label or (runs[-1].label if runs else ""), bracketed))
        return runs[-1]

    def end() -> None:
        nonlocal run
        if run is not None:
            run.closed, run = True, None

    place = 0
    for token in [*_TOKENS.finditer(text), None]:
        between = text[place : token.start() if token else len(text)]
        place = token.end() if token else len(text)
        if between.strip():
            end()
        words += between
        if token is None or token.lastgroup is None:
            continue
        if token["bin"]:
            run = run or begin(bracketed=False)
            digits = token["bin"].lstrip("0")[:4]  # four are past the last bin already
            run.parts[-1].append((min(int(digits or 0), BINS - 1), token.start()))
        elif token["mark"] == "<sep>":
            if run is not None:
                run.parts.append([])
        else:
            end()
            if token["mark"] == "<poly>":
                run = begin(bracketed=True)
    tail = words.strip()
    return runs, [*said, tail] if tail else said, tail


class _Sure:
    """The log-probabilities of a text by place."""

    def __init__(self, text: str, logprobs: LogProbs) -> None:
        written = "".join(piece for piece, _ in logprobs)
        if not written.startswith(text):
            raise UsageError(
                f"the pieces of logprobs make {written[:60]!r}, and the text is {text[:60]!r}",
                "give one piece and log-probability for each token of the text",
            )
        self.values = [value for _, value in logprobs]
        self.starts = []
        start = 0
        for piece, _ in logprobs:
            self.starts.append(start)
            start += len(piece)

    def score(self, offsets: Sequence[int]) -> float | None:
        """The geometric mean of the probabilities of the tokens that begin or lie there."""
        found = [self.values[bisect_right(self.starts, offset) - 1] for offset in offsets]
        mean = sum(found) / len(found)
        return None if isnan(mean) else min(1.0, exp(min(mean, 0.0)))


def _fixed(run: _Run, count: int, size: Size, sure: _Sure | None) -> list[Region]:
    """The boxes or quads of a run: so many places each, what is left over dropped."""
    found = []
    for part in run.parts:
        for first in range(0, len(part) - count + 1, count):
            bins = [bin for bin, _ in part[first : first + count]]
            score = sure.score([at for _, at in part[first : first + count]]) if sure else None
            if count == 4:
                found.append(Region(run.label, score, box_of(bins, size)))
            else:
                a, b, c, d = points_of(bins, size)
                found.append(Region(run.label, score, quad=(a, b, c, d)))
    return found


def _polygons(run: _Run, number: int, size: Size, sure: _Sure | None) -> list[Region]:
    """The parts of one thing, which have one score."""
    parts = [part[: len(part) // 2 * 2] for part in run.parts if len(part) >= 6]
    if not parts:
        return []
    score = sure.score([at for part in parts for _, at in part]) if sure else None
    outlines = [points_of([bin for bin, _ in part], size) for part in parts]
    return [Region(run.label, score, polygon=outline, instance=number) for outline in outlines]


def spell(task: str, regions: Sequence[Region], size: Size) -> str:
    """Return the text that `parse` reads these regions from, as training and prompts want it.

    Places come back as the middles of their bins. Tasks of boxes take the box of any region, a quad
    is taken from the box where there is none, and so is a polygon.

    Args:
        task: The task token, or a raw prompt that begins with it.
        regions: What to write, in this order; regions with the same label that follow each other
            share it.
        size: Width and height of the picture in pixels.

    Raises:
        UsageError: The task is answered with text alone, a label is missing, or has tokens that
            would be read as something else.
    """
    grammar = grammar_of(task)
    if grammar == "text":
        raise UsageError(f"{task!r} is answered with text alone", "write the text as it is")
    labels = {_label(region, grammar, task) for region in regions}
    if grammar == "answer" and len(labels) > 1:
        raise UsageError(f"{task!r} has one answer, and there are {sorted(labels)[:3]}")
    things = Regions("", list(regions), size).things()
    bare = grammar == "polygons" and len(things) == 1
    written, before = "", ""
    for parts in things:
        region = parts[0]
        label = _label(region, grammar, task)
        if not label and before:
            raise UsageError(
                f"a region without a label follows {before!r}, whose it would become",
                "give a label to all regions or to none",
            )
        # eight places are one line of text, whatever the line before says
        written += label if label != before or grammar == "quads" else ""
        before = label
        if grammar == "polygons" or (grammar == "outlines" and region.polygon is not None):
            outline = "<sep>".join(spell_points(part.outline, size) for part in parts)
            written += outline if bare else f"<poly>{outline}</poly>"
        elif grammar == "quads":
            written += spell_points(region.quad or region.box.corners, size)
        else:
            written += spell_places(extent(parts), size)
    return written


def _label(region: Region, grammar: Grammar, task: str) -> str:
    """The label as it can be written and read."""
    label = "" if grammar == "proposals" else region.label.strip()
    if found := _TOKENS.search(label):
        raise UsageError(f"the label {label!r} contains {found[0]}, which has a meaning of its own")
    if not label and grammar in ("boxes", "outlines", "quads"):
        raise UsageError(f"a region of {task!r} has no label", "say what is there")
    return label
