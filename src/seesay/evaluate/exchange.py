"""Controls: the same evaluation with prompts, or pictures, exchanged.

What a model says to another question about the same picture is compared with what is right for the
question that was not asked. A model that reads scores far less; one that is blind to the question
scores the same. Likewise with pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from seesay.evaluate.asking import elsewhere
from seesay.evaluate.kinds import Kind, Scored, token_of
from seesay.evaluate.ranking import Ints
from seesay.evaluate.report import label, shown
from seesay.regions import Box, Point, Region, Regions

UNMOVED = 0.99
"""What is the same to so many other questions, or pictures, does not come from them."""


def other_prompts(prompts: Mapping[int, str], seed: int) -> dict[int, str]:
    """Return another prompt for each row, of the same task; none where its task has but one."""
    distinct: dict[str, list[str]] = {}
    for prompt in sorted(set(prompts.values())):
        distinct.setdefault(token_of(prompt), []).append(prompt)
    swapped: dict[str, str] = {}
    for several in distinct.values():
        if len(several) > 1:
            order = elsewhere(len(several), seed).tolist()
            swapped |= {prompt: several[i] for prompt, i in zip(several, order, strict=True)}
    return {row: swapped[prompt] for row, prompt in prompts.items() if prompt in swapped}


def resized(found: Regions, size: tuple[int, int]) -> Regions:
    """Return what was found in one picture as if it were in another, at the same parts of it."""
    if found.size == size:
        return found
    across, down = size[0] / found.size[0], size[1] / found.size[1]

    def points(several: Sequence[Point]) -> tuple[Point, ...]:
        return tuple(Point(x * across, y * down) for x, y in several)

    def moved(region: Region) -> Region:
        x1, y1, x2, y2 = region.box
        return replace(
            region,
            box=Box(x1 * across, y1 * down, x2 * across, y2 * down),
            quad=points(region.quad) if region.quad else None,  # type: ignore[arg-type]
            polygon=points(region.polygon) if region.polygon else None,
        )

    return replace(found, regions=[moved(region) for region in found.regions], size=size)


@dataclass(frozen=True)
class Control:
    """What became of one kind of prompts when pictures or questions were exchanged.

    Attributes:
        what: "pictures" or "questions": what was exchanged.
        kind: Of prompts.
        own: The figures of the rows with what is theirs.
        other: Those of the same rows with what is another's.
        rows: Which rows they are, places among all, int64.
        unmoved: The part of them to which the model says the same.
    """

    what: str
    kind: Kind
    own: Scored
    other: Scored
    rows: Ints
    unmoved: float

    @property
    def gain(self) -> str:
        """What the figure is called that tells the two apart."""
        how = "looking" if self.what == "pictures" else "reading"
        return f"gained_by_{how}_{self.kind.figure}"

    def statistic(self, weights: Ints) -> dict[str, float]:
        """Return the main figure after the exchange, and what the right one gained."""
        figure = self.kind.figure
        own, other = (one.statistic(weights[self.rows]) for one in (self.own, self.other))
        if figure not in own or figure not in other:
            return {}
        more, less = (other, own) if self.kind.errors else (own, other)
        return {
            f"other_{self.what}_{figure}": other[figure],
            self.gain: more[figure] - less[figure],
        }

    def row(self) -> list[str | float]:
        """Return what the report lists: names, the figure with the own and others, the unmoved."""
        own, other = (self._whole(scored) for scored in (self.own, self.other))
        return [self.what, self.kind.name, self.kind.figure, own, other, self.unmoved]

    def _whole(self, scored: Scored) -> float:
        found = scored.statistic(np.ones(len(self.rows), np.int64))
        return found.get(self.kind.figure, 0.0)

    def verdict(self, surely: float) -> str:
        """Return in a sentence whether the model depends on what was exchanged.

        Args:
            surely: What the right pictures or questions gained, at least.
        """
        blind = "image-blind" if self.what == "pictures" else "question-blind"
        if self.unmoved >= UNMOVED:
            told = f"The model is {blind}"
        elif surely <= 0:
            told = f"No sign that the model is not {blind}"
        else:
            told = f"The model is not {blind}"
        figure = self.kind.figure
        own, other = (shown(figure, self._whole(scored)) for scored in (self.own, self.other))
        return (
            f"{told} ({self.kind.name}): {label(figure)} {own} with the right {self.what}, {other} "
            f"with others, and {100 * self.unmoved:.0f} % of what it says is the same."
        )
