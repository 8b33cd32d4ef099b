"""What CapFilt has found out so far, picture by picture: what a killed run does not lose.

An append-only file. Its first line says what the results depend on; every further one is what
became of the next picture of the dataset, so the number of lines is where to go on. Each line has a
checksum, and what comes after a damaged one is done again. Thresholds are no part of it: captions
are chosen when the files are written, and can be chosen again without asking a model.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from seesay.errors import StorageError, UsageError

Origin = Literal["web", "synthetic", "human"]
"""Who wrote a caption: whoever published the picture, the captioner, or an annotator."""


class Judged(NamedTuple):
    """A caption, and what the judge says of it.

    Attributes:
        source: Who wrote it.
        text: The caption.
        score: A probability or a similarity. None for those that were not judged: empty, not UTF-8,
            or the picture has the same one already.
    """

    source: Origin
    text: str
    score: float | None


class Seen(NamedTuple):
    """What became of a picture: its captions, or why it was skipped."""

    captions: tuple[Judged, ...]
    skipped: str | None = None


class Journal:
    """The journal of one output folder, open for writing by this process alone.

    Args:
        path: The file; made when it is not there.
        depends: What decides the results, as JSON. A journal with others is not gone on with.

    Attributes:
        done: How many pictures it has.

    Raises:
        UsageError: The journal there is of other data, models or settings.
        StorageError: It cannot be written, or another process is writing it.
    """

    def __init__(self, path: Path, depends: Mapping[str, Any]) -> None:
        import fcntl  # POSIX alone

        self.path = path
        self.done = 0
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise StorageError(
                f"{path.parent} is being written by another process", "wait until it ends"
            ) from None
        try:
            self._recover(json.loads(json.dumps(depends)))
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def append(self, pictures: Sequence[Seen]) -> None:
        """Add what became of the next pictures.

        Raises:
            StorageError: The disk is full, or refuses.
        """
        lines = ({"captions": seen.captions, "skipped": seen.skipped} for seen in pictures)
        self._write(b"".join(map(_line, lines)))
        self.done += len(pictures)

    def __iter__(self) -> Iterator[Seen]:
        """Read every picture again."""
        with open(self.path, "rb") as file:
            file.readline()
            for line in file:
                told = _content(line)
                yield Seen(tuple(Judged(*c) for c in told["captions"]), told["skipped"])

    def _write(self, data: bytes) -> None:
        with storing(self.path):
            left = memoryview(data)
            while left:
                left = left[os.write(self._file, left) :]

    def _recover(self, depends: dict[str, Any]) -> None:
        """Count the pictures an earlier run left, and cut off what it did not finish."""
        whole = 0
        with open(self.path, "rb") as file:
            for number, line in enumerate(file):
                told = _content(line)
                if number == 0 and line.endswith(b"\n"):
                    _compare(self.path, told, depends)
                if told is None:
                    break
                whole += len(line)
                self.done = number
        with storing(self.path):
            os.ftruncate(self._file, whole)
        if not whole:
            self._write(_line(depends))


@contextmanager
def storing(place: Path) -> Iterator[None]:
    """Turn what the file system refuses into one error that names it."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{place} cannot be written: {error.strerror or error}",
            "free some space and run the same command again: it goes on where it was",
        ) from None


def _compare(path: Path, found: Any, wanted: Mapping[str, Any]) -> None:
    if not isinstance(found, dict):
        raise UsageError(f"{path} is something else", "choose another folder")
    other = [name for name in wanted if found.get(name) != wanted[name]]
    if other:
        raise UsageError(
            f"{path.parent} was begun with other {', '.join(other)}",
            f"choose another folder, or delete {path} to begin anew",
        )


def _line(told: Any) -> bytes:
    text = json.dumps(told, sort_keys=True).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _content(line: bytes) -> Any:
    """What a line says; None when it is not whole."""
    told, _, text = line.removesuffix(b"\n").partition(b" ")
    whole = line.endswith(b"\n") and told == b"%08x" % zlib.crc32(text)
    return json.loads(text) if whole else None
