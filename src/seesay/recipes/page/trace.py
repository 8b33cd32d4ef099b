"""Where what is written about a picture is seen: each piece of an answer, followed over it.

Where the letters of a made page and the things of a made scene are is known, so the writer can be
shown where to look.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from seesay.recipes.made.labels import Sample
from seesay.recipes.made.pages import Page
from seesay.recipes.made.scenes import Scene
from seesay.recipes.page.characters import COLUMNS, ROWS
from seesay.regions import Box
from seesay.regions.locations import spell

SIZE, GRID = 256, 16
NOWHERE = -1
GROUNDING = "<CAPTION_TO_PHRASE_GROUNDING>"


class Spot(NamedTuple):
    """Where a piece is seen; `NOWHERE` is what is not known or does not apply.

    Attributes:
        cell: The image token; the mean of the picture is token 0.
        slot: For a letter, which of the places in the square of that token.
        thing: For what is said of a thing, its number in the scene, from 1; any token will do.
        asked: For what is copied from the prompt, which of its pieces.
    """

    cell: int = NOWHERE
    slot: int = NOWHERE
    thing: int = NOWHERE
    asked: int = NOWHERE


UNSEEN = Spot()


class Trace(Protocol):
    """A picture whose contents are known."""

    def follow(self, sample: Sample, asked: Sequence[str], pieces: Sequence[str]) -> list[Spot]:
        """Return where each piece of a sample's first answer is seen; `asked` are the prompt's."""


class PageTrace:
    """The letters of a page."""

    def __init__(self, made: Page) -> None:
        spots = iter([spot((c.x1 + c.x2) / 2, (c.y1 + c.y2) / 2) for c in made.characters])
        self.text = made.text
        self.spots = [UNSEEN if c.isspace() else next(spots) for c in made.text]

    def follow(self, sample: Sample, asked: Sequence[str], pieces: Sequence[str]) -> list[Spot]:
        """Return where each piece is seen: letters where they stand, places at their corners."""
        found = [UNSEEN] * len(pieces)
        at = self._found("".join(p for p in pieces if not p.startswith("<loc_")))
        corner: list[float] = []
        for i, piece in enumerate(pieces):
            if piece.startswith("<loc_"):
                corner.append((int(piece[5:-1]) + 0.5) * SIZE / 1000)
                if len(corner) == 2:
                    found[i - 1] = found[i] = Spot(spot(*corner).cell)
                    corner = []
            elif at is not None:
                while at < len(self.text) and self.text[at].isspace() and not piece[:1].isspace():
                    at += 1
                skipped = len(piece) - len(piece.lstrip())
                if at + skipped < len(self.spots):
                    found[i] = self.spots[at + skipped]
                at += len(piece)
        return found

    def _found(self, plain: str) -> int | None:
        """Return where an answer begins on the page, if it does so once."""
        if not plain:
            return None
        joined = [line for line in (self.text, self.text.replace("\n", " ")) if plain in line]
        if joined:
            begun = joined[0].index(plain)
            return begun if joined[0].find(plain, begun + 1) < 0 else None
        if "".join(plain.split()) == "".join(self.text.split()):  # all of it, without line ends
            return 0
        return None


class SceneTrace:
    """The things of a scene, by how their boxes are spelled."""

    def __init__(self, made: Scene) -> None:
        boxes = [spell(Box(*thing.box), made.image.size) for thing in made.things]
        self.numbers = {box: number for number, box in enumerate(boxes, 1)}

    def follow(self, sample: Sample, asked: Sequence[str], pieces: Sequence[str]) -> list[Spot]:
        """Return which thing each piece is of: a name, and the four places behind it.

        Phrases that are to be found are copied, so they are seen in the prompt.
        """
        meant = [n for box, n in self.numbers.items() if sample.prefix.endswith(box)]
        if meant:
            return [Spot(thing=meant[0])] * len(pieces)
        found: list[Spot] = []
        begun = after = 0
        for end in range(1, len(pieces) + 1):
            number = self.numbers.get("".join(pieces[max(begun, end - 4) : end]))
            if number is None:
                continue
            phrase = pieces[begun : end - 4]
            copied = _where(phrase, asked, after) if sample.prefix.startswith(GROUNDING) else None
            if copied is None:
                found += [Spot(thing=number)] * len(phrase)
            else:
                after = copied + len(phrase)
                found += [Spot(asked=i) for i in range(copied, after)]
            found += [Spot(thing=number)] * 4
            begun = end
        return found + [UNSEEN] * (len(pieces) - begun)


def _where(part: Sequence[str], whole: Sequence[str], start: int) -> int | None:
    """Return where a part of a sequence begins, from `start` on; None for nowhere."""
    found = (i for i in range(start, len(whole)) if whole[i : i + len(part)] == part)
    return next(found, None)


def spot(x: float, y: float) -> Spot:
    """Return where a point of the picture is seen."""
    row, column = (min(GRID * n - 1, max(0, int(v * GRID * n / SIZE)))
                   for v, n in ((y, ROWS), (x, COLUMNS)))  # fmt: skip
    cell = 1 + row // ROWS * GRID + column // COLUMNS
    return Spot(cell, row % ROWS * COLUMNS + column % COLUMNS)
