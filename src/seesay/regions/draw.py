"""Regions drawn over the picture: outlines, translucent fillings, labels that can be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont, ImageOps

from seesay.errors import UsageError
from seesay.regions.font import label_font
from seesay.regions.types import Region, Regions, extent

if TYPE_CHECKING:
    from seesay.types import Picture

PALETTE = (
    (255, 59, 48),
    (0, 122, 255),
    (52, 199, 89),
    (255, 204, 0),
    (175, 82, 222),
    (255, 128, 0),
    (0, 199, 190),
    (255, 45, 146),
    (162, 132, 94),
    (88, 86, 214),
    (174, 213, 42),
    (90, 200, 250),
)
"""Colours of labels in the order in which they appear: strong ones, and neighbours far apart."""

SMALLEST = 480
"""Longer side of a drawing in pixels, at least: on less no label can be read."""

MANY = 30
"""From so many things on letters are smaller."""

Rectangle = tuple[int, int, int, int]


def draw(result: Regions, image: Image.Image | Picture) -> Image.Image:
    """Return the picture with the regions drawn over it, RGB.

    Things with the same label have the same colour. A label stands where it hides the least: inside
    the picture, and on no other label where there is room. Small pictures are enlarged to
    `SMALLEST`; others keep their size, which need not be that of the result.

    Raises:
        UsageError: `image` is no picture of PIL's or seesay's.
    """
    canvas = _canvas(image)
    scale = (canvas.width / result.size[0], canvas.height / result.size[1])
    across = sqrt(canvas.width * canvas.height)  # of a panorama less than its width
    things = result.things()
    line = max(2, round(across / 350))
    size = max(12, round(across / (40 if len(things) < MANY else 56)))
    # letters about as high as the lines of text that were read
    lines = sorted(p[0].box.ordered.height * scale[1] for p in things if p[0].quad is not None)
    size = max(10, min(size, round(lines[len(lines) // 2] * 0.75))) if lines else size
    colours: dict[object, tuple[int, int, int]] = {}
    tags: list[Tag] = []
    over = Image.new("RGBA", canvas.size)
    pen = ImageDraw.Draw(over)
    edges = []
    for number, parts in enumerate(things):
        key = parts[0].label or number
        colour = colours.setdefault(key, PALETTE[len(colours) % len(PALETTE)])
        for part in parts:
            corners = [(x * scale[0], y * scale[1]) for x, y in part.outline]
            edges.append((corners, colour))
            if part.polygon is not None and len(corners) > 2:
                pen.polygon(corners, fill=(*colour, 96))
            elif part.quad is not None:
                pen.polygon(corners, fill=(*colour, 40))
        box = extent(parts).ordered
        places = (box.x1 * scale[0], box.y1 * scale[1], box.x2 * scale[0], box.y2 * scale[1])
        tag = Tag(*_text(parts[0]), colour, _rectangle(places))
        tags += [tag] if tag.label or tag.score else []
    for width, dark in ((line + 2, True), (line, False)):  # a rim shows on pictures of that colour
        for corners, colour in edges:
            pen.line(
                [*corners, *corners[:2]],
                fill=(0, 0, 0, 150) if dark else (*colour, 255),
                width=width,
                joint="curve",
            )
    canvas = Image.alpha_composite(canvas.convert("RGBA"), over).convert("RGB")
    _label(canvas, tags, size, line)
    return canvas


def _canvas(image: Image.Image | Picture) -> Image.Image:
    """The upright picture, enlarged where it is small."""
    upright = getattr(image, "image", image)
    if not isinstance(upright, Image.Image):
        raise UsageError(
            f"a {type(image).__name__} is no picture", "give what PIL.Image.open gives"
        )
    if upright is image:
        upright = ImageOps.exif_transpose(upright)
    upright = upright.convert("RGB")
    longest = max(upright.size)
    if longest >= SMALLEST:
        return upright
    width, height = (max(1, round(side * SMALLEST / longest)) for side in upright.size)
    return upright.resize((width, height), Image.Resampling.BICUBIC)


def _text(region: Region) -> tuple[str, str]:
    """What the tag of a region says, on one line: its label, and its score."""
    label = " ".join("".join(c if c.isprintable() else " " for c in region.label).split())
    return label, "" if region.score is None else f"{region.score:.2f}"


def _rectangle(values: Sequence[float]) -> Rectangle:
    x1, y1, x2, y2 = (round(value) for value in values)
    return x1, y1, x2, y2


@dataclass(frozen=True)
class Tag:
    """What is written about a thing, in its colour, next to its box."""

    label: str
    score: str
    colour: tuple[int, int, int]
    box: Rectangle


def arrange(
    tags: Sequence[Tag], size: tuple[int, int], font: ImageFont.FreeTypeFont, line: int
) -> list[tuple[str, Rectangle]]:
    """Return the text of each tag, cut to fit, and where it stands in a picture of this size."""
    pad = _padding(font)
    height = round(font.size) + 2 * pad
    # a tag may hide a part of a large thing, but better not a whole small one
    small = [tag.box for tag in tags if _area(tag.box) < size[0] * size[1] / 16]
    placed: list[tuple[str, Rectangle]] = []
    for tag in tags:
        room = min(max(size[0] // 2, tag.box[2] - tag.box[0]), size[0]) - 2 * pad
        room -= round(font.getlength(" " + tag.score))
        text = f"{shortened(tag.label, font, room)} {tag.score}".strip()
        width = round(font.getlength(text)) + 2 * pad

        def hidden(spot: Rectangle) -> int:
            """How many pixels that matter it hides; those of tags matter most."""
            of_tags = sum(_shared(spot, other) for _, other in placed)
            return 4 * of_tags + sum(_shared(spot, other) for other in small)

        spots = [_kept(spot, size) for spot in _spots(tag.box, width, height, line)]
        free = next((spot for spot in spots if not hidden(spot)), None)
        placed.append((text, free or min(spots, key=hidden)))
    return placed


def _label(canvas: Image.Image, tags: Sequence[Tag], size: int, line: int) -> None:
    """Write the tags next to their boxes."""
    pen = ImageDraw.Draw(canvas)
    font = label_font(size)
    for tag, (text, place) in zip(tags, arrange(tags, canvas.size, font, line), strict=True):
        x1, y1, x2, y2 = place
        pen.rectangle((x1, y1, x2 - 1, y2 - 1), fill=tag.colour)
        red, green, blue = tag.colour
        light = 0.299 * red + 0.587 * green + 0.114 * blue > 140
        ink = (0, 0, 0) if light else (255, 255, 255)
        pen.text((x1 + _padding(font), (y1 + y2) / 2), text, fill=ink, font=font, anchor="lm")


def _padding(font: ImageFont.FreeTypeFont) -> int:
    return max(2, round(font.size) // 5)


def _spots(box: Rectangle, width: int, height: int, line: int) -> list[Rectangle]:
    """Where a tag may stand: above its box, below it, inside, beside it; the best first."""
    x1, y1, x2, y2 = box
    half = line // 2
    left, right = x1 - half, x2 + half - width
    above, below = y1 - half - height, y2 + half
    corners = [
        *((x, y) for y in (above, below) for x in (left, right)),
        *((x, y) for y in (y1 + half, y2 - half - height) for x in (x1 + half, x2 - half - width)),
        *((x, y) for x in (x2 + half, x1 - half - width) for y in (y1 - half, y2 + half - height)),
        *((left, above - step * height) for step in (1, 2)),
        *((left, below + step * height) for step in (1, 2)),
    ]
    return [(x, y, x + width, y + height) for x, y in corners]


def _kept(spot: Rectangle, size: tuple[int, int]) -> Rectangle:
    """The rectangle pushed into the picture."""
    x1, y1, x2, y2 = spot
    right = max(0, min(x1, size[0] - (x2 - x1)))
    down = max(0, min(y1, size[1] - (y2 - y1)))
    return right, down, right + x2 - x1, down + y2 - y1


def _area(box: Rectangle) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _shared(a: Rectangle, b: Rectangle) -> int:
    """How many pixels two rectangles share."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0, width) * max(0, height)


def shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Return the text, its end replaced by dots where it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    fits, tried = 0, len(text)
    while fits < tried:  # the longest beginning that fits, by halving
        middle = (fits + tried + 1) // 2
        if font.getlength(text[:middle] + "...") <= width:
            fits = middle
        else:
            tried = middle - 1
    return text[:fits].rstrip() + "..."
