"""Large pictures in parts: each seen as large as the model can, what was found put together.

Neighbours overlap, so that what one cuts another has whole. A thing found twice is kept once; a
line of text that runs from tile to tile is joined where its halves read the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from math import ceil, inf
from typing import TYPE_CHECKING, Any, NamedTuple

from seesay.errors import InputError, UsageError
from seesay.regions import Box, Point, Region
from seesay.regions.locations import DECIMALS

if TYPE_CHECKING:
    from seesay.tasks.finding import Found
    from seesay.types import ImageInput, Picture

Place = tuple[int, int, int, int]
"""Left, top, right and bottom of a tile in pixels of the whole picture."""

OVERLAP = 0.2
"""What part of a tile its neighbour has too."""
MOST = 8
"""The most rows, and the most columns."""
SAME = 0.5
"""From which part of their union two boxes are of one thing."""
INSIDE = 0.7
"""From which part of itself a piece of a thing lies in the whole of it."""
THINGS = 10_000
"""More than a tile can have things of several parts."""
SEAM = 3
"""How many letters the halves of a line must share to be joined there."""
ALIKE = 2.5
"""How many letters apart spaces of two halves may be that are taken for one."""


TILES = {"help": "Look at the picture in so many rows and columns of parts, as 3x2."}
"""Metadata of the field of a request that may be served tile by tile."""


class Grid(NamedTuple):
    """How many tiles a picture is cut into."""

    rows: int
    columns: int


def as_grid(tiles: Any) -> Grid | None:
    """Return a pair of rows and columns as such; None stays None.

    Raises:
        UsageError: They are no two numbers from 1 to 8.
    """
    if tiles is None:
        return None
    try:
        grid = Grid(*tiles)
    except TypeError:
        grid = Grid(0, 0)
    if not all(isinstance(count, int) and 1 <= count <= MOST for count in grid):
        given = tuple(tiles) if isinstance(tiles, Grid) else tiles
        raise UsageError(f"tiles={given!r} is not (rows, columns), 1 to {MOST} of each")
    return grid


def cut(size: tuple[int, int], grid: Grid) -> list[Place]:
    """Return the tiles of a picture, row by row."""
    across, down = _spans(size[0], grid.columns), _spans(size[1], grid.rows)
    return [(x1, y1, x2, y2) for y1, y2 in down for x1, x2 in across]


def _spans(length: int, count: int) -> list[tuple[int, int]]:
    """Equal parts of a length, each sharing `OVERLAP` of itself with the next."""
    part = length / (count - (count - 1) * OVERLAP)
    starts = [i * part * (1 - OVERLAP) for i in range(count)]
    firsts = [min(length - 1, int(start)) for start in starts]
    return [(first, min(length, first + ceil(part))) for first in firsts]


def parts(picture: Picture, grid: Grid) -> list[tuple[Place, ImageInput]]:
    """Return the tiles of a picture, each with its place."""
    found: list[tuple[Place, ImageInput]] = []
    for place in cut(picture.size, grid):
        image = picture.image.crop(place)
        image.info = {}  # the picture is upright already, whatever its EXIF data say
        found.append((place, image))
    return found


def piecewise(
    request: Any, look: Callable[[list[Any]], Iterator[Found | InputError]]
) -> Found | InputError:
    """Serve a request tile by tile, and put together what was found.

    Of things the whole picture is looked at as well, since a tile may hold none of them whole.
    Lines of text are read in the tiles alone: in the whole their letters are too small.

    Args:
        request: One with `tiles`.
        look: Serves requests without them.
    """
    from seesay.processing.image import open_picture

    try:
        picture = open_picture(request.image)
    except InputError as error:
        return error
    reads = getattr(request, "regions", False)
    whole = (0, 0, *picture.size)
    grid = Grid(*request.tiles)
    views = parts(picture, grid)
    if not reads:
        views = [(whole, request.image), *(view for view in views if view[0] != whole)]
    requests = [dataclasses.replace(request, image=image, tiles=None) for _, image in views]
    answers: list[Found] = []
    for answer in look(requests):
        if isinstance(answer, InputError):
            return answer
        answers.append(answer)
    seen = []
    for number, ((place, _), answer) in enumerate(zip(views, answers, strict=True)):
        moved = [_moved(region, place, number) for region in answer.regions]
        seen += [_Sighting(one, frozenset({number}), _borders(one, place, whole)) for one in moved]
    if any(one.region.quad is not None for one in seen):
        in_tiles = [one for one in seen if reads or one.views != {0}]
        kept = _lines(in_tiles, grid)
        text = "\n".join(region.label for region in kept)
    elif seen:
        kept = _things(seen)
        text = ", ".join(dict.fromkeys(region.label for region in kept if region.label))
    else:
        kept, said = [], answers if reads else answers[1:] or answers
        text = "\n".join(answer.text for answer in said if answer.text)
    return dataclasses.replace(
        answers[0],
        text=text,
        regions=kept,
        size=picture.size,
        truncated=any(answer.truncated for answer in answers),
        finished=all(answer.finished for answer in answers),
        raw="\n".join(answer.raw for answer in answers),
        score=round(sum(answer.score for answer in answers) / len(answers), 6),
        image=request.image,
    )


def best_answer(
    request: Any, look: Callable[[list[Any]], Iterator[Any]], sure: Callable[[Any], float]
) -> Any:
    """Ask the whole picture and each tile; return the surest answer, or the error of the picture.

    Args:
        request: One with `tiles`.
        look: Serves requests without them.
        sure: How sure an answer is.
    """
    from seesay.processing.image import open_picture

    try:
        picture = open_picture(request.image)
    except InputError as error:
        return error
    images = [request.image, *(image for _, image in parts(picture, Grid(*request.tiles)))]
    found = list(look([dataclasses.replace(request, image=i, tiles=None) for i in images]))
    bad = [one for one in found if isinstance(one, InputError)]
    return bad[0] if bad else max(found, key=sure)


@dataclass(frozen=True)
class _Sighting:
    """A region in pixels of the whole picture, from which views, and which of its edges are cut."""

    region: Region
    views: frozenset[int]
    cut: tuple[bool, bool, bool, bool]


def _moved(region: Region, place: Place, view: int) -> Region:
    """A region of a tile as one of the picture; numbers of things are of one tile alone."""

    def move(points: Any) -> Any:
        return None if points is None else tuple(map(shifted, points))

    def shifted(point: tuple[float, float]) -> Point:
        # a sum has digits that neither place has
        return Point(*(round(a + b, DECIMALS) for a, b in zip(point, place[:2], strict=True)))

    x1, y1, x2, y2 = region.box.ordered
    return dataclasses.replace(
        region,
        box=Box(*shifted((x1, y1)), *shifted((x2, y2))),
        quad=move(region.quad),
        polygon=move(region.polygon),
        instance=None if region.instance is None else view * THINGS + region.instance,
    )


def _borders(region: Region, place: Place, whole: Place) -> tuple[bool, bool, bool, bool]:
    """Which edges of a region lie on an edge of its tile that is none of the picture.

    Of a line a letter that the edge cuts may not have been read, so it may end before it.
    """
    near = 0.02 if region.quad is None else 0.05
    near *= max(place[2] - place[0], place[3] - place[1])
    left, top, right, bottom = (
        edge != outer and abs(value - edge) <= near
        for value, edge, outer in zip(region.box, place, whole, strict=True)
    )
    return left, top, right, bottom


def _shared(a: Box, b: Box) -> tuple[float, float]:
    """What two boxes share: as part of their union, and of the smaller one."""
    width = min(a.x2, b.x2) - max(a.x1, b.x1)
    height = min(a.y2, b.y2) - max(a.y1, b.y1)
    if width <= 0 or height <= 0:
        return 0.0, 0.0
    both, areas = width * height, (a.width * a.height, b.width * b.height)
    return both / (sum(areas) - both), both / min(areas)


def _things(seen: Sequence[_Sighting]) -> list[Region]:
    """Things, each once: those that no tile cut come before those that one did, then the surest."""
    kept: list[_Sighting] = []
    for one in sorted(seen, key=lambda one: (any(one.cut), -(one.region.score or 0.0))):
        if not any(_same_thing(one, other) for other in kept):
            kept.append(one)
    order = {id(one): i for i, one in enumerate(seen)}
    return [one.region for one in sorted(kept, key=lambda one: order[id(one)])]


def _same_thing(one: _Sighting, other: _Sighting) -> bool:
    if one.views & other.views or one.region.label.lower() != other.region.label.lower():
        return False
    union, inside = _shared(one.region.box, other.region.box)
    return union >= SAME or (any(one.cut) and inside >= INSIDE)


def _lines(seen: Sequence[_Sighting], grid: Grid) -> list[Region]:
    """Lines of text, each once and whole, in the order in which they are read."""
    kept: list[_Sighting] = []
    for one in seen:
        place = len(kept)
        while match := next(((o, j) for o in kept if (j := _joined(o, one))), None):
            other, one = match
            place = min(place, kept.index(other))
            kept.remove(other)
        kept.insert(place, one)
    regions = [one.region for one in kept]
    # below each other, tiles are in reading order as they are
    return regions if grid.columns == 1 else in_rows(regions)


def _joined(a: _Sighting, b: _Sighting) -> _Sighting | None:
    """One line of two that tiles saw of it, or None where they are two lines."""
    if a.views & b.views:
        return None
    first, second = a.region.box, b.region.box
    if _shared(first, second)[1] >= INSIDE:
        best = min(a, b, key=lambda one: (sum(one.cut), -len(one.region.label)))
        return dataclasses.replace(best, views=a.views | b.views)
    overlap = min(first.y2, second.y2) - max(first.y1, second.y1)
    if overlap < SAME * min(first.height, second.height):
        return None
    left, right = (a, b) if first.x1 <= second.x1 else (b, a)
    both = left.region.box.x2 - right.region.box.x1
    if not (left.cut[2] and right.cut[0]) or both <= 0:
        return None
    letters = len(left.region.label) * both / left.region.box.width
    text = stitched(left.region.label, right.region.label, ceil(letters) + 2)
    text = text or halved(left.region, right.region)
    begins, ends = (one.region.quad or one.region.box.corners for one in (left, right))
    quad = (begins[0], ends[1], ends[2], begins[3])
    scores = [one.region.score for one in (left, right) if one.region.score is not None]
    region = Region(label=text, score=min(scores, default=None), quad=quad)
    edges = (left.cut[0], left.cut[1], right.cut[2], left.cut[3])
    return _Sighting(region, a.views | b.views, edges)


def stitched(left: str, right: str, most: int | None = None) -> str | None:
    """Join two halves of a line at the longest run of letters near the seam that both have.

    Args:
        left: The one half.
        right: The other.
        most: How many letters at the seam may be in both.

    Returns:
        The line; None where they share too little.
    """
    most = max(len(left), len(right)) if most is None else most
    start = max(0, len(left) - most)
    match = SequenceMatcher(None, left[start:], right[:most], False).find_longest_match()
    if match.size < SEAM:
        return None
    return left[: start + match.a] + right[match.b :]


def halved(left: Region, right: Region) -> str:
    """Join two halves of a line that read differently: letters at the edge of a tile are cut.

    They are joined where a space of one is near a space or the end of the other, and what stands
    beyond it is left out; else in the middle of what both saw. Letters count as equally wide.
    """
    if not (left.label and right.label and left.box.width and right.box.width):
        return left.label or right.label
    wide = left.box.width / len(left.label)
    seam = (right.box.x1, left.box.x2)

    def place(half: Region, index: int) -> float:
        return half.box.x1 + index * half.box.width / len(half.label)

    def spaces(half: Region) -> list[tuple[float, int]]:
        found = [(place(half, i), i) for i, letter in enumerate(half.label) if letter == " "]
        return [(x, i) for x, i in found if seam[0] - wide <= x <= seam[1] + wide]

    ends, starts = spaces(left), spaces(right)
    ways = [(abs(x - y), i, j) for x, i in ends for y, j in starts]
    # an end may be that of a word that the edge cut, so it must be nearer
    ways += [(abs(x - seam[0]) + wide, i, 0) for x, i in ends]
    ways += [(abs(seam[1] - y) + wide, len(left.label), j) for y, j in starts]
    off, i, j = min(ways, default=(inf, 0, 0))
    if off <= ALIKE * wide:
        return f"{left.label[:i].rstrip()} {right.label[j:].lstrip()}"
    middle = sum(seam) / 2
    first, second = (
        round((middle - half.box.x1) / half.box.width * len(half.label)) for half in (left, right)
    )
    return left.label[:first] + right.label[max(0, second) :]


def in_rows(regions: Sequence[Region]) -> list[Region]:
    """Return lines of text from top to bottom, those side by side from left to right."""
    rows: list[list[Region]] = []
    for region in sorted(regions, key=lambda region: region.box.y1 + region.box.y2):
        last = rows[-1][0].box if rows else None
        middle = (region.box.y1 + region.box.y2) / 2
        if last is not None and last.y1 <= middle <= last.y2:
            rows[-1].append(region)
        else:
            rows.append([region])
    return [region for row in rows for region in sorted(row, key=lambda region: region.box.x1)]
