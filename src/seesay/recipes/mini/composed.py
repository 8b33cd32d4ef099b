"""Pictures with known contents: cut-outs and plain shapes, laid out on a ground.

A scene is a function of its seed. What is in it, where, how often and in which colours is known
exactly, so captions, questions and answers can be made without limit (`asked.py`).
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from seesay.recipes.mini import corpus
from seesay.recipes.mini.drawings import emoji_drawings
from seesay.recipes.mini.render import SIZE, Renderer

COLOURS = {
    "red": ("红色", (220, 40, 40)),
    "orange": ("橙色", (245, 140, 30)),
    "yellow": ("黄色", (250, 215, 50)),
    "green": ("绿色", (60, 160, 70)),
    "blue": ("蓝色", (50, 100, 220)),
    "purple": ("紫色", (130, 70, 180)),
    "pink": ("粉色", (245, 150, 190)),
    "brown": ("棕色", (135, 85, 50)),
    "black": ("黑色", (25, 25, 25)),
    "white": ("白色", (250, 250, 250)),
    "grey": ("灰色", (140, 140, 140)),
}
"""Names, in Chinese too, and a typical value of each."""

SHAPES = {
    "circle": ("圆形", "个"),
    "square": ("正方形", "个"),
    "triangle": ("三角形", "个"),
    "rectangle": ("长方形", "个"),
    "star": ("星星", "颗"),
    "heart": ("爱心", "颗"),
    "diamond": ("菱形", "个"),
}
_SOLID = 0.6
"""Share of its pixels that must have one colour before a thing is said to have it."""


@dataclass(frozen=True)
class Thing:
    """A kind of thing and what it is called."""

    concept: str
    english: str
    plural: str
    chinese: str
    measure: str
    kind: str


@dataclass(frozen=True)
class Cutout:
    """One drawing of a thing: RGBA without empty margins, and its colour if it has one."""

    thing: Thing
    art: Image.Image
    colour: str | None


@dataclass(frozen=True)
class Placed:
    """A thing in a scene; the box is (left, top, right, bottom) in pixels."""

    thing: Thing
    colour: str | None
    box: tuple[int, int, int, int]

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the box, x and y."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def area(self) -> int:
        """Of the box, in pixels."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)


@dataclass(frozen=True)
class Scene:
    """What is in a picture, from left to right, and the colour of the ground where it has one."""

    placed: tuple[Placed, ...]
    ground: str | None


def things() -> list[Thing]:
    """The kinds of things that scenes are made of, without the plain shapes."""
    return [
        Thing(
            concept=row["concept"],
            english=row["english"],
            plural=row["plural"],
            chinese=row["chinese"],
            measure=row["measure"],
            kind=row["kind"],
        )
        for row in corpus.rows("things.tsv")
    ]


def shapes() -> list[Thing]:
    """The plain shapes as things."""
    return [
        Thing(name, name, name + "s", chinese, measure, "shape")
        for name, (chinese, measure) in SHAPES.items()
    ]


def cutouts(packages: Path, vendors: Sequence[str], *, held_out: bool | None) -> list[Cutout]:
    """Render the things that these vendors draw; `held_out` keeps one side of the split."""
    renderer = Renderer(packages)
    by_concept = {thing.concept: thing for thing in things()}
    found = []
    for vendor in vendors:
        for drawing in emoji_drawings(packages, vendor):
            thing = by_concept.get(drawing.english[0].lower())
            if thing is None or held_out not in (None, drawing.held_out):
                continue
            art = renderer.cutout(drawing)
            if art is not None:
                art = art.crop(art.getchannel("A").getbbox())
                found.append(Cutout(thing, art, colour_of(art)))
    return found


def name_colour(red: int, green: int, blue: int) -> str:
    """Return the name of one colour."""
    hue, light, vivid = colorsys.rgb_to_hls(red / 255, green / 255, blue / 255)
    chroma = (max(red, green, blue) - min(red, green, blue)) / 255
    if chroma < 0.13 or (vivid < 0.2 and chroma < 0.25):
        return "black" if light < 0.25 else "white" if light > 0.85 else "grey"
    degrees = hue * 360
    if light < 0.12:
        return "black"
    if degrees < 14 or degrees >= 340:
        return "pink" if light > 0.66 else "brown" if light < 0.28 else "red"
    if degrees < 40:
        return "brown" if light < 0.42 or chroma < 0.45 else "orange"
    if degrees < 68:
        return "brown" if light < 0.3 else "yellow"
    if degrees < 165:
        return "green"
    if degrees < 255:
        return "blue"
    if degrees < 295:
        return "purple"
    return "pink" if light > 0.45 else "purple"


def colour_of(art: Image.Image) -> str | None:
    """Return the colour of most of a cut-out's pixels, or None when it has several."""
    small = np.asarray(art.resize((24, 24), Image.Resampling.BOX)).reshape(-1, 4)
    solid = small[small[:, 3] > 200]
    if len(solid) < 20:
        return None
    names = [name_colour(int(r), int(g), int(b)) for r, g, b, _ in solid]
    best = max(set(names), key=lambda name: (names.count(name), name))
    return best if names.count(best) >= _SOLID * len(names) else None


def draw_shape(thing: Thing, colour: str, rng: np.random.Generator) -> Cutout:
    """Return a plain shape in about this colour."""
    size = 256
    while True:  # a neighbour of the typical colour, as long as it has the same name
        spread = 6 if colour == "grey" else 14
        near = np.clip(np.array(COLOURS[colour][1]) + rng.normal(0, spread, 3), 0, 255).astype(int)
        fill = (int(near[0]), int(near[1]), int(near[2]))
        if name_colour(*fill) == colour:
            break
    art = Image.new("RGBA", (size, size))
    pen = ImageDraw.Draw(art)
    end, half = size - 1, size / 2
    if thing.english == "circle":
        pen.ellipse((0, 0, end, end), fill)
    elif thing.english == "square":
        pen.rectangle((0, 0, end, end), fill)
    elif thing.english == "rectangle":
        inset = int(size * rng.uniform(0.2, 0.32))
        box = (0, inset, end, end - inset) if rng.random() < 0.5 else (inset, 0, end - inset, end)
        pen.rectangle(box, fill)
    elif thing.english == "triangle":
        pen.polygon([(half, 0), (end, end * 0.9), (0, end * 0.9)], fill)
    elif thing.english == "diamond":
        pen.polygon([(half, 0), (end * 0.9, half), (half, end), (end * 0.1, half)], fill)
    elif thing.english == "star":
        pen.polygon(
            [
                (
                    half + half * (1 if i % 2 == 0 else 0.42) * math.sin(i * math.pi / 5),
                    half - half * (1 if i % 2 == 0 else 0.42) * math.cos(i * math.pi / 5),
                )
                for i in range(10)
            ],
            fill,
        )
    else:  # heart: two discs and a wedge
        radius = size * 0.27
        for x in (half - radius * 0.93, half + radius * 0.93):
            pen.ellipse((x - radius, 0, x + radius, 2 * radius), fill)
        pen.polygon([(2, radius * 1.32), (end - 2, radius * 1.32), (half, end)], fill)
    return Cutout(thing, art.crop(art.getchannel("A").getbbox()), colour)


def compose(drawn: Sequence[Cutout], rng: np.random.Generator) -> tuple[Scene, Image.Image]:
    """Return a scene of these cut-outs or of plain shapes, and its picture SIZE x SIZE."""
    ground, picture = _ground(rng)
    chosen = _shapes(rng, ground) if rng.random() < 0.3 else _things(drawn, rng)
    placed: list[Placed] = []
    for cutout, art in _sized(chosen, rng):
        for _ in range(40):
            left = int(rng.integers(0, SIZE - art.width + 1))
            top = int(rng.integers(0, SIZE - art.height + 1))
            box = (left, top, left + art.width, top + art.height)
            if not any(_touch(box, other.box) for other in placed):
                picture.paste(art, (left, top), art)
                placed.append(Placed(cutout.thing, cutout.colour, box))
                break
    placed.sort(key=lambda p: p.centre)
    return Scene(tuple(placed), ground), picture


def _things(drawn: Sequence[Cutout], rng: np.random.Generator) -> list[Cutout]:
    """One to three kinds; one of them may be there up to five times, as one drawing."""
    kinds = int(rng.choice([1, 2, 3, 4], p=[0.3, 0.42, 0.2, 0.08]))
    chosen: list[Cutout] = []
    for i in range(kinds):
        cutout = drawn[int(rng.integers(len(drawn)))]
        if any(c.thing.english == cutout.thing.english for c in chosen):
            continue
        crowd = i == 0 and rng.random() < (0.55 if kinds == 1 else 0.35)
        chosen += [cutout] * (int(rng.integers(2, 7 - kinds)) if crowd else 1)
    return chosen


def _shapes(rng: np.random.Generator, ground: str | None) -> list[Cutout]:
    names = [colour for colour in COLOURS if colour != ground]
    kinds = shapes()
    chosen: list[Cutout] = []
    for i in range(int(rng.choice([1, 2, 3, 4], p=[0.25, 0.4, 0.25, 0.1]))):
        thing = kinds[int(rng.integers(len(kinds)))]
        colour = names[int(rng.integers(len(names)))]
        if any((c.thing, c.colour) == (thing, colour) for c in chosen):
            continue
        crowd = i == 0 and rng.random() < 0.3
        for _ in range(int(rng.integers(2, 5)) if crowd else 1):
            chosen.append(draw_shape(thing, colour, rng))
    return chosen


def _sized(chosen: Sequence[Cutout], rng: np.random.Generator) -> list[tuple[Cutout, Image.Image]]:
    """Cut-outs at the sizes in which so many fit, some mirrored, largest first."""
    most = {1: 200, 2: 112, 3: 92, 4: 78}.get(len(chosen), 66)
    least = {1: 80, 2: 58, 3: 52, 4: 48}.get(len(chosen), 44)
    sized = []
    for cutout in chosen:
        side = rng.uniform(least, most)
        scale = side / max(cutout.art.size)
        size = tuple(max(8, round(edge * scale)) for edge in cutout.art.size)
        art = cutout.art.resize((size[0], size[1]), Image.Resampling.LANCZOS)
        sized.append((cutout, ImageOps.mirror(art) if rng.random() < 0.4 else art))
    return sorted(sized, key=lambda pair: -max(pair[1].size))


def _touch(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] + 4 and b[0] < a[2] + 4 and a[1] < b[3] + 4 and b[1] < a[3] + 4


def _ground(rng: np.random.Generator) -> tuple[str | None, Image.Image]:
    """White, one colour, or a soft blot of pale colours, which has no name."""
    choice = rng.random()
    if choice < 0.35:
        return "white", Image.new("RGB", (SIZE, SIZE), "white")
    if choice < 0.75:
        red, green, blue = (int(c) for c in rng.integers(0, 256, 3))
        pale = rng.uniform(0.0, 0.6)
        red, green, blue = (int(c + (255 - c) * pale) for c in (red, green, blue))
        return name_colour(red, green, blue), Image.new("RGB", (SIZE, SIZE), (red, green, blue))
    cells = int(rng.integers(2, 6))
    blot = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
    soft = blot.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return None, Image.blend(soft, Image.new("RGB", (SIZE, SIZE), "white"), rng.uniform(0.3, 0.8))
