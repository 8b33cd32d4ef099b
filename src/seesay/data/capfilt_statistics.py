"""What CapFilt did, in figures: counted while the files are written, so memory stays bounded."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from seesay.data.capfilt_journal import Judged, Origin
from seesay.generation.written import CJK

EXAMPLES = 5
"""How many captions of each source are shown as kept, and as rejected."""
BINS = 10
"""Of the histogram of probabilities."""


@dataclass(frozen=True)
class Lengths:
    """Words of captions; a Chinese, Japanese or Korean character is a word."""

    least: int
    mean: float
    median: float
    most: int


@dataclass(frozen=True)
class Share:
    """What became of the captions of one source.

    Attributes:
        captions: All of them; the sum of the next three.
        left_out: Not judged: empty, not UTF-8, or the same text again for the same picture.
        kept: To be trained on.
        rejected: Judged to be noise.
        noise: Rejected of those judged, 0..1; None when none was.
        mean_score: Of those judged; None when none was.
        histogram: How many were judged 0..0.1, 0.1..0.2 and so on; empty unless by probability.
        kept_words: Lengths of those kept, None when there are none.
        rejected_words: Lengths of those rejected.
    """

    captions: int
    left_out: int
    kept: int
    rejected: int
    noise: float | None
    mean_score: float | None
    histogram: tuple[int, ...]
    kept_words: Lengths | None
    rejected_words: Lengths | None


@dataclass(frozen=True)
class Example:
    """A caption that was kept or rejected."""

    source: Origin
    kept: bool
    where: str
    text: str
    score: float | None


@dataclass(frozen=True)
class Statistics:
    """What a run did.

    Attributes:
        settings: Models and choices, as JSON.
        measure: What a score is: "probability" or "similarity".
        pictures: How many were looked at, those skipped included.
        kept_pictures: How many of them have a caption to be trained on.
        skipped: Why pictures could not be read, each with where it stands.
        sources: By who wrote them; "human" ones pass unjudged.
        captions: How many lines captions.jsonl has: the kept ones of all sources.
        examples: The first few of each kind.
    """

    settings: dict[str, Any]
    measure: str
    pictures: int
    kept_pictures: int
    skipped: tuple[str, ...]
    sources: dict[str, Share]
    captions: int
    examples: tuple[Example, ...]


@dataclass
class Tally:
    """Counts the captions of one source; `by_tenths` of their scores, too."""

    by_tenths: bool
    left_out: int = 0
    histogram: list[int] = field(default_factory=lambda: [0] * BINS)
    kept: Counter[int] = field(default_factory=Counter)
    rejected: Counter[int] = field(default_factory=Counter)
    examples: list[Example] = field(default_factory=list)
    total: float = 0.0
    scored: int = 0

    def add(self, caption: Judged, kept: bool, where: str) -> None:
        """Count a caption that was judged, or that passes unjudged."""
        lengths = self.kept if kept else self.rejected
        lengths[_words(caption.text)] += 1
        if lengths.total() <= EXAMPLES:
            self.examples.append(Example(caption.source, kept, where, caption.text, caption.score))
        if caption.score is not None:
            self.total += caption.score
            self.scored += 1
            if self.by_tenths:
                self.histogram[min(int(caption.score * BINS), BINS - 1)] += 1

    def share(self) -> Share:
        """Return what was counted."""
        kept, rejected = self.kept.total(), self.rejected.total()
        return Share(
            captions=self.left_out + kept + rejected,
            left_out=self.left_out,
            kept=kept,
            rejected=rejected,
            noise=round(rejected / self.scored, 6) if self.scored else None,
            mean_score=round(self.total / self.scored, 6) if self.scored else None,
            histogram=tuple(self.histogram) if self.by_tenths and self.scored else (),
            kept_words=_lengths(self.kept),
            rejected_words=_lengths(self.rejected),
        )


def _words(text: str) -> int:
    return len(CJK.sub(" - ", text).split())


def _lengths(counts: Counter[int]) -> Lengths | None:
    if not counts:
        return None
    total = counts.total()
    mean = sum(length * count for length, count in counts.items()) / total
    return Lengths(min(counts), round(mean, 3), _median(counts, total), max(counts))


def _median(counts: Counter[int], total: int) -> float:
    """The middle of the lengths, or the mean of the two in the middle."""
    found: list[int] = []
    passed = 0
    for length in sorted(counts):
        passed += counts[length]
        while len(found) < 2 and passed > (total - 1 + len(found)) // 2:
            found.append(length)
    return median(found)
