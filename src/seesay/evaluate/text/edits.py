"""How many edits lie between two texts, and what is made of them: ANLS, CER, WER.

Paper: Levenshtein (1966) for the distance; Myers, "A fast bit-vector algorithm for approximate
string matching", JACM 46 (1999), and Hyyrö (2003) for how it is computed; arXiv 1905.13648 (Biten
et al., scene text VQA), section 5, for ANLS; arXiv 2007.00398 (DocVQA) for where it is used.
Differs: a column of the table is one whole number of Python's, however long the text.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

THRESHOLD = 0.5
"""An answer that differs in this part of its characters, or in more, is worth nothing."""


class Wrong(NamedTuple):
    """Edits that make a text right, and the length of the right one; sums of both are a corpus."""

    edits: int
    length: int


def distance(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """Return how many items must be put in, taken out or replaced to get from one to the other.

    Args:
        one: A text, or a list of words.
        other: The same.
    """
    if not one:
        return len(other)
    places: dict[Hashable, int] = {}
    for i, item in enumerate(one):
        places[item] = places.get(item, 0) | 1 << i
    every, last = (1 << len(one)) - 1, 1 << (len(one) - 1)
    # bit i: whether the table grows, or falls, by one from row i to row i + 1 of the column
    grows, falls, edits = every, 0, len(one)
    for item in other:
        same = places.get(item, 0)
        level = ((((same & grows) + grows) ^ grows) | same | falls) & every
        ahead = (falls | ~(level | grows)) & every
        behind = level & grows
        edits += bool(ahead & last) - bool(behind & last)
        ahead, behind = ahead << 1 | 1, behind << 1
        grows = (behind | ~(level | ahead)) & every
        falls = ahead & level & every
    return edits


def anls(answer: str, answers: Sequence[str]) -> float:
    """Return how near an answer is to the nearest of the right ones, 0..1; a corpus has the mean.

    One less the edits by the length of the longer text, case and runs of spaces put aside; nothing
    where that is one half or less.
    """
    return max((_similarity(folded(answer), folded(one)) for one in answers), default=0.0)


def document_accuracy(answer: str, answers: Sequence[str]) -> float:
    """Return 1 for an answer that is one of the right ones, case and spaces put aside, else 0."""
    return float(folded(answer) in {folded(one) for one in answers})


def folded(text: str) -> str:
    """Return a text in lower case, with single spaces between words and none around them."""
    return " ".join(text.lower().split())


def character_errors(text: str, reference: str) -> Wrong:
    """Return the wrong characters of a text that was read; lines count as separated by spaces."""
    return _wrong(_plain(text), _plain(reference))


def word_errors(text: str, reference: str) -> Wrong:
    """Return the wrong words of a text that was read."""
    return _wrong(_plain(text).split(), _plain(reference).split())


def words_in_common(text: str, reference: str) -> tuple[int, int, int]:
    """Return how many words two texts share in any order, and how many each has."""
    read, wanted = Counter(_plain(text).split()), Counter(_plain(reference).split())
    return (read & wanted).total(), read.total(), wanted.total()


def _similarity(one: str, other: str) -> float:
    longest = max(len(one), len(other))
    part = distance(one, other) / longest if longest else 0.0
    return 1.0 - part if part < THRESHOLD else 0.0


def _wrong(read: Sequence[Hashable], wanted: Sequence[Hashable]) -> Wrong:
    return Wrong(distance(read, wanted), len(wanted))


def _plain(text: str) -> str:
    """A letter and its accent as one character, single spaces: what a page looks like."""
    return " ".join(unicodedata.normalize("NFC", text).split())
