"""Average precision of detections, as COCO defines it.

Paper: arXiv 1405.0312 (Lin et al.), and the detection evaluation page of cocodataset.org: boxes of
one category are taken best score first; each may match one wanted box that it overlaps by at least
so much; precision, made non-increasing, is averaged over 101 recalls, ten overlaps (0.5 to 0.95)
and the categories.
Reference: cocodataset/cocoapi, PythonAPI/pycocotools/cocoeval.py ("bbox", area "all").
Differs: every picture can be counted any number of times, for confidence intervals.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from seesay.evaluate.regions.overlap import box_iou
from seesay.evaluate.text.edits import folded

if TYPE_CHECKING:
    from seesay.evaluate.binary import Bools
    from seesay.evaluate.ranking import Floats, Ints
    from seesay.regions import Region

OVERLAPS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)

MOST = 100
"""Boxes of a category that count in one picture, the best first."""


@dataclass(frozen=True)
class _Category:
    """The boxes of one category, the best score first.

    Attributes:
        wanted: int64 [N], how many each picture has.
        pictures: int64 [K], where each box was found.
        hits: bool [10, K], whether it matches at each overlap.
        ignored: bool [10, K], whether it counts neither way, as inside a crowd.
    """

    wanted: Ints
    pictures: Ints
    hits: Bools
    ignored: Bools

    def measure(self, weights: Ints) -> tuple[Floats, Floats] | None:
        """Average precision and last recall at each overlap [10]; None where nothing is wanted."""
        total = int(weights @ self.wanted)
        if not total:
            return None
        counted = weights[self.pictures]
        right = np.cumsum(counted * self.hits, 1)
        wrong = np.cumsum(counted * ~(self.hits | self.ignored), 1)
        if not len(counted):
            return np.zeros(len(OVERLAPS)), np.zeros(len(OVERLAPS))
        recall = right / total
        precision = right / np.maximum(right + wrong, 1)  # 0 where all so far is ignored
        precision = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        # how many of the 101 recalls are reached with each box: those get its precision
        reached = np.searchsorted(RECALLS, recall.ravel(), "right").reshape(recall.shape)
        gained = np.diff(reached, axis=1, prepend=0)
        return (gained * precision).sum(1) / len(RECALLS), recall[:, -1]


class Detections:
    """What was found in pictures, matched with what is there.

    Args:
        found: Of each picture; without scores, all count as sure, and the order decides.
        wanted: Of each picture. Labels are compared in lower case; what is found under a label that
            no picture has is left out, as COCO has no such category.
        crowds: Which of the wanted, by place, are crowds: many things in one box, for which boxes
            inside count neither way.

    Attributes:
        scored: Whether every box that was found has a score.
    """

    def __init__(
        self,
        found: Sequence[Sequence[Region]],
        wanted: Sequence[Sequence[Region]],
        crowds: Sequence[Collection[int]] | None = None,
    ) -> None:
        self.scored = all(region.score is not None for some in found for region in some)
        self._found, self._wanted = found, wanted
        self._crowds = crowds if crowds is not None else [()] * len(wanted)

    def statistic(self, weights: Ints) -> dict[str, float]:
        """Return map, map50, map75 and ar100, each picture counted so often [N]."""
        measured = [category.measure(weights) for category in self._categories.values()]
        known = [one for one in measured if one is not None]
        if not known:
            return {}
        precision = np.mean([one[0] for one in known], 0)
        recall = np.mean([one[1] for one in known])
        return {
            "map": float(precision.mean()),
            "map50": float(precision[0]),
            "map75": float(precision[5]),
            "ar100": float(recall),
        }

    def by_label(self) -> list[tuple[str, int, float, float]]:
        """Return each label, how many boxes are wanted, its average precision and that at 0.5."""
        rows = []
        for label, category in self._categories.items():
            measured = category.measure(np.ones(len(self._wanted), np.int64))
            if measured is not None:
                several, half = float(measured[0].mean()), float(measured[0][0])
                rows.append((label, int(category.wanted.sum()), several, half))
        return rows

    @cached_property
    def _categories(self) -> dict[str, _Category]:
        places: dict[str, dict[int, list[int]]] = {}
        for picture, there in enumerate(self._wanted):
            for place, region in enumerate(there):
                placed = places.setdefault(folded(region.label), {})
                placed.setdefault(picture, []).append(place)
        found: dict[str, dict[int, list[Region]]] = {label: {} for label in sorted(places)}
        for picture, some in enumerate(self._found):
            for region in some:
                if (label := folded(region.label)) in found:
                    found[label].setdefault(picture, []).append(region)
        return {label: self._category(places[label], found[label]) for label in found}

    def _category(self, places: dict[int, list[int]], found: dict[int, list[Region]]) -> _Category:
        """Match the boxes of one label, which stand at these places of each picture."""
        wanted = np.zeros(len(self._wanted), np.int64)
        crowds = {
            picture: np.array([place in self._crowds[picture] for place in some], bool)
            for picture, some in places.items()
        }
        for picture, crowd in crowds.items():
            wanted[picture] = (~crowd).sum()
        pictures, scores = [], []
        hits, ignored = [], []
        for picture, some in sorted(found.items()):
            best = sorted(some, key=lambda region: -_score(region))[:MOST]
            there = [self._wanted[picture][place] for place in places.get(picture, ())]
            hit, ignore = _matched(best, there, crowds.get(picture, np.zeros(0, bool)))
            pictures += [picture] * len(best)
            scores += [_score(region) for region in best]
            hits.append(hit)
            ignored.append(ignore)
        order = np.argsort(-np.array(scores), kind="stable")
        none = np.zeros((len(OVERLAPS), 0), bool)
        return _Category(
            wanted,
            np.array(pictures, np.int64)[order],
            np.concatenate([none, *hits], 1)[:, order],
            np.concatenate([none, *ignored], 1)[:, order],
        )


def _matched(
    found: Sequence[Region], wanted: Sequence[Region], crowd: Bools
) -> tuple[Bools, Bools]:
    """Which boxes match at each overlap, and which match a crowd only; both bool [10, K]."""
    hits = np.zeros((len(OVERLAPS), len(found)), bool)
    ignored = np.zeros_like(hits)
    if not wanted:
        return hits, ignored
    overlap = box_iou([region.box for region in found], [region.box for region in wanted], crowd)
    free = np.repeat(~crowd[None], len(OVERLAPS), 0)
    levels = np.arange(len(OVERLAPS))
    for column, row in enumerate(overlap):
        enough = row >= OVERLAPS[:, None]
        # of those that overlap equally the last, as in the reference
        near = np.where(free & enough, row, -1)[:, ::-1]
        place = len(row) - 1 - near.argmax(1)
        hit = near.max(1) >= 0
        free[levels[hit], place[hit]] = False
        hits[:, column] = hit
        ignored[:, column] = ~hit & enough[:, crowd].any(1)
    return hits, ignored


def _score(region: Region) -> float:
    return 1.0 if region.score is None else region.score
