"""What a step learns from: pictures, what is asked about them, what is written, and where it is.

Everything is a function of the step. Where what is written is seen is told too (`trace.py`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from seesay.families.florence2.prompts import expand
from seesay.processing.bytelevel import ByteLevelTokenizer
from seesay.recipes.made.labels import Sample, of_page, of_scene, quad_of
from seesay.recipes.made.pages import Page, page
from seesay.recipes.made.scenes import scene
from seesay.recipes.made.vocabulary import Split
from seesay.recipes.page.characters import places
from seesay.recipes.page.things import boxes
from seesay.recipes.page.trace import (
    GRID,
    NOWHERE,
    SIZE,
    UNSEEN,
    PageTrace,
    SceneTrace,
    Spot,
    Trace,
)
from seesay.regions import Region
from seesay.regions.locations import spell as spell_places

SCALE = 0.95
"""Of type: a picture is a small sheet of paper, and not a small picture of a sheet."""
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
    [B, rows, columns, 6]; asked: int64 [B * n, S]; written: int64 [B * n, L], both padded;
    spots: int64 [B * n, L, 4], where each token of `written` is seen.
    """

    pixels: NDArray[np.uint8]
    letters: NDArray[np.uint8]
    things: NDArray[np.float32]
    asked: NDArray[np.int64]
    written: NDArray[np.int64]
    spots: NDArray[np.int64]


@dataclass(frozen=True)
class Maker:
    """Makes the batch of a step."""

    mixture: Mixture
    tokenizer: ByteLevelTokenizer
    split: Split = "train"

    def __call__(self, step: int) -> Batch:
        """Return the batch of a step."""
        told, rows, pixels, letters, things = self.mixture, [], [], [], []
        trace: Trace
        for k in range(told.pictures):
            index = step * told.pictures + k
            draw = random.Random(f"{told.seed}/{index}")
            level = draw.choices((1, 2, 3, 0), told.levels)[0]
            if level:
                made = page(told.seed, index, level, SIZE, self.split, SCALE)
                samples = of_page(made, draw) + words_of(made, draw)
                letters.append(places(made.characters, SIZE, GRID))
                things.append(boxes([], SIZE, GRID))
                picture, trace = np.asarray(made.image), PageTrace(made)
            else:
                drawn = scene(told.seed, index, SIZE, self.split)
                samples = of_scene(drawn, draw)
                letters.append(places([], SIZE, GRID))
                things.append(boxes(drawn.things, SIZE, GRID))
                picture, trace = exposed(np.asarray(drawn.image), draw), SceneTrace(drawn)
            pixels.append(picture)
            rows += [self.row(s, trace) for s in self._chosen(samples, draw)]
        columns: Any = zip(*rows, strict=True) if rows else ([[]], [[0]], [[UNSEEN]])
        asked, written, spots = columns
        pad = self.tokenizer.pad_id
        return Batch(
            np.stack(pixels),
            np.stack(letters),
            np.stack(things),
            padded(asked, pad),
            padded(written, pad, 1),
            np.stack([padded(part, NOWHERE, 1) for part in _parts(spots)], -1),
        )

    def row(self, sample: Sample, trace: Trace) -> tuple[list[int], list[int], list[Spot]]:
        """Return the ids of a prompt and of its answer, and where each token of that is seen."""
        tokens = self.tokenizer
        asked, answer = tokens.ids([expand(sample.prefix), sample.answers[0]])
        seen = trace.follow(sample, tokens.pieces(asked), tokens.pieces(answer))
        start, end = tokens.start_id, tokens.end_id
        return (
            [start, *asked, end],
            [end, start, *answer, end],
            # the prompt begins with `<s>`
            [UNSEEN, UNSEEN, *(s._replace(asked=s.asked + (s.asked >= 0)) for s in seen), UNSEEN],
        )

    def _chosen(self, samples: Sequence[Sample], draw: random.Random) -> list[Sample]:
        """Draw prompts by the shares of their tasks, different ones while there are."""
        found: list[Sample] = []
        tasks = [s.prefix.partition(">")[0] + ">" for s in samples]
        counts = Counter(tasks)
        weights = [
            self.mixture.tasks.get(task, 0.0) / counts[task] if self._short(s) else 0.0
            for task, s in zip(tasks, samples, strict=True)
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


@dataclass(frozen=True)
class Turns:
    """Makers that take turns: answers of like length are learnt together, or most of it is padding.

    Attributes:
        makers: One or more.
    """

    makers: tuple[Maker, ...]

    def __call__(self, step: int) -> Batch:
        """Return the batch of a step."""
        return self.makers[step % len(self.makers)](step)


def exposed(pixels: NDArray[np.uint8], draw: random.Random) -> NDArray[np.uint8]:
    """Return a scene lighter or darker, in a light of another colour, sometimes a little blurred.

    Vendors differ in their colours and edges; those of the test are not known in training.
    """
    whole, curve = draw.uniform(0.8, 1.15), draw.uniform(0.75, 1.3)
    levels = np.linspace(0, 1, 256) ** curve
    table = [255 * np.clip(levels * whole * draw.uniform(0.93, 1.07), 0, 1) for _ in range(3)]
    lit = np.stack([table[c].astype(np.uint8)[pixels[..., c]] for c in range(3)], -1)
    if draw.random() < 0.3:
        blur = ImageFilter.GaussianBlur(draw.uniform(0.3, 1.0))
        return np.asarray(Image.fromarray(lit).filter(blur))
    return lit


def _parts(spots: Sequence[Sequence[Spot]]) -> list[list[list[int]]]:
    """Return cells, slots, things and pieces of the prompt of some rows."""
    return [[[spot[k] for spot in row] for row in spots] for k in range(len(UNSEEN))]


def padded(rows: Sequence[Sequence[int]], pad: int, more: int = 0) -> NDArray[np.int64]:
    """Return rows [N, L], filled up to a multiple of 16 and some more: few shapes are fast."""
    longest = max(map(len, rows)) - more
    filled = np.full((len(rows), -(-longest // 16) * 16 + more), pad, np.int64)
    for i, row in enumerate(rows):
        filled[i, : len(row)] = row
    return filled
