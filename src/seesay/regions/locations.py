"""Places as words: `<loc_0>` to `<loc_999>`, a thousand bins over the width or the height.

Paper: arXiv 2311.06242, section 3.1, after arXiv 2109.10852 (Pix2seq).
Reference: microsoft/Florence-2-large, processing_florence2.py, BoxQuantizer and
    CoordinatesQuantizer.
Differs: no bin past the last one can be written; places stay fractions of a pixel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from math import floor, isnan

from seesay.errors import UsageError
from seesay.regions.types import Box, Point, Size

BINS = 1000
"""Bins along each side of a picture."""

DECIMALS = 4
"""Of the middle of a bin in pixels: an odd number of two-thousandths of the side."""

LOCATION = re.compile(r"<loc_([0-9]{1,3})>")
"""One location token; the group is the bin."""

NAMES = tuple(f"<loc_{bin}>" for bin in range(BINS))
"""All location tokens, by bin."""


def bin_of(value: float, size: int) -> int:
    """Return the bin, 0 to 999, of a place in pixels along a side of `size` pixels.

    Places outside the picture fall in the first or last bin.

    Raises:
        UsageError: The place is not a number, or the side is no length.
    """
    if size <= 0:
        raise UsageError(f"a picture's side is {size} pixels", "give its size as (width, height)")
    if isnan(value):
        raise UsageError("a place is not a number (nan)")
    # compared before floor, which has no answer for infinity
    scaled = value * BINS / size
    return 0 if scaled < 0 else BINS - 1 if scaled >= BINS else floor(scaled)


def place_of(bin: int, size: int) -> float:
    """Return the middle of a bin in pixels along a side of `size` pixels."""
    return (bin + 0.5) * size / BINS


def spell(places: Iterable[float], size: Size) -> str:
    """Return the tokens of x, y, x, y, ... in pixels of a picture of `size`.

    A `Box` is such a row of places: `spell(box, size)`.

    Raises:
        UsageError: As `bin_of`.
    """
    return "".join(NAMES[bin_of(value, size[i % 2])] for i, value in enumerate(places))


def spell_points(points: Iterable[Point], size: Size) -> str:
    """Return the tokens of points in pixels of a picture of `size`."""
    return spell((value for point in points for value in point), size)


def bins_in(text: str) -> list[int]:
    """Return the bins of all location tokens in a text, in order."""
    return [int(found) for found in LOCATION.findall(text)]


def box_of(bins: Sequence[int], size: Size) -> Box:
    """Return the box of four bins, in pixels of a picture of `size`."""
    x1, y1, x2, y2 = (place_of(bin, size[i % 2]) for i, bin in enumerate(bins))
    return Box(x1, y1, x2, y2)


def points_of(bins: Sequence[int], size: Size) -> tuple[Point, ...]:
    """Return the points of bins x, y, x, y, ...; an odd one at the end is left out."""
    pairs = zip(bins[0::2], bins[1::2], strict=False)
    return tuple(Point(place_of(x, size[0]), place_of(y, size[1])) for x, y in pairs)
