"""CIDEr-D: how alike a caption and its references are, rare runs of words counting the most.

Paper: arXiv 1411.5726 (Vedantam et al.), section 4 and supplement: tf-idf vectors of runs of 1 to 4
words, their cosine, clipped, and a Gaussian penalty for other lengths; 10 times the mean.
Reference: tylin/coco-caption, pycocoevalcap/cider/cider_scorer.py, with document frequencies of the
references at hand ("corpus"); lengths are counted in pairs of words.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seesay.evaluate.text.bleu import LONGEST, runs

SIGMA = 6.0
"""Width of the penalty for other lengths, in words."""

Run = tuple[str, ...]


class _Vector(NamedTuple):
    """Weights of the runs of each length, the norms, and how many pairs of words there are."""

    weights: list[dict[Run, float]]
    norms: list[float]
    pairs: int


def cider_d(
    candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> NDArray[np.float64]:
    """Return the CIDEr-D of each caption, float64 [N], 0..10; that of the corpus is their mean."""
    seen: Counter[Run] = Counter()
    for several in references:
        found = (runs(words, n) for words in several for n in range(1, LONGEST + 1))
        seen.update({run for some in found for run in some})
    pictures = math.log(len(references)) if references else 0.0
    rarity = {run: pictures - math.log(count) for run, count in seen.items()}

    def vector(words: Sequence[str]) -> _Vector:
        weights = [
            {run: count * rarity.get(run, pictures) for run, count in Counter(found).items()}
            for found in (runs(words, n + 1) for n in range(LONGEST))
        ]
        norms = [math.sqrt(sum(weight * weight for weight in row.values())) for row in weights]
        return _Vector(weights, norms, max(0, len(words) - 1))

    scores = []
    for candidate, several in zip(candidates, references, strict=True):
        mine = vector(candidate)
        total = sum(_similarity(mine, vector(words)) for words in several)
        scores.append(10.0 * total / len(several))
    return np.array(scores)


def _similarity(mine: _Vector, other: _Vector) -> float:
    total = 0.0
    for own, theirs, norm, their_norm in zip(
        mine.weights, other.weights, mine.norms, other.norms, strict=True
    ):
        if norm and their_norm:
            shared = own.keys() & theirs.keys()
            product = sum(min(own[run], theirs[run]) * theirs[run] for run in shared)
            total += product / (norm * their_norm)
    gap = mine.pairs - other.pairs
    return total / LONGEST * math.exp(-gap * gap / (2 * SIGMA**2))
