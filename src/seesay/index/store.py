"""How a collection lies on disk, how it is checked, and how a new state replaces the old one.

    CURRENT                        which generation counts, and the SHA-256 of its manifest
    generations/000007/
        manifest.json              model, counts, roots; size and SHA-256 of the other files
        vectors.f16                float16 [N, E], little-endian, row i belongs to line i of
        items.jsonl                one picture a line, sorted by path
        failed.jsonl               files that could not be read as pictures, and why
    journal                        encodings finished but not published yet (see journal.py)
    lock                           held by the one writer

A generation never changes. A new one is written under a temporary name, flushed to the disk,
renamed, and only then does CURRENT move, in one step. So a reader sees the old state or the new
one, and whatever moment a writer dies at, the old one stays. CURRENT seals the manifest and the
manifest seals the rest: nothing is mapped or believed before it was checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seesay.errors import IndexDamaged, StorageError
from seesay.index.items import Item

FORMAT = 1
OWN = {"CURRENT", "CURRENT.new", "generations", "journal", "lock"}
"""Everything that is written into the folder of a collection."""
_POINTER = re.compile(rb"seesay-index (\d{1,4}) (\d{6,12}) ([0-9a-f]{64})\n")
_GENERATION = re.compile(r"\d{6,12}|draft")
_FILES = ("vectors.f16", "items.jsonl", "failed.jsonl")


class Pointer(NamedTuple):
    """What CURRENT says."""

    generation: int
    sha256: str


@dataclass(frozen=True)
class Root:
    """A folder whose pictures are in the collection."""

    path: str
    recursive: bool


@dataclass(frozen=True)
class ModelRef:
    """Which model made the vectors."""

    name: str
    fingerprint: str
    revision: str | None = None


@dataclass(frozen=True)
class State:
    """Everything about a generation but its rows.

    Attributes:
        model: What the vectors were made with.
        decoder: The software that read the pictures; another one retries those that failed.
        roots: The folders that were added.
    """

    model: ModelRef
    decoder: str = ""
    roots: tuple[Root, ...] = ()


class Generation:
    """One verified, immutable state of a collection, open for reading.

    Attributes:
        pointer: Its number, which counts up with every change, and the digest of its manifest.
        state: Model, roots.
        vectors: float16 [N, E], mapped from the file.
    """

    def __init__(
        self,
        pointer: Pointer,
        state: State,
        vectors: NDArray[np.float16],
        items: bytes,
        failed: bytes,
        base: str,
    ) -> None:
        self.pointer = pointer
        self.state = state
        self.vectors = vectors
        self._items = items
        self._failed = failed
        self._base = base
        ends = np.flatnonzero(np.frombuffer(items, np.uint8) == 10)
        self._starts = np.concatenate([np.zeros(1, ends.dtype), ends + 1])

    def __len__(self) -> int:
        return len(self._starts) - 1

    def item(self, row: int) -> Item:
        """Read the item of one row."""
        start, end = int(self._starts[row]), int(self._starts[row + 1])
        with _damage(self._base, "items.jsonl"):
            return Item.from_line(self._items[start:end], self._base)

    def items(self) -> list[Item]:
        """Read all items, in row order."""
        with _damage(self._base, "items.jsonl"):
            return [Item.from_line(line, self._base) for line in self._items.splitlines()]

    def failed(self) -> list[Item]:
        """Read the files that could not be encoded."""
        with _damage(self._base, "failed.jsonl"):
            return [Item.from_line(line, self._base) for line in self._failed.splitlines()]


def base_of(folder: Path) -> str:
    """The folder stored paths are relative to: the one the index lies in."""
    return os.path.dirname(os.path.abspath(folder))


def is_index(folder: Path) -> bool:
    """Whether there is a collection at this path, whole or damaged, and not just files like its.

    Either CURRENT says so, or there is nothing but what a collection consists of.
    """
    try:
        with open(folder / "CURRENT", "rb") as file:
            if _POINTER.fullmatch(file.read(200)):
                return True
    except OSError:
        pass  # damaged, or none
    try:
        inside = os.listdir(folder / "generations")
    except OSError:
        return False
    return not strangers(folder) and all(_GENERATION.fullmatch(name) for name in inside)


def strangers(folder: Path) -> list[str]:
    """Return what lies in the folder of a collection and is no part of it."""
    return sorted(set(os.listdir(folder)) - OWN)


def open_current(folder: Path) -> Generation:
    """Check and open the newest generation.

    Raises:
        IndexDamaged: A file is missing, cut short or altered, or this is no index.
        StorageError: A file may not be read.
    """
    while True:
        pointer = read_pointer(folder)
        try:
            return _open(folder, pointer)
        except IndexDamaged:
            # a writer may have replaced and removed this generation between our two steps
            if read_pointer(folder) == pointer:
                raise


def read_pointer(folder: Path) -> Pointer:
    """Read which generation counts.

    Raises:
        IndexDamaged: CURRENT is missing or altered, or this is no index.
    """
    if not is_index(folder):
        raise IndexDamaged(f"{folder} is not an index", "make one with: seesay index DIR --out ...")
    with _reading(folder, "CURRENT") as file:
        content = file.read(200)
    match = _POINTER.fullmatch(content)
    if match is None:
        raise _damaged(folder, "CURRENT is not what was written")
    if int(match[1]) != FORMAT:
        raise IndexDamaged(
            f"{folder} has format {int(match[1])}, this seesay reads {FORMAT}",
            "install a newer seesay, or index again",
        )
    return Pointer(int(match[2]), match[3].decode())


def _open(folder: Path, pointer: Pointer) -> Generation:
    place = folder / "generations" / f"{pointer.generation:06d}"
    with _reading(place, "manifest.json") as file:
        text = file.read()
    if hashlib.sha256(text).hexdigest() != pointer.sha256:
        raise _damaged(place, "manifest.json is not what was written")
    with _damage(place, "manifest.json"):
        manifest = json.loads(text)
        seals = {name: manifest["files"][name] for name in _FILES}
        count, width = int(manifest["count"]), int(manifest["width"])
        base = base_of(folder)
        state = State(
            model=ModelRef(**manifest["model"]),
            decoder=str(manifest["decoder"]),
            roots=tuple(
                Root(
                    os.path.abspath(os.path.join(base, str(root["path"]))), bool(root["recursive"])
                )
                for root in manifest["roots"]
            ),
        )
        fits = count >= 0 and width >= 0 and seals["vectors.f16"]["size"] == count * width * 2
        if not fits:
            raise ValueError("the counts do not fit the files")
    # all files are open before the first is checked: from here on a writer cannot take them away
    with (
        _reading(place, "vectors.f16") as vectors_file,
        _reading(place, "items.jsonl") as items_file,
        _reading(place, "failed.jsonl") as failed_file,
    ):
        _verify(place, "vectors.f16", seals, vectors_file)
        _verify(place, "items.jsonl", seals, items_file)
        _verify(place, "failed.jsonl", seals, failed_file)
        vectors: NDArray[np.float16] = np.zeros((count, width), "<f2")
        if vectors.size:
            # copy-on-write: nothing written through this mapping ever reaches the file
            vectors = np.memmap(vectors_file, "<f2", mode="c", shape=(count, width))
        items, failed = items_file.read(), failed_file.read()
    generation = Generation(pointer, state, vectors, items, failed, base)
    if len(generation) != count:
        raise _damaged(place, "items.jsonl does not fit vectors.f16")
    return generation


def _verify(place: Path, name: str, seals: dict[str, Any], file: BufferedReader) -> None:
    """Compare size and digest, and rewind."""
    with _damage(place, "manifest.json"):
        size, digest = int(seals[name]["size"]), str(seals[name]["sha256"])
    found = os.fstat(file.fileno()).st_size
    if found != size:
        raise _damaged(place, f"{name} has {found} bytes instead of {size}")
    try:
        altered = hashlib.file_digest(file, "sha256").hexdigest() != digest
    except OSError as error:
        raise StorageError(f"{place / name}: {error.strerror}") from None
    if altered:
        raise _damaged(place, f"{name} is not what was written")
    file.seek(0)


# -- errors --------------------------------------------------------------------------------------


def _damaged(place: Path | str, what: str) -> IndexDamaged:
    return IndexDamaged(
        f"{place}: {what}", "restore it from a copy, or index again with --overwrite"
    )


@contextmanager
def _damage(place: Path | str, name: str) -> Iterator[None]:
    """Report anything that does not parse as damage: a seal proves no good intentions."""
    try:
        yield
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(place, f"{name} cannot be understood ({error})") from None


@contextmanager
def _reading(place: Path, name: str) -> Iterator[BufferedReader]:
    path = place / name
    try:
        file = open(path, "rb")  # noqa: SIM115
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise _damaged(place, f"{name} is missing") from None
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None
    with file:
        yield file
