"""Points, boxes, regions, and all regions of one picture. Units are pixels of the upright original.

x grows to the right and y downwards, from the outer corner of the first pixel: a picture of width
w spans 0 to w.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from seesay.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from seesay.types import Picture

Quad = tuple["Point", "Point", "Point", "Point"]
"""Four corners, as OCR gives them for a line of text: from the top left one, clockwise."""

Size = tuple[int, int]
"""Width and height in pixels of the upright original."""


class Point(NamedTuple):
    """A place in a picture, in pixels."""

    x: float
    y: float


class Box(NamedTuple):
    """An upright rectangle, in pixels: its left, top, right and bottom edges.

    Nothing orders the edges: a model may write a box whose left is right of its right, and it is
    kept so. `ordered` puts that straight.
    """

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def width(self) -> float:
        """From the left to the right edge; below 0 where they are exchanged."""
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        """From the top to the bottom edge; below 0 where they are exchanged."""
        return self.y2 - self.y1

    @property
    def ordered(self) -> Box:
        """The same box with x1 <= x2 and y1 <= y2."""
        x1, x2 = sorted((self.x1, self.x2))
        y1, y2 = sorted((self.y1, self.y2))
        return Box(x1, y1, x2, y2)

    @property
    def corners(self) -> Quad:
        """Its corners from the top left one, clockwise."""
        x1, y1, x2, y2 = self
        return Point(x1, y1), Point(x2, y1), Point(x2, y2), Point(x1, y2)

    @classmethod
    def around(cls, points: Iterable[Point]) -> Box:
        """Return the smallest box that holds all points; there must be one."""
        xs, ys = zip(*points, strict=True)
        return cls(min(xs), min(ys), max(xs), max(ys))


@dataclass(frozen=True)
class Region:
    """One thing, phrase or line of text, and where it is.

    Attributes:
        label: What it is; for OCR what it says; empty for a proposal.
        score: How sure the model is, 0 to 1: the geometric mean of the probabilities of its
            location tokens. None where nothing tells.
        box: The upright box; of a quad or polygon the smallest one around it, which is filled in.
        quad: Four corners of a line of text, from the top left one, clockwise; None for others.
        polygon: The outline of a segmented part, without a point twice at the end; None for others.
        instance: The number of the thing that this is a part of. Polygons with the same number are
            parts of one thing. None: a thing by itself.
    """

    label: str = ""
    score: float | None = None
    box: Box = None  # type: ignore[assignment]  # filled in below, so that nobody asks for None
    quad: Quad | None = None
    polygon: tuple[Point, ...] | None = None
    instance: int | None = None

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        if self.quad is not None:
            put("quad", _points(self.quad, "quad", 4, 4))
        if self.polygon is not None:
            put("polygon", _points(self.polygon, "polygon", 1, None))
        outline = self.quad or self.polygon
        if self.box is None:
            if outline is None:
                raise UsageError("a region is nowhere", "give its box, quad or polygon")
            put("box", Box.around(outline))
        elif len(self.box) != 4 or not all(isfinite(value) for value in self.box):
            raise UsageError(f"box={tuple(self.box)} is not four finite numbers x1 y1 x2 y2")
        else:
            put("box", Box(*(float(value) for value in self.box)))

    @property
    def outline(self) -> tuple[Point, ...]:
        """The polygon, else the quad, else the corners of the box."""
        return self.polygon or self.quad or self.box.corners


@dataclass(frozen=True)
class Regions:
    """What a model says about one picture, and where.

    Attributes:
        text: What it says, without locations: the labels, or a sentence.
        regions: What it points at, in the order in which it does.
        size: Width and height of the upright original in pixels.
        truncated: Whether the text stopped before it ended, so that the last may be missing.
        raw: What the model wrote, location tokens included.
    """

    text: str
    regions: list[Region]
    size: Size
    truncated: bool = False
    raw: str = field(default="", repr=False)

    def show(self) -> str:
        """Return labels and boxes on one line, for people; the text where there are no boxes."""
        shown = []
        for region in self.regions:
            place = ",".join(f"{value:.0f}" for value in region.box)
            sure = "" if region.score is None else f" {region.score:.2f}"
            label = " ".join(region.label.split())  # a line that was read may have breaks
            shown.append(f"{label} [{place}]{sure}".strip())
        return " | ".join(shown) or self.text

    def things(self) -> list[list[Region]]:
        """Return the regions of each thing: the parts of a segmented one together."""
        found: dict[object, list[Region]] = {}
        for place, region in enumerate(self.regions):
            alone = region.polygon is None or region.instance is None
            found.setdefault(("", place) if alone else region.instance, []).append(region)
        return list(found.values())

    def masks(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return masks [N, h, w], one for each of `things()`: its polygons, quad or box, filled."""
        from seesay.regions.masks import rasterise

        return rasterise([[part.outline for part in parts] for parts in self.things()], self.size)

    def to_coco(self, name: str = "") -> dict[str, Any]:
        """Return a COCO document: `images`, `annotations` with scores, `categories`.

        Args:
            name: The file name of the picture.
        """
        from seesay.regions.export import coco

        return coco([self], [name])

    def to_label_studio(self, url: str = "") -> dict[str, Any]:
        """Return a task of Label Studio with the regions as predictions, in percent.

        Args:
            url: Where Label Studio finds the picture.
        """
        from seesay.regions.export import label_studio

        return label_studio([self], [url])[0]

    def to_supervision(self) -> Any:
        """Return `supervision.Detections`, one row for each of `things()`.

        Raises:
            MissingExtra: supervision is not installed.
        """
        from seesay.regions.export import detections

        return detections(self)

    def draw(self, image: Image.Image | Picture) -> Image.Image:
        """Return the picture with boxes, quads, polygons and labels drawn over it.

        Args:
            image: The picture. EXIF orientation is applied to PIL's; one that is larger or smaller
                than `size` is drawn on in its own size.
        """
        from seesay.regions.draw import draw

        return draw(self, image)


def extent(parts: Sequence[Region]) -> Box:
    """Return the box of a thing: that of its only part, or the one around all its parts."""
    if len(parts) == 1:
        return parts[0].box
    return Box.around(corner for part in parts for corner in part.box.corners)


def _points(values: Sequence[Any], name: str, least: int, most: int | None) -> tuple[Point, ...]:
    """The pairs as points, checked."""
    points = tuple(values)
    if len(points) < least or (most is not None and len(points) > most):
        wanted = f"{most} points" if least == most else f"{least} points or more"
        raise UsageError(f"{name} has {len(points)} points and not {wanted}")
    for point in points:
        if len(point) != 2 or not all(isfinite(value) for value in point):
            raise UsageError(f"a point of {name} is {tuple(point)} and not two finite numbers x y")
    return tuple(Point(float(x), float(y)) for x, y in points)
