"""ROUGE-L: how much of a caption and a reference is the same words in the same order.

Paper: Lin, "ROUGE: a package for automatic evaluation of summaries", ACL workshop 2004.
Reference: tylin/coco-caption, pycocoevalcap/rouge/rouge.py: the best precision and the best recall
over the references, though they may be of different ones.
"""

from __future__ import annotations

from collections.abc import Sequence

BETA = 1.2
"""How much more recall counts than precision."""


def rouge_l(candidate: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return the ROUGE-L of one caption, 0..1."""
    words = candidate or [""]  # nothing is one empty word to the reference
    common = [(common_length(words, other or [""]), len(other or [""])) for other in references]
    precision = max(length for length, _ in common) / len(words)
    recall = max(length / total for length, total in common)
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def common_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    Paper: Hyyrö, "Bit-parallel LCS-length computation revisited" (2004). One bit per word of
    `first`: it turns 0 where the length grows by one.
    """
    places: dict[str, int] = {}
    for i, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << i
    everything = (1 << len(first)) - 1
    row = everything
    for word in second:
        met = row & places.get(word, 0)
        row = (row + met | row - met) & everything
    return len(first) - row.bit_count()
