"""Polygons to masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seesay.regions.types import Point, Size

Masks = np.ndarray[Any, np.dtype[np.bool_]]


def rasterise(things: Sequence[Sequence[Sequence[Point]]], size: Size) -> Masks:
    """Return masks [N, h, w] of N things, each the union of its outlines.

    A pixel is in when its middle is: when a ray from it to the left crosses the outline an odd
    number of times.

    Args:
        things: The outlines of each, in pixels of a picture of `size`.
        size: Width and height.
    """
    width, height = size
    masks: Masks = np.zeros((len(things), height, width), bool)
    for mask, outlines in zip(masks, things, strict=True):
        for outline in outlines:
            _fill(mask, np.array(outline, float))
    return masks


def _fill(mask: Masks, outline: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    """Add the inside of an outline [n, 2] to a mask [h, w]."""
    height, width = mask.shape
    ends = outline[:, 1].min(), outline[:, 1].max()
    first, last = np.ceil(np.clip(ends, 0, height) - 0.5).astype(int)
    # an odd number of edges cross the row between the middle of this pixel and the one before it
    turns: Masks = np.zeros((last - first, width + 1), bool)
    for (x1, y1), (x2, y2) in zip(outline, np.roll(outline, -1, 0), strict=True):
        # the rows whose middle the edge crosses; an end belongs to one of its two edges
        top, bottom = np.ceil(np.clip(sorted((y1, y2)), 0, height) - 0.5).astype(int)
        if bottom > top:
            middles = np.arange(top, bottom) + 0.5
            x = x1 + (middles - y1) / (y2 - y1) * (x2 - x1)
            column = np.ceil(np.clip(x, 0, width) - 0.5).astype(int)
            turns[np.arange(top, bottom) - first, column] ^= True
    mask[first:last] |= np.logical_xor.accumulate(turns, axis=1)[:, :width]
