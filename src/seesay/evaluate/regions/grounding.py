"""Grounding: how many phrases are found where they are meant.

Paper: arXiv 1608.00272 (Yu et al., RefCOCO): an expression is found when the one box that is given
overlaps the right one by half; arXiv 1505.04870 (Flickr30k Entities): recall at 1, where a phrase
of several boxes is found with any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from seesay.evaluate.regions.overlap import box_iou
from seesay.evaluate.text.edits import folded

if TYPE_CHECKING:
    from seesay.regions import Box, Region

ENOUGH = 0.5
"""Intersection over union from which a box is right."""


class Grounded(NamedTuple):
    """How many phrases were found; sums of both are a corpus."""

    right: int
    phrases: int


def grounded(found: Sequence[Region], wanted: Sequence[Region]) -> Grounded:
    """Count the phrases of one caption whose first box is right.

    Of the boxes given for a phrase the one with the best score counts, or the first where they have
    none. Phrases are compared in lower case. Where the whole caption is one phrase, every box is
    taken for it.

    Args:
        found: The model's regions, labelled with phrases.
        wanted: Every region that is right, labelled with its phrase.
    """
    phrases: dict[str, list[Box]] = {}
    for region in wanted:
        phrases.setdefault(folded(region.label), []).append(region.box)
    right = 0
    for phrase, boxes in phrases.items():
        given = [one for one in found if len(phrases) == 1 or folded(one.label) == phrase]
        if given:
            best = max(given, key=lambda one: one.score or 0.0)  # the first of equals
            right += bool(box_iou([best.box], boxes).max() >= ENOUGH)
    return Grounded(right, len(phrases))
