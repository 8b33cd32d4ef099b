"""BLEU: how many of the words, and runs of words, of a caption stand in a reference.

Paper: Papineni et al., "BLEU: a method for automatic evaluation of machine translation", ACL 2002.
Reference: tylin/coco-caption, pycocoevalcap/bleu/bleu_scorer.py, with the closest reference length.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LONGEST = 4
"""Words in the longest runs."""

_SMALL, _TINY = 1e-9, 1e-15
"""What the reference adds to denominators and numerators, in place of a division by zero."""


def overlap(candidate: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """Count what BLEU is made of, for one caption.

    Returns:
        int64 [10]: runs of 1 to 4 words that stand in a reference, each as often as in the one that
        has it most often; all runs of 1 to 4 words; the length of the caption; that of the
        reference nearest in length, the shorter of two.
    """
    found, length = [], len(candidate)
    for n in range(1, LONGEST + 1):
        allowed: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            allowed |= Counter(runs(reference, n))
        found.append((Counter(runs(candidate, n)) & allowed).total())
    nearest = min(map(len, references), key=lambda other: (abs(other - length), other))
    possible = [max(0, length - n) for n in range(LONGEST)]
    return np.array([*found, *possible, length, nearest])


def bleu(counts: NDArray[np.int64]) -> list[float]:
    """Return BLEU-1 to BLEU-4 of a corpus, from the sum of its `overlap`s [10]."""
    found, possible = counts[:LONGEST].tolist(), counts[LONGEST : 2 * LONGEST].tolist()
    ratio = (counts[-2] + _TINY) / (counts[-1] + _SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    scores, product = [], 1.0
    for n, (right, told) in enumerate(zip(found, possible, strict=True), 1):
        product *= (right + _TINY) / (told + _SMALL)
        scores.append(product ** (1 / n) * brevity)
    return scores


def runs(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """Return all runs of n words."""
    return list(zip(*(words[i:] for i in range(n)), strict=False))
