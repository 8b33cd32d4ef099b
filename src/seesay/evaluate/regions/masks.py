"""How much the masks of segmented things overlap.

Paper: arXiv 1608.00272 (Yu et al., RefCOCO) for the task; arXiv 2112.02244 (LAVT), section 4, for
the two figures: the mean of the pictures' overlaps, and the overlap of all their pixels together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from seesay.regions import Regions


class Overlap(NamedTuple):
    """Pixels that two masks share, and that either has; sums of both are a corpus."""

    shared: int
    either: int

    @property
    def iou(self) -> float:
        """Intersection over union; 1 where both masks are empty."""
        return self.shared / self.either if self.either else 1.0


def mask_overlap(found: Regions, wanted: Regions) -> Overlap:
    """Compare what all regions cover of a picture with what they should cover."""
    if not found.regions or not wanted.regions:
        alone = sum(int(one.masks().any(0).sum()) for one in (found, wanted) if one.regions)
        return Overlap(0, alone)
    mine, right = found.masks().any(0), wanted.masks().any(0)
    return Overlap(int((mine & right).sum()), int((mine | right).sum()))
