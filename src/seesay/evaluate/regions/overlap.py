"""How much boxes and quads overlap: intersection over union."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from seesay.regions import Box

if TYPE_CHECKING:
    from seesay.evaluate.binary import Bools
    from seesay.evaluate.ranking import Floats
    from seesay.regions import Point, Region


def box_iou(
    boxes: Sequence[Sequence[float]],
    others: Sequence[Sequence[float]],
    crowds: Bools | None = None,
) -> Floats:
    """Return the intersection over union of boxes x1, y1, x2, y2 with others, [N, M].

    Args:
        boxes: N of them.
        others: M of them.
        crowds: bool [M]: those of the others that stand for many things in one box; the union is
            then the first box alone.
    """
    a, b = _array(boxes)[:, None], _array(others)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = sides.clip(0).prod(-1)
    area, other = ((box[..., 2:] - box[..., :2]).clip(0).prod(-1) for box in (a, b))
    union = area + other - shared
    if crowds is not None:
        union = np.where(crowds[None], area, union)
    iou: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou


def touching(some: Sequence[Region], others: Sequence[Region]) -> list[tuple[int, int]]:
    """Return which regions may overlap with which of the others: by the rectangles around them."""
    a, b = (_array([_extent(region) for region in regions]) for regions in (some, others))
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    first, second = np.nonzero((sides > 0).all(-1))
    return list(zip(first.tolist(), second.tolist(), strict=True))


def _extent(region: Region) -> Box:
    """The rectangle around box and quad, which need not be of each other."""
    return Box.around([*region.box.corners, *(region.quad or ())])


def outline_iou(one: Region, other: Region) -> float:
    """Return the intersection over union of two regions: of their quads where both have one."""
    if one.quad is None or other.quad is None:
        return float(box_iou([one.box], [other.box])[0, 0])
    first, second = _wound(one.quad), _wound(other.quad)
    shared = abs(_area(_clipped(first, second)))
    union = abs(_area(first)) + abs(_area(second)) - shared
    return shared / union if union > 0 else 0.0


def _array(boxes: Sequence[Sequence[float]]) -> Floats:
    return np.asarray(boxes, np.float64).reshape(-1, 4)


def _area(points: Sequence[tuple[float, float]]) -> float:
    """The area inside a polygon; negative where it runs the other way round."""
    following = [*points[1:], *points[:1]]
    return sum(x * v - u * y for (x, y), (u, v) in zip(points, following, strict=True)) / 2


def _wound(quad: Sequence[Point]) -> list[tuple[float, float]]:
    """The corners, in the order in which areas are positive."""
    points = [(float(x), float(y)) for x, y in quad]
    return points if _area(points) >= 0 else points[::-1]


def _clipped(
    points: list[tuple[float, float]], window: list[tuple[float, float]]
) -> list[tuple[float, float]]:
    """The part of a polygon inside a convex window.

    Paper: Sutherland and Hodgman, "Reentrant polygon clipping", CACM 17 (1974).
    """
    for (x, y), (u, v) in zip(window, [*window[1:], *window[:1]], strict=True):
        # how far inside the side from (x, y) to (u, v) each corner lies, in areas
        depth = [(u - x) * (q - y) - (v - y) * (p - x) for p, q in points]
        kept: list[tuple[float, float]] = []
        for i, (p, q) in enumerate(points):
            (last_p, last_q), last = points[i - 1], depth[i - 1]
            if (depth[i] >= 0) != (last >= 0):
                part = last / (last - depth[i])
                kept.append((last_p + part * (p - last_p), last_q + part * (q - last_q)))
            if depth[i] >= 0:
                kept.append((p, q))
        points = kept
    return points
