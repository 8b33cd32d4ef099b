"""Drawings of things without a ground, by six vendors, and their outlines."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from seesay.recipes.made.vocabulary import Split

FOLDER = Path(__file__).parent / "cutouts"
CELL, COLUMNS = 96, 6
CONCEPTS = tuple(
    concept.strip()
    for concept in """cat, cow, duck, elephant, fish, horse, owl, penguin, pig, tiger, turtle,
    butterfly, red apple, carrot, lemon, strawberry, hamburger, pineapple, mushroom, watermelon,
    fox, bus, helicopter, rocket, taxi, house, umbrella, sunflower, cactus, balloon, key,
    bell, crown, drum, snowman, soccer ball""".replace("\n", " ").split(",")
)
"""What is in scenes, by CLDR's names."""

VENDORS: dict[str, Split] = {
    "noto": "train",
    "noto-v1": "train",
    "fluent": "train",
    "solid": "train",
    "emojione": "validation",
    "twemoji": "test",
}
"""A vendor's drawings are in one split, as in `examples/drawings`."""

_SOLID = 96
"""Pixels with more alpha than this are part of the thing, of 255."""
_TOLERANCE = 2.0
"""Pixels of a cell by which an outline may leave the edge: few corners make short texts."""


@dataclass(frozen=True)
class Cutout:
    """One drawing.

    Attributes:
        name: What it is called, in the singular.
        plural: Of several.
        vendor: Who drew it.
        cell: Where it lies on the vendor's sheet.
    """

    name: str
    plural: str
    vendor: str
    cell: int

    @property
    def art(self) -> Image.Image:
        """The drawing, RGBA, without empty margins."""
        return _art(self.vendor, self.cell)

    @property
    def outline(self) -> tuple[tuple[float, float], ...]:
        """Corners of a polygon around most of what is drawn, clockwise, as shares of the sides."""
        return _outline(self.vendor, self.cell)


@cache
def cutouts(split: Split) -> tuple[Cutout, ...]:
    """Return all drawings of the split's vendors."""
    with open(FOLDER / "cutouts.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return tuple(
        Cutout(row["name"], row["plural"], row["vendor"], int(row["cell"]))
        for row in rows
        if VENDORS[row["vendor"]] == split
    )


@cache
def _sheet(vendor: str) -> Image.Image:
    with Image.open(FOLDER / f"{vendor}.webp") as sheet:
        return sheet.convert("RGBA")


@cache
def _art(vendor: str, cell: int) -> Image.Image:
    left, top = cell % COLUMNS * CELL, cell // COLUMNS * CELL
    art = _sheet(vendor).crop((left, top, left + CELL, top + CELL))
    # what is nearly clear is nothing that anybody sees, and would widen the box
    return art.crop(art.getchannel("A").point(lambda alpha: 255 * (alpha > _SOLID)).getbbox())


@cache
def _outline(vendor: str, cell: int) -> tuple[tuple[float, float], ...]:
    solid = np.asarray(_art(vendor, cell).getchannel("A")) > _SOLID
    height, width = solid.shape
    corners = simplified(border(solid), _TOLERANCE)
    return tuple((x / width, y / height) for x, y in corners)


def border(solid: np.ndarray) -> list[tuple[int, int]]:
    """Walk around the largest connected part of a mask, clockwise, over the corners of its pixels.

    Parts are connected over sides. Holes stay inside.
    """
    rows, columns = solid.shape
    left = solid.copy()
    longest: list[tuple[int, int]] = []
    for start_y, start_x in zip(*np.nonzero(solid), strict=True):
        first = left[start_y, start_x] and (start_y == 0 or not solid[start_y - 1, start_x])
        if not first:
            continue
        path = _walk(solid, int(start_x), int(start_y))
        for x, y in path:  # no second walk around the same part
            left[min(y, rows - 1), min(x, columns - 1)] = False
        if _area(path) > _area(longest):
            longest = path
    return longest


_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Right, down, left, up: each is a turn to the right of the one before."""


def _walk(solid: np.ndarray, x: int, y: int) -> list[tuple[int, int]]:
    """Follow an edge from the top left corner of a pixel, with the part at the right hand."""
    rows, columns = solid.shape

    def inside(column: int, row: int) -> bool:
        return 0 <= row < rows and 0 <= column < columns and bool(solid[row, column])

    path, heading = [(x, y)], 0
    while True:
        x, y = x + _STEPS[heading][0], y + _STEPS[heading][1]
        if (x, y) == path[0]:
            return path
        path.append((x, y))
        # the pixels ahead, at the right and at the left hand, seen from this corner
        right = {0: (x, y), 1: (x - 1, y), 2: (x - 1, y - 1), 3: (x, y - 1)}[heading]
        ahead_left = {0: (x, y - 1), 1: (x, y), 2: (x - 1, y), 3: (x - 1, y - 1)}[heading]
        if not inside(*right):
            heading = (heading + 1) % 4
        elif inside(*ahead_left):
            heading = (heading + 3) % 4


def _area(path: list[tuple[int, int]]) -> float:
    """Twice the area of a polygon."""
    turned = [*path[1:], *path[:1]]
    return abs(sum(x * v - u * y for (x, y), (u, v) in zip(path, turned, strict=True)))


def simplified(path: list[tuple[int, int]], tolerance: float) -> list[tuple[int, int]]:
    """Leave corners away as long as the outline moves by no more than `tolerance` pixels."""
    points = np.array(path, dtype=np.float64)
    far = int(((points - points[0]) ** 2).sum(1).argmax())
    kept = {0, far}
    spans = [(0, far), (far, len(path))]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        a, b = points[first], points[last % len(path)]
        along = b - a
        length = max(float(np.hypot(*along)), 1e-9)
        between = points[first + 1 : last] - a
        away = np.abs(along[0] * between[:, 1] - along[1] * between[:, 0]) / length
        if away.max() > tolerance:
            middle = first + 1 + int(away.argmax())
            kept.add(middle)
            spans += [(first, middle), (middle, last)]
    return [path[i] for i in sorted(kept)]
