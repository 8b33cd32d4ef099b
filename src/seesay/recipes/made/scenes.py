"""Scenes of drawn things on a ground: what is where is known to the pixel.

`scene(seed, index)` is one scene; equal numbers give equal scenes. Things do not overlap. Each
split has vendors of its own, so no drawing of the test was ever trained on.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image, ImageOps

from seesay.recipes.made.cutouts import Cutout, cutouts
from seesay.recipes.made.sheet import Box
from seesay.recipes.made.vocabulary import Split

SIZE = 384
COLOURS = {
    "red": (215, 35, 40),
    "yellow": (245, 205, 30),
    "green": (45, 155, 65),
    "blue": (45, 95, 215),
    "purple": (125, 60, 175),
    "pink": (245, 125, 180),
}
"""What some things are dyed with."""
GAP = 3
"""Pixels of a 384-pixel scene between two things' boxes."""
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")


@dataclass(frozen=True)
class Thing:
    """One thing in a scene.

    Attributes:
        name: What it is, in the singular.
        plural: Of several.
        colour: What it was dyed with, or empty: then it has the colours of its drawing.
        box: Around what is drawn, in pixels.
        outline: Corners of a polygon around its largest part, clockwise.
    """

    name: str
    plural: str
    colour: str
    box: Box
    outline: tuple[tuple[float, float], ...]

    @property
    def called(self) -> str:
        """The colour, if it has one, and the name."""
        return f"{self.colour} {self.name}".strip()


@dataclass(frozen=True)
class Group:
    """Things that are called the same, and how a caption mentions them: "two red balloons"."""

    phrase: str
    things: tuple[Thing, ...]


@dataclass(frozen=True)
class Scene:
    """One scene; `things` and `groups` go from left to right."""

    image: Image.Image
    things: list[Thing]
    groups: list[Group]

    @property
    def caption(self) -> str:
        """All groups in one sentence."""
        phrases = self.mentioned
        listed = [", ".join(phrases[:-1]), phrases[-1]] if phrases[1:] else phrases
        return " and ".join(listed) + "."

    @property
    def mentioned(self) -> list[str]:
        """How the caption mentions each group; it begins with a capital."""
        first, *others = (group.phrase for group in self.groups)
        return [first[0].upper() + first[1:], *others]


def scene(seed: int, index: int, size: int = SIZE, split: Split = "train") -> Scene:
    """Make one scene.

    Args:
        seed: Of the collection.
        index: Which scene of it.
        size: Of the picture's sides in pixels; things grow with it.
        split: Whose vendors' drawings are used.
    """
    draw = random.Random(f"scene/{seed}/{index}/{split}")
    image = _ground(draw, size)
    placed: list[Thing] = []
    for cutout, colour, side in _chosen(draw, split):
        thing = _place(draw, image, cutout, colour, side * size / SIZE, placed)
        if thing is not None:
            placed.append(thing)
    placed.sort(key=lambda thing: (thing.box.x1, thing.box.y1))
    return Scene(image, placed, grouped(placed))


def grouped(things: list[Thing]) -> list[Group]:
    """Put things that are called the same together, in the order of the first of each."""
    found: dict[str, list[Thing]] = {}
    for thing in things:
        found.setdefault(thing.called, []).append(thing)
    groups = []
    for called, same in found.items():
        if len(same) == 1:
            phrase = one(called)
        else:
            phrase = f"{NUMBERS[len(same)]} {same[0].colour} {same[0].plural}".replace("  ", " ")
        groups.append(Group(phrase, tuple(same)))
    return groups


def one(called: str) -> str:
    """Put the indefinite article before a name."""
    return ("an " if called[0] in "aeiou" else "a ") + called


def _chosen(draw: random.Random, split: Split) -> list[tuple[Cutout, str, float]]:
    """One to seven things with their colours and longer sides, the largest first."""
    drawn = cutouts(split)
    chosen: list[tuple[Cutout, str]] = []
    for _ in range(draw.choices((1, 2, 3, 4, 5), (15, 25, 28, 20, 12))[0]):
        cutout = draw.choice(drawn)
        colour = draw.choice(list(COLOURS)) if draw.random() < 0.3 else ""
        crowd = draw.random() < 0.15
        chosen += [(cutout, colour)] * (draw.randint(2, 3) if crowd else 1)
    chosen = chosen[:7]
    most = {1: 260, 2: 190, 3: 160, 4: 135, 5: 120}.get(len(chosen), 105)
    sized = [(cutout, colour, draw.uniform(52, most)) for cutout, colour in chosen]
    return sorted(sized, key=lambda each: -each[2])


def _place(
    draw: random.Random,
    image: Image.Image,
    cutout: Cutout,
    colour: str,
    side: float,
    placed: list[Thing],
) -> Thing | None:
    """Paste a thing where it touches no other, or not at all when there is no such place."""
    art = cutout.art
    scale = side / max(art.size)
    wide, high = (max(8, round(edge * scale)) for edge in art.size)
    gap = GAP * image.width / SIZE
    for _ in range(30):
        left = draw.randint(0, image.width - wide)
        top = draw.randint(0, image.height - high)
        box = Box(left, top, left + wide, top + high)
        if not any(_touch(box, other.box, gap) for other in placed):
            break
    else:
        return None
    outline, mirrored = cutout.outline, draw.random() < 0.4
    art = art.resize((wide, high), Image.Resampling.BICUBIC)
    if mirrored:
        art = ImageOps.mirror(art)
        outline = tuple((1 - x, y) for x, y in reversed(outline))
    if colour:
        art = _dyed(art, colour)
    image.paste(art, (left, top), art)
    corners = tuple((left + x * wide, top + y * high) for x, y in outline)
    return Thing(cutout.name, cutout.plural, colour, box, corners)


def _touch(a: Box, b: Box, gap: float) -> bool:
    return a.x1 < b.x2 + gap and b.x1 < a.x2 + gap and a.y1 < b.y2 + gap and b.y1 < a.y2 + gap


def _dyed(art: Image.Image, colour: str) -> Image.Image:
    """The drawing in shades of one colour."""
    grey = ImageOps.autocontrast(art.convert("L"), cutoff=2).point(lambda v: 30 + v * 180 // 255)
    red, green, blue = COLOURS[colour]
    dark = (red // 4, green // 4, blue // 4)
    light = tuple(255 - (255 - v) // 3 for v in (red, green, blue))
    dyed = ImageOps.colorize(grey, dark, (light[0], light[1], light[2]), (red, green, blue))
    dyed.putalpha(art.getchannel("A"))
    return dyed


def _ground(draw: random.Random, size: int) -> Image.Image:
    """White, one pale colour, or a soft blot of pale colours."""
    choice = draw.random()
    if choice < 0.25:
        return Image.new("RGB", (size, size), "white")
    if choice < 0.55:
        pale = tuple(draw.randint(170, 255) for _ in range(3))
        return Image.new("RGB", (size, size), (pale[0], pale[1], pale[2]))
    cells = draw.randint(2, 5)
    blot = Image.new("RGB", (cells, cells))
    low = draw.choice((60, 130, 180))
    for x in range(cells):
        for y in range(cells):
            tone = [draw.randint(low, 255) for _ in range(3)]
            blot.putpixel((x, y), (tone[0], tone[1], tone[2]))
    return blot.resize((size, size), Image.Resampling.BILINEAR)
