"""Relevance drawn over pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from seesay.regions.font import label_font

if TYPE_CHECKING:
    from seesay.processing.image import ImageSpec
    from seesay.types import Picture

Grid = Sequence[Sequence[float]]
Box = tuple[float, float, float, float]

LARGEST = 2048
"""Longer side of a drawing in pixels, at most."""
TILE = 384
"""Longer side of a picture on a sheet."""
LABEL = 20
"""Height of the line below a picture on a sheet."""


def overlay(picture: Picture, grid: Grid, box: Box, longest: int | None = None) -> Image.Image:
    """Return the picture with the map over it: red where it is relevant, dark where unseen.

    Args:
        picture: What is drawn over.
        grid: Rows of relevance, 0..1.
        box: The part of the upright picture that the grid covers.
        longest: Longer side of the drawing in pixels; None for that of the picture, or `LARGEST`
            if that is less.
    """
    width, height = picture.size
    scale = (longest or min(LARGEST, max(width, height))) / max(width, height)
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    under = np.asarray(picture.image.resize((width, height))).astype(np.float32)
    heat = np.zeros((height, width), np.float32)
    x0, y0 = (int(v * scale) for v in box[:2])
    x1, y1 = max(x0 + 1, round(box[2] * scale)), max(y0 + 1, round(box[3] * scale))
    cells = Image.fromarray(np.asarray(grid, np.float32))
    resized = np.asarray(cells.resize((x1 - x0, y1 - y0), Image.Resampling.BICUBIC)).clip(0, 1)
    heat[y0:y1, x0:x1] = resized[: height - y0, : width - x0]
    seen = np.full((height, width, 1), 0.35, np.float32)
    seen[y0:y1, x0:x1] = 1.0
    # blue - green - yellow - red, the colours people expect of a heat map
    colour = np.stack([_ramp(heat, 0.75), _ramp(heat, 0.5), _ramp(heat, 0.25)], -1) * 255
    mixed = under * (1 - 0.55 * heat[..., None]) + colour * 0.55 * heat[..., None]
    return Image.fromarray((mixed * seen).round().clip(0, 255).astype(np.uint8))


def sheet(picture: Picture, maps: Sequence[tuple[str, Grid]], box: Box) -> Image.Image:
    """Return drawings of several maps side by side, each with a word below it."""
    tiles = [(label, overlay(picture, grid, box, TILE)) for label, grid in maps]
    width, height = tiles[0][1].size
    columns = min(len(tiles), max(1, math.ceil(math.sqrt(len(tiles) * height / width))))
    rows = math.ceil(len(tiles) / columns)
    made = Image.new("RGB", (columns * width, rows * (height + LABEL)), "white")
    draw = ImageDraw.Draw(made)
    font = label_font(LABEL - 7)
    for i, (label, tile) in enumerate(tiles):
        x, y = i % columns * width, i // columns * (height + LABEL)
        made.paste(tile, (x, y))
        draw.text((x + 4, y + height + 2), label, fill="black", font=font)
    return made


def seen_box(size: tuple[int, int], spec: ImageSpec) -> Box:
    """The part of a picture of this size (width, height) that becomes pixels: x0 y0 x1 y1."""
    width, height = size
    if spec.resize == "squash":
        return (0.0, 0.0, float(width), float(height))
    scale = min(width, height) / (spec.shortest_edge or min(spec.size))
    w, h = min(spec.size[1] * scale, width), min(spec.size[0] * scale, height)
    return ((width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2)


def _ramp(heat: Any, centre: float) -> Any:
    """A triangular colour channel around `centre`."""
    return (1.5 - abs(4 * (heat - centre))).clip(0, 1)
