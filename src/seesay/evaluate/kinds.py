"""What is measured of each kind of prompt: answers, captions, boxes, phrases, masks, text, lines.

A prompt begins with the token of its task, such as `<OD>`; one without a token, or with one that
is not in `BY_TOKEN`, is a question.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from seesay.evaluate.regions.detection import Detections
from seesay.evaluate.regions.grounding import grounded
from seesay.evaluate.regions.lines import lines
from seesay.evaluate.regions.masks import mask_overlap
from seesay.evaluate.text.cider import cider_d
from seesay.evaluate.text.edits import (
    anls,
    character_errors,
    document_accuracy,
    word_errors,
    words_in_common,
)
from seesay.evaluate.text.tokens import tokens

if TYPE_CHECKING:
    from seesay.evaluate.ranking import Ints
    from seesay.regions import Regions

_TOKEN = re.compile(r"\s*(<[A-Za-z][A-Za-z0-9_]*>)")


@dataclass(frozen=True)
class Row:
    """What a model said to one prompt, and what is right.

    Attributes:
        found: What it said, and where.
        wanted: What is right, and where.
        texts: All that would be right to say; at least one.
        crowds: Which of the wanted regions are crowds: see `Detections`.
    """

    found: Regions
    wanted: Regions
    texts: Sequence[str]
    crowds: frozenset[int] = frozenset()


class Scored(Protocol):
    """The figures of some rows."""

    def statistic(self, weights: Ints) -> dict[str, float]:
        """Return the figures, each row counted so often [N]."""
        ...


class Ratios:
    """Figures that are one sum over the rows by another.

    Args:
        columns: What is added up above and below the line, by figure; float64 [N] each.
    """

    def __init__(self, columns: Mapping[str, tuple[Iterable[float], Iterable[float]]]) -> None:
        self.columns = {
            name: (np.array(list(above), float), np.array(list(below), float))
            for name, (above, below) in columns.items()
        }

    def statistic(self, weights: Ints) -> dict[str, float]:
        """Return the figures, each row counted so often [N]; none where nothing is below."""
        return {
            name: float(weights @ above / (weights @ below))
            for name, (above, below) in self.columns.items()
            if weights @ below
        }


@dataclass(frozen=True)
class Kind:
    """Prompts that are measured alike.

    Attributes:
        name: What is measured of them.
        figure: The figure that says the most.
        score: Measures rows.
        each: How good each row is, for people to look at the worst and the best.
        errors: Whether the figure counts what is wrong, so that less is better.
    """

    name: str
    figure: str
    score: Callable[[Sequence[Row]], Scored]
    each: Callable[[Row], float]
    errors: bool = False


def _means(figures: Mapping[str, Iterable[float]], count: int) -> Ratios:
    return Ratios({name: (values, [1.0] * count) for name, values in figures.items()})


def _anls(row: Row) -> float:
    return anls(row.found.text, row.texts)


def _answers(rows: Sequence[Row]) -> Scored:
    accuracy = [document_accuracy(row.found.text, row.texts) for row in rows]
    return _means({"anls": map(_anls, rows), "accuracy": accuracy}, len(rows))


def _captions(rows: Sequence[Row]) -> Scored:
    references = [[tokens(text) for text in row.texts] for row in rows]
    scores = cider_d([tokens(row.found.text) for row in rows], references)
    return _means({"cider_d": scores.tolist()}, len(rows))


def _caption(row: Row) -> float:
    """How much of the words is shared: CIDEr-D means nothing for one caption alone."""
    shared, said, wanted = words_in_common(row.found.text, row.texts[0])
    return 2 * shared / (said + wanted) if said + wanted else 1.0


def _boxes(rows: Sequence[Row]) -> Scored:
    found, wanted = [row.found.regions for row in rows], [row.wanted.regions for row in rows]
    return Detections(found, wanted, [row.crowds for row in rows])


def _phrases(rows: Sequence[Row]) -> Scored:
    counts = [grounded(row.found.regions, row.wanted.regions) for row in rows]
    right, phrases = (c.right for c in counts), (c.phrases for c in counts)
    return Ratios({"grounding_accuracy": (right, phrases)})


def _phrase(row: Row) -> float:
    right, phrases = grounded(row.found.regions, row.wanted.regions)
    return right / phrases if phrases else 1.0


def _masks(rows: Sequence[Row]) -> Scored:
    overlaps = [mask_overlap(row.found, row.wanted) for row in rows]
    shared, either = (o.shared for o in overlaps), (o.either for o in overlaps)
    means = ((o.iou for o in overlaps), [1.0] * len(rows))
    return Ratios({"mask_iou": means, "cumulative_mask_iou": (shared, either)})


def _reading(rows: Sequence[Row]) -> Scored:
    pairs = [(row.found.text, _nearest(row)) for row in rows]
    letters, words = [character_errors(*p) for p in pairs], [word_errors(*p) for p in pairs]
    common = [words_in_common(*p) for p in pairs]
    return Ratios(
        {
            "cer": ((c.edits for c in letters), (c.length for c in letters)),
            "wer": ((c.edits for c in words), (c.length for c in words)),
            "word_f1": ((2 * c[0] for c in common), (c[1] + c[2] for c in common)),
        }
    )


def _read(row: Row) -> float:
    edits, length = character_errors(row.found.text, _nearest(row))
    return 1 - min(1.0, edits / max(1, length))


def _nearest(row: Row) -> str:
    """The right text of which the least is wrong; the first of equals."""
    if len(row.texts) == 1:
        return row.texts[0]

    def wrong(text: str) -> float:
        edits, length = character_errors(row.found.text, text)
        return edits / max(1, length)

    return min(row.texts, key=wrong)


def _lines(rows: Sequence[Row]) -> Scored:
    counts = [lines(row.found.regions, row.wanted.regions) for row in rows]
    either = [c.found + c.wanted for c in counts]
    return Ratios(
        {
            "f1": ((2 * c.read for c in counts), either),
            "place_f1": ((2 * c.matched for c in counts), either),
        }
    )


def _line(row: Row) -> float:
    """How many regions are in place under the right label, one to one."""
    counts = lines(row.found.regions, row.wanted.regions)
    either = counts.found + counts.wanted
    return 2 * counts.read / either if either else 1.0


ANSWERS = Kind("answers", "anls", _answers, _anls)
CAPTIONS = Kind("captions", "cider_d", _captions, _caption)
BOXES = Kind("boxes", "map", _boxes, _line)
PHRASES = Kind("phrases", "grounding_accuracy", _phrases, _phrase)
MASKS = Kind("masks", "mask_iou", _masks, lambda row: mask_overlap(row.found, row.wanted).iou)
READING = Kind("reading", "cer", _reading, _read, errors=True)
LINES = Kind("lines", "f1", _lines, _line)

KINDS = (ANSWERS, CAPTIONS, BOXES, PHRASES, MASKS, READING, LINES)

BY_TOKEN = {
    "<CAPTION>": CAPTIONS,
    "<DETAILED_CAPTION>": CAPTIONS,
    "<MORE_DETAILED_CAPTION>": CAPTIONS,
    "<REGION_TO_DESCRIPTION>": CAPTIONS,
    "<OD>": BOXES,
    "<DENSE_REGION_CAPTION>": BOXES,
    "<REGION_PROPOSAL>": BOXES,
    "<OPEN_VOCABULARY_DETECTION>": BOXES,
    "<CAPTION_TO_PHRASE_GROUNDING>": PHRASES,
    "<REFERRING_EXPRESSION_SEGMENTATION>": MASKS,
    "<REGION_TO_SEGMENTATION>": MASKS,
    "<OCR>": READING,
    "<REGION_TO_OCR>": READING,
    "<OCR_WITH_REGION>": LINES,
}


def token_of(prompt: str) -> str:
    """Return the task token that a prompt begins with, or an empty string."""
    found = _TOKEN.match(prompt)
    return found[1] if found else ""


def kind_of(prompt: str) -> Kind:
    """Return what is measured of a prompt."""
    return BY_TOKEN.get(token_of(prompt), ANSWERS)
