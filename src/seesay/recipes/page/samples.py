"""What a step learns from: pictures, what is asked about them, what is written, and where it is.

Everything is a function of the step. Where the next letter of an answer stands is known for made
pages, so the writer can be shown where to look (`pointing.py`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seesay.families.florence2.prompts import expand
from seesay.processing.bytelevel import ByteLevelTokenizer
from seesay.recipes.made.labels import Sample, of_page, of_scene, quad_of
from seesay.recipes.made.pages import Page, page
from seesay.recipes.made.scenes import Scene, scene
from seesay.recipes.made.vocabulary import Split
from seesay.recipes.page.characters import places
from seesay.recipes.page.things import boxes
from seesay.regions import Region
from seesay.regions.locations import spell as spell_places

SIZE, GRID = 256, 16
SCALE = 0.95
"""Of type: a picture is a small sheet of paper, and not a small picture of a sheet."""
NOWHERE = -1
WORDS = 4
"""Words of a page that are asked for one by one."""


@dataclass(frozen=True)
class Mixture:
    """What a stage is taught.

    Attributes:
        pictures: How many a step.
        each: How many prompts about each.
        levels: Shares of pages of level 1, 2 and 3, and of scenes.
        tasks: Shares by task token; a picture is asked what it has.
        longest: Longer answers are not learnt, in tokens.
        seed: Of the pictures.
    """

    pictures: int
    each: int
    levels: tuple[float, float, float, float]
    tasks: dict[str, float]
    longest: int = 120
    seed: int = 1


class Batch(NamedTuple):
    """What a step learns from.

    pixels: uint8 [B, h, w, 3]; letters: uint8 [B, rows, columns, 8]; things: float32
    [B, rows, columns, 5]; asked: int64 [B * n, S]; written: int64 [B * n, L], both padded;
    cells: int64 [B * n, L], the image token that each token of `written` is read from.
    """

    pixels: NDArray[np.uint8]
    letters: NDArray[np.uint8]
    things: NDArray[np.float32]
    asked: NDArray[np.int64]
    written: NDArray[np.int64]
    cells: NDArray[np.int64]


@dataclass(frozen=True)
class Maker:
    """Makes the batch of a step."""

    mixture: Mixture
    tokenizer: ByteLevelTokenizer
    split: Split = "train"

    def __call__(self, step: int) -> Batch:
        """Return the batch of a step."""
        told, rows, pixels, letters, things = self.mixture, [], [], [], []
        for k in range(told.pictures):
            index = step * told.pictures + k
            draw = random.Random(f"{told.seed}/{index}")
            level = draw.choices((1, 2, 3, 0), told.levels)[0]
            if level:
                made = page(told.seed, index, level, SIZE, self.split, SCALE)
                samples = of_page(made, draw) + words_of(made, draw)
                letters.append(places(made.characters, SIZE, GRID))
                things.append(boxes([], SIZE, GRID))
                trace = Trace.of_page(made)
            else:
                drawn = scene(told.seed, index, SIZE, self.split)
                samples = of_scene(drawn, draw)
                letters.append(places([], SIZE, GRID))
                things.append(boxes(drawn.things, SIZE, GRID))
                trace = Trace.of_scene(drawn)
            pixels.append(np.asarray(made.image if level else drawn.image))
            rows += [self.row(s, trace) for s in self._chosen(samples, draw)]
        columns: Any = zip(*rows, strict=True) if rows else ([[]], [[0]], [[0]])
        asked, written, cells = columns
        pad = self.tokenizer.pad_id
        return Batch(
            np.stack(pixels),
            np.stack(letters),
            np.stack(things),
            padded(asked, pad),
            padded(written, pad, 1),
            padded(cells, NOWHERE, 1),
        )

    def row(self, sample: Sample, trace: Trace) -> tuple[list[int], list[int], list[int]]:
        """Return the ids of a prompt and of its answer, and where each token of that stands."""
        tokens = self.tokenizer
        asked, answer = tokens.ids([expand(sample.prefix), sample.answers[0]])
        looked = trace.follow(sample.answers[0], tokens.pieces(answer))
        start, end = tokens.start_id, tokens.end_id
        return (
            [start, *asked, end],
            [end, start, *answer, end],
            [NOWHERE, NOWHERE, *looked, NOWHERE],
        )

    def _chosen(self, samples: Sequence[Sample], draw: random.Random) -> list[Sample]:
        """Draw prompts by the shares of their tasks, different ones while there are."""
        found: list[Sample] = []
        weights = [self.mixture.tasks.get(s.prefix.partition(">")[0] + ">", 0.0) for s in samples]
        counts: dict[str, int] = {}
        for s in samples:
            task = s.prefix.partition(">")[0]
            counts[task] = counts.get(task, 0) + 1
        weights = [
            w / counts[s.prefix.partition(">")[0]] if self._short(s) else 0.0
            for w, s in zip(weights, samples, strict=True)
        ]
        for _ in range(self.mixture.each):
            if not any(weights):  # all too long, or all drawn
                found.append(found[-1] if found else Sample("<CAPTION>", samples[0].answers))
                continue
            i = draw.choices(range(len(samples)), weights)[0]
            found.append(samples[i])
            weights[i] = 0.0
        return found

    def _short(self, sample: Sample) -> bool:
        places = sample.answers[0].count("<loc_")
        return len(sample.answers[0]) - 8 * places <= self.mixture.longest


def words_of(made: Page, draw: random.Random) -> list[Sample]:
    """Some words of a page, asked for by their boxes."""
    found = []
    for word in draw.sample(made.words, min(WORDS, len(made.words))):
        box = Region(word.text, quad=quad_of(word.quad)).box
        found.append(Sample("<REGION_TO_OCR>" + spell_places(box, made.image.size), (word.text,)))
    return found


class Trace:
    """Where what can be written about a picture stands: the letters of a page, things by place."""

    def __init__(self, text: str, cells: Sequence[int]) -> None:
        self.text, self.cells = text, cells

    @classmethod
    def of_page(cls, made: Page) -> Trace:
        """The page's text, and the image token of each of its visible letters."""
        cells = [cell((c.x1 + c.x2) / 2, (c.y1 + c.y2) / 2) for c in made.characters]
        text, letters = made.text, iter(cells)
        return cls(text, [NOWHERE if c.isspace() else next(letters) for c in text])

    @classmethod
    def of_scene(cls, made: Scene) -> Trace:
        """Nothing is written in a scene; its places are found from their tokens."""
        return cls("", [])

    def follow(self, answer: str, pieces: Sequence[str]) -> list[int]:
        """Return the image token that each piece of an answer is read from, or `NOWHERE`."""
        cells = [NOWHERE] * len(pieces)
        plain = "".join(p for p in pieces if not p.startswith("<loc_"))
        at = self._found(plain)
        corner: list[float] = []
        named = 0
        for i, piece in enumerate(pieces):
            if piece.startswith("<loc_"):
                corner.append((int(piece[5:-1]) + 0.5) * SIZE / 1000)
                if len(corner) % 2 == 0:
                    cells[i - 1] = cells[i] = cell(*corner[-2:])
                if len(corner) == 4 and not self.text:  # what a thing is called is seen in it
                    middle = cell((corner[0] + corner[2]) / 2, (corner[1] + corner[3]) / 2)
                    cells[named : i - 3] = [middle] * (i - 3 - named)
                    corner, named = [], i + 1
            elif at is not None:
                while at < len(self.text) and self.text[at].isspace() and not piece[:1].isspace():
                    at += 1
                skipped = len(piece) - len(piece.lstrip())
                if at + skipped < len(self.cells):
                    cells[i] = self.cells[at + skipped]
                at += len(piece)
        return cells

    def _found(self, plain: str) -> int | None:
        """Return where an answer begins on the page, if it does so once."""
        if not plain or not self.text:
            return None
        joined = [line for line in (self.text, self.text.replace("\n", " ")) if plain in line]
        if joined:
            begun = joined[0].index(plain)
            return begun if joined[0].find(plain, begun + 1) < 0 else None
        bare = "".join(self.text.split())
        if "".join(plain.split()) == bare:  # all of the page, without the ends of its lines
            return 0
        return None


def cell(x: float, y: float) -> int:
    """Return the number of the image token that stands for a place; the mean is token 0."""
    row, column = (min(GRID - 1, max(0, int(v * GRID / SIZE))) for v in (y, x))
    return 1 + row * GRID + column


def padded(rows: Sequence[Sequence[int]], pad: int, more: int = 0) -> NDArray[np.int64]:
    """Return rows [N, L], filled up to a multiple of 16 and some more: few shapes are fast."""
    longest = max(map(len, rows)) - more
    filled = np.full((len(rows), -(-longest // 16) * 16 + more), pad, np.int64)
    for i, row in enumerate(rows):
        filled[i, : len(row)] = row
    return filled
