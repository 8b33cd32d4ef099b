"""A sheet that text is set on: what was written where is known to the pixel.

A sheet is laid out upright; `Sheet.finish` turns it, blurs it, and gives it paper, ink and noise,
and moves every box along.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from seesay.recipes.made.glyphs import Type

Quad = tuple[tuple[float, float], ...]
"""Four corners in pixels, clockwise from the text's top left."""

_SPACE = 0.9
"""Gaps up to this share of the letters' height do not part what stands in one row."""


class Overflow(Exception):
    """A text does not fit where a layout wants it; the page is laid out anew with other texts."""


class Character(NamedTuple):
    """One visible letter and the upright box of its ink."""

    char: str
    x1: float
    y1: float
    x2: float
    y2: float


class Word(NamedTuple):
    """Letters without a space between them; `line` is the number of the line it stands on."""

    text: str
    quad: Quad
    line: int


class Line(NamedTuple):
    """A run of words that one would read without a jump; `row` counts rows of the page."""

    text: str
    quad: Quad
    row: int


class Box(NamedTuple):
    """An upright rectangle, before the sheet is turned."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass
class _Run:
    text: str
    letters: list[tuple[str, Box]]
    words: list[tuple[str, Box]]
    box: Box


@dataclass(frozen=True)
class Written:
    """What stands on a finished sheet."""

    image: Image.Image
    lines: list[Line]
    words: list[Word]
    characters: list[Character]


@dataclass
class Sheet:
    """An upright sheet of `size` x `size` pixels, still without colours."""

    size: int
    runs: list[_Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ink = np.zeros((self.size, self.size), np.uint8)
        self.accent: NDArray[np.uint8] | None = None

    def put(
        self,
        text: str,
        x: float,
        baseline: float,
        face: Type,
        *,
        align: str = "left",
        width: float | None = None,
        accent: bool = False,
        carved: bool = False,
        spacing: float = 0.0,
    ) -> Box:
        """Set a text on a line and return the box of its ink.

        Args:
            text: Words with single spaces between them.
            x: Where it begins, ends ("right") or has its middle ("centre"), in pixels.
            baseline: Where it stands, in pixels.
            face: The font.
            align: "left", "right" or "centre".
            width: What it may take at most.
            accent: In the second colour.
            carved: Left white in what is already dark there.
            spacing: Added between letters.

        Raises:
            Overflow: It would be wider than `width` or leave the sheet.
        """
        wide = face.width(text, spacing)
        if width is not None and wide > width:
            raise Overflow(text)
        pen = x - (wide if align == "right" else wide / 2 if align == "centre" else 0)
        base = round(baseline)
        plane = self._plane(accent)
        letters: list[tuple[str, Box]] = []
        words: list[tuple[str, Box]] = []
        begun = 0
        for letter in text + " ":
            if letter == " " and len(letters) > begun:
                word = letters[begun:]
                words.append(("".join(char for char, _ in word), union([b for _, b in word])))
                begun = len(letters)
            glyph = face.glyph(letter)
            if glyph.ink is not None:
                left, top = round(pen) + glyph.left, base + glyph.top
                height, across = glyph.ink.shape
                if min(left, top) < 1 or max(left + across, top + height) >= self.size:
                    raise Overflow(text)
                there = plane[top : top + height, left : left + across]
                if carved:
                    np.minimum(there, 255 - glyph.ink, out=there)
                else:
                    np.maximum(there, glyph.ink, out=there)
                letters.append((letter, Box(left, top, left + across, top + height)))
            pen += glyph.advance + spacing
        box = union([b for _, b in words])
        self.runs.append(_Run(text, letters, words, box))
        return box

    def fill(self, box: Box, strength: int = 255, *, accent: bool = False) -> None:
        """Darken a rectangle: a rule, a band, a field."""
        x1, y1, x2, y2 = (max(0, round(v)) for v in box)
        there = self._plane(accent)[y1:y2, x1:x2]
        np.maximum(there, np.uint8(strength), out=there)

    def frame(self, box: Box, strength: int = 200, *, accent: bool = False) -> None:
        """Draw the outline of a rectangle."""
        x1, y1, x2, y2 = box
        for side in ((x1, y1, x2, y1 + 1), (x1, y2 - 1, x2, y2), (x1, y1, x1 + 1, y2)):
            self.fill(Box(*side), strength, accent=accent)
        self.fill(Box(x2 - 1, y1, x2, y2), strength, accent=accent)

    def _plane(self, accent: bool) -> NDArray[np.uint8]:
        if not accent:
            return self.ink
        if self.accent is None:
            self.accent = np.zeros_like(self.ink)
        return self.accent

    def finish(self, draw: random.Random, level: int) -> Written:
        """Move, turn, colour and disturb the sheet, and say what stands where."""
        if draw.random() < 0.6:
            self._lower(draw.random())
        forward = _turn(draw, self.size, self.runs, level)
        planes = [Image.fromarray(p) for p in (self.ink, self.accent) if p is not None]
        if forward is not None:
            planes = [_turned(plane, forward) for plane in planes]
        image = _printed(draw, planes)
        return self._written(image, forward or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))

    def _lower(self, share: float) -> None:
        """Move everything down by a share of the free space below."""
        planes = [plane for plane in (self.ink, self.accent) if plane is not None]
        drawn = [Image.fromarray(plane).getbbox() for plane in planes]
        down = int((self.size - 2 - max(box[3] for box in drawn if box)) * share)
        if down <= 0:
            return
        self.ink = np.roll(self.ink, down, axis=0)
        if self.accent is not None:
            self.accent = np.roll(self.accent, down, axis=0)

        def lowered(box: Box) -> Box:
            return Box(box.x1, box.y1 + down, box.x2, box.y2 + down)

        for run in self.runs:
            run.letters = [(char, lowered(box)) for char, box in run.letters]
            run.words = [(word, lowered(box)) for word, box in run.words]
            run.box = lowered(run.box)

    def _written(self, image: Image.Image, forward: tuple[float, ...]) -> Written:
        runs = _in_reading_order(self.runs)
        a, b, c, d, e, f = forward

        def quad(box: Box) -> Quad:
            x1, y1, x2, y2 = box
            corners = ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
            return tuple((a * x + b * y + c, d * x + e * y + f) for x, y in corners)

        lines = [Line(run.text, quad(run.box), row) for run, row in runs]
        words = [Word(t, quad(b), i) for i, (run, _) in enumerate(runs) for t, b in run.words]
        boxes = np.array([box for run, _ in runs for _, box in run.letters], dtype=np.float64)
        if forward != (1.0, 0.0, 0.0, 0.0, 1.0, 0.0):
            xs = np.stack([a * boxes[:, i] + b * boxes[:, j] + c for i in (0, 2) for j in (1, 3)])
            ys = np.stack([d * boxes[:, i] + e * boxes[:, j] + f for i in (0, 2) for j in (1, 3)])
            boxes = np.stack([xs.min(0), ys.min(0), xs.max(0), ys.max(0)], 1)
        letters = [char for run, _ in runs for char, _ in run.letters]
        characters = [
            Character(char, *box) for char, box in zip(letters, boxes.tolist(), strict=True)
        ]
        return Written(image, lines, words, characters)


def union(boxes: list[Box]) -> Box:
    """Return the smallest box around boxes."""
    x1, y1, x2, y2 = zip(*boxes, strict=True)
    return Box(min(x1), min(y1), max(x2), max(y2))


def _in_reading_order(runs: list[_Run]) -> list[tuple[_Run, int]]:
    """Runs with the numbers of their rows: from the top, and in a row from the left.

    What follows in a row after no more than a usual space is one run.
    """
    rows: list[list[_Run]] = []
    bottom = -1.0
    for run in sorted(runs, key=lambda r: (r.box.y1 + r.box.y2) / 2):
        if (run.box.y1 + run.box.y2) / 2 > bottom:
            rows.append([])
            bottom = run.box.y2
        bottom = max(bottom, run.box.y2)
        rows[-1].append(run)
    ordered: list[tuple[_Run, int]] = []
    for number, row in enumerate(rows):
        row.sort(key=lambda r: r.box.x1)
        for i, run in enumerate(row):
            last = ordered[-1][0] if i else None
            if last and run.box.x1 - last.box.x2 < _SPACE * (run.box.y2 - run.box.y1):
                joined = _Run(
                    f"{last.text} {run.text}",
                    last.letters + run.letters,
                    last.words + run.words,
                    union([last.box, run.box]),
                )
                ordered[-1] = (joined, number)
            else:
                ordered.append((run, number))
    return ordered


def _turn(
    draw: random.Random, size: int, runs: list[_Run], level: int
) -> tuple[float, float, float, float, float, float] | None:
    """An affine map of the sheet, or None for one that lies straight (most do)."""
    if draw.random() < 0.55:
        return None
    box = union([run.box for run in runs])
    spread = 9.0 if level == 1 else 5.0 if level == 2 else 3.5
    angle = max(-2 * spread, min(2 * spread, draw.gauss(0, spread / 2)))
    grow, shear = draw.uniform(0.94, 1.06), draw.uniform(-0.03, 0.03)
    for calm in (1.0, 0.6, 0.3, 0.1):
        cosine, sine = math.cos(math.radians(angle * calm)), math.sin(math.radians(angle * calm))
        scale = 1 + (grow - 1) * calm
        a, b = scale * cosine, scale * (shear * calm * cosine - sine)
        d, e = scale * sine, scale * (shear * calm * sine + cosine)
        middle = size / 2
        c, f = middle - (a + b) * middle, middle - (d + e) * middle
        corners = [(x, y) for x in (box.x1, box.x2) for y in (box.y1, box.y2)]
        moved = [v for x, y in corners for v in (a * x + b * y + c, d * x + e * y + f)]
        if min(moved) >= 2 and max(moved) <= size - 2:
            return a, b, c, d, e, f
    return None


def _turned(plane: Image.Image, forward: tuple[float, ...]) -> Image.Image:
    """Apply an affine map to what is drawn on a plane; the empty rest is skipped, which is fast."""
    drawn = plane.getbbox()
    turned = Image.new("L", plane.size)
    if drawn is None:
        return turned
    a, b, c, d, e, f = forward
    corners = [(x, y) for x in (drawn[0], drawn[2]) for y in (drawn[1], drawn[3])]
    xs = [a * x + b * y + c for x, y in corners]
    ys = [d * x + e * y + f for x, y in corners]
    left, top = max(0, math.floor(min(xs)) - 2), max(0, math.floor(min(ys)) - 2)
    right = min(plane.width, math.ceil(max(xs)) + 2)
    bottom = min(plane.height, math.ceil(max(ys)) + 2)
    det = a * e - b * d
    # PIL asks where each pixel of the result comes from: the inverse map, from the cut's corner
    x0 = (e * (left - c) - b * (top - f)) / det
    y0 = (a * (top - f) - d * (left - c)) / det
    inverse = (e / det, -b / det, x0, -d / det, a / det, y0)
    cut = (right - left, bottom - top)
    part = plane.transform(cut, Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR)
    turned.paste(part, (left, top))
    return turned


def _printed(draw: random.Random, planes: list[Image.Image]) -> Image.Image:
    """Ink on paper, blurred a little or not, lit unevenly or not, with noise or without."""
    size = planes[0].size
    blur = draw.random()
    if blur < 0.3:
        radius = draw.uniform(0.25, 0.5 + 0.5 * (blur < 0.1)) * size[0] / 384
        planes = [p.filter(ImageFilter.BoxBlur(radius)) for p in planes]
    paper, ink, accent = _colours(draw)
    image = Image.new("RGB", size, paper)
    image.paste(ink, mask=planes[0])
    for plane in planes[1:]:
        image.paste(accent, mask=plane)
    if draw.random() < 0.35:
        cells = draw.choice((2, 2, 3, 4))
        low = draw.randint(150, 235)
        light = Image.new("L", (cells, cells))
        light.putdata([draw.randint(low, 255) for _ in range(cells * cells)])
        light = light.resize(size, Image.Resampling.BILINEAR)
        image = ImageChops.multiply(image, Image.merge("RGB", (light, light, light)))
    if draw.random() < 0.5:
        bank = _noise(draw.choice((3, 6, 10)), max(size) + 256)
        x, y = draw.randrange(256), draw.randrange(256)
        noise = bank.crop((x, y, x + size[0], y + size[1]))
        image = ImageChops.add(image, noise, 1, -128)
    return image


def _colours(draw: random.Random) -> tuple[tuple[int, int, int], ...]:
    """Paper, ink and a second ink; one page in twelve is light on dark."""
    kind = draw.random()
    if kind < 0.4:
        paper = (255, 255, 255)
    elif kind < 0.75:
        light = draw.randint(228, 255)
        paper = (light, light - draw.randint(0, 8), light - draw.randint(0, 26))
    else:
        paper = (draw.randint(205, 255), draw.randint(205, 255), draw.randint(205, 255))
    dark = draw.randint(0, 70)
    ink = (dark, dark, dark)
    if draw.random() < 0.35:
        ink = (draw.randint(0, 90), draw.randint(0, 80), draw.randint(0, 110))
    accent = draw.choice(
        ((170, 20, 25), (20, 60, 160), (10, 95, 60), (110, 30, 120), (150, 80, 0), (60, 60, 60))
    )
    if draw.random() < 0.08:
        turned = [(255 - r, 255 - g, 255 - b) for r, g, b in (paper, ink, accent)]
        return turned[0], turned[1], turned[2]
    return paper, ink, accent


@cache
def _noise(strength: int, size: int) -> Image.Image:
    """A field of grain around 128, drawn once."""
    grain = np.random.default_rng(strength).normal(128, strength, (size, size, 3))
    return Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8))
