"""What was written, as data, and the text of it: stops, and what of it can be shown already."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

Decode = Callable[[Sequence[int]], str]
"""Ids of one row to text; `Speaker.decode` takes several rows."""

CJK = re.compile(
    "[\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef]|[\U00020000-\U0003ffff]"
)
"""Letters that are words on their own, so that nothing after them changes them."""


@dataclass(frozen=True)
class Written:
    """One text that was written.

    Attributes:
        ids: Its ids, without the prefix and without the end.
        score: Sum of the log-probabilities; for beams divided by length ** length_penalty.
        logprobs: Log-probability of each token, the end included where it was written.
        finished: Whether it ended by itself or at a stop, and not where the length ran out.
        text: The text without the prefix, cut before the stop; None when nothing could decode it.
    """

    ids: list[int]
    score: float
    logprobs: list[float]
    finished: bool
    text: str | None = None


class Piece(NamedTuple):
    """The next piece of a text that is being written.

    Attributes:
        image: Which row of the prompt it belongs to.
        sequence: Which of the row's texts.
        ids: The ids since the piece before.
        text: What they add to the text; empty when nothing can decode it.
        written: The whole, with the last piece of each text; None before.
    """

    image: int
    sequence: int
    ids: list[int]
    text: str
    written: Written | None


@dataclass
class Line:
    """One text while it is being written.

    Attributes:
        ids: Its ids, the end included.
        logprobs: Of each of them.
        finished: Whether it ended at an end or a stop.
        done: Whether nothing more is added to it.
    """

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finished: bool = False
    done: bool = False


@dataclass(frozen=True)
class Ending:
    """Where texts end: at some ids, and before some strings of the decoded text."""

    end_ids: frozenset[int]
    stop: tuple[str, ...] = ()
    decode: Decode | None = None

    def reached(self, ids: Sequence[int]) -> bool:
        """Whether a text ends with the last of these ids."""
        if ids[-1] in self.end_ids:
            return True
        return bool(self.stop) and self._cut(self._text(ids)) is not None

    def written(self, line: Line, score: float) -> Written:
        """Return the finished record of a text."""
        ids = line.ids[:-1] if line.ids and line.ids[-1] in self.end_ids else line.ids
        return Written(ids, score, line.logprobs, line.finished, self.shown(ids))

    def shown(self, ids: Sequence[int]) -> str | None:
        """Return the text of ids up to the first stop."""
        if self.decode is None:
            return None
        text = self._text(ids)
        return text[: self._cut(text)]

    def settled(self, ids: Sequence[int]) -> str:
        """Return what of the text will not change with what is written next.

        That is all up to the last word, which may go on; in scripts without spaces all but a
        letter that has not all its bytes. What could be the beginning of a stop is held back.
        """
        text = (self.shown(ids) or "").rstrip("\ufffd")
        end = len(text)
        if text and not CJK.match(text[-1]):
            gaps = [m.start() for m in re.finditer(r"\s+", text)]
            letters = [m.end() for m in CJK.finditer(text)]
            end = max([0, *gaps[-1:], *letters[-1:]])
        for stop in self.stop:
            for length in range(1, len(stop)):
                if text.endswith(stop[:length]):
                    end = min(end, len(text) - length)
        return text[:end]

    def _text(self, ids: Sequence[int]) -> str:
        return self.decode(ids) if self.decode is not None else ""

    def _cut(self, text: str) -> int | None:
        """Where the first stop begins, None when there is none."""
        found = [place for stop in self.stop if (place := text.find(stop)) >= 0]
        return min(found, default=None)
