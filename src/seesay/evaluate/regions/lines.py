"""Lines of text that were read where they stand: found, and read rightly.

Paper: Karatzas et al., "ICDAR 2015 competition on robust reading", tasks 4.1 (localisation) and
4.4 (end to end): a line is found when its outline overlaps the right one by half, one to one; end
to end its text must be right as well, case aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from seesay.evaluate.regions.grounding import ENOUGH
from seesay.evaluate.regions.overlap import outline_iou, touching
from seesay.evaluate.text.edits import folded

if TYPE_CHECKING:
    from seesay.regions import Region


class Lines(NamedTuple):
    """Counts of one page, or of a corpus.

    Attributes:
        matched: Pairs of a found and a wanted line in one place.
        read: Such pairs with the same text.
        found: Lines that were found.
        wanted: Lines that are there.
    """

    matched: int
    read: int
    found: int
    wanted: int


def lines(found: Sequence[Region], wanted: Sequence[Region]) -> Lines:
    """Match the lines of one page with those that are there."""
    # a page has hundreds of lines, each of which touches a few
    overlaps = [(outline_iou(found[i], wanted[j]), i, j) for i, j in touching(found, wanted)]
    near = sorted((pair for pair in overlaps if pair[0] >= ENOUGH), reverse=True)
    alike = [(iou, i, j) for iou, i, j in near if folded(found[i].label) == folded(wanted[j].label)]
    return Lines(_paired(near), _paired(alike), len(found), len(wanted))


def f1(matched: float, found: float, wanted: float) -> float:
    """Return the harmonic mean of precision and recall; 1 where nothing is there nor found."""
    return 2 * matched / (found + wanted) if found + wanted else 1.0


def _paired(pairs: Sequence[tuple[float, int, int]]) -> int:
    """How many pairs there are, the nearest first, with each line in one of them."""
    used: set[tuple[bool, int]] = set()
    count = 0
    for _, i, j in pairs:
        if (False, i) not in used and (True, j) not in used:
            used |= {(False, i), (True, j)}
            count += 1
    return count
