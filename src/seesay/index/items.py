"""What a collection remembers of one picture, and how that is written down.

A file name on disk is bytes, not text. In memory it is a string whose undecodable bytes became
lone surrogates (`os.fsdecode`), in the index it is JSON with everything beyond ASCII escaped, so
both directions are exact; `seesay.names` is for output that must be valid UTF-8.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Item:
    """One file.

    Attributes:
        path: Absolute.
        sha256: Hex digest of the contents; empty when they could not be read.
        size: Bytes.
        mtime_ns: Time of the last change; 0 when it says nothing about the contents, because they
            were read so soon after it that a second change might bear the same time.
        pixels: Width and height of the upright picture.
        reason: Why the file has no vector, None when it has one.
    """

    path: str
    sha256: str
    size: int
    mtime_ns: int
    pixels: tuple[int, int] = (0, 0)
    reason: str | None = None

    def to_line(self, base: str) -> bytes:
        """Write one JSON line; paths below `base` are relative to it, so both can move together."""
        record = {
            "path": relative(self.path, base),
            "sha256": self.sha256,
            "size": self.size,
            "mtime_ns": self.mtime_ns,
            "pixels": self.pixels,
        }
        if self.reason is not None:
            record["reason"] = self.reason
        return json.dumps(record).encode("ascii") + b"\n"

    @classmethod
    def from_line(cls, line: bytes, base: str) -> Item:
        """Read what `to_line` wrote.

        Raises:
            ValueError: The line is something else.
        """
        record = json.loads(line)
        try:
            width, height = record["pixels"]
            return cls(
                path=os.path.join(base, str(record["path"])),
                sha256=str(record["sha256"]),
                size=int(record["size"]),
                mtime_ns=int(record["mtime_ns"]),
                pixels=(int(width), int(height)),
                reason=None if record.get("reason") is None else str(record["reason"]),
            )
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"not an item: {error}") from None


@dataclass(frozen=True)
class Hit:
    """One result of a search.

    Attributes:
        rank: 1 for the best.
        score: Cosine similarity of the query and the picture; after re-ranking, the probability
            that the text describes it.
        path: Absolute.
        size: Width and height of the picture in pixels.
        cosine: The similarity where `score` is the probability, else None.
    """

    rank: int
    score: float
    path: str
    size: tuple[int, int]
    cosine: float | None = None


def relative(path: str, base: str) -> str:
    """Return `path` relative to `base` when it lies below or is the same, else unchanged."""
    if path == base:
        return "."
    prefix = os.path.join(base, "")
    return path[len(prefix) :] if path.startswith(prefix) else path
