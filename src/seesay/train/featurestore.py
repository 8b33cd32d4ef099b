"""Rows of features on disk, found by the key of what they were made from.

A store is a folder with two files. rows.bin has one record a row: 16 bytes of key, then the
features in half precision. journal.jsonl tells, block by block, which of them are good: a block is
written and flushed first, and then its line, with a checksum of its bytes. So whatever kills the
writer, the store is what the journal says; and a block that does not have its checksum any more is
as good as missing.
"""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seesay.errors import StorageError

ROWS, JOURNAL = "rows.bin", "journal.jsonl"
FORMAT = 1
KEY = "S16"
Keys = NDArray[np.bytes_]
_log = logging.getLogger("seesay")


class Block(NamedTuple):
    """Consecutive rows that were written together."""

    start: int
    rows: int
    crc: int


class FeatureStore:
    """An append-only store. One process at a time may append; any number may read.

    Args:
        folder: Made when it is not there.
        width: Of a row of features.

    Raises:
        StorageError: The folder cannot be read or made.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self.folder = folder
        self.width = width
        self._record = np.dtype([("key", KEY), ("features", "<f2", (width,))])
        try:
            folder.mkdir(parents=True, exist_ok=True)
            told, self._whole = self._read_journal()
            self._map()
        except OSError as error:
            raise StorageError(f"{folder} cannot be read ({error.strerror})") from None
        with ThreadPoolExecutor(max_workers=4) as pool:
            sound = list(pool.map(self._is_sound, told))
        self._blocks = [block for block, good in zip(told, sound, strict=True) if good]
        lost = sum(block.rows for block in told) - len(self)
        if lost:
            _log.warning("%s: %d rows are damaged and will be computed again", folder, lost)
        self._whole = self._whole and not lost
        self._sorted: Keys | None = None
        self._places = np.empty(0, np.int64)

    def __len__(self) -> int:
        return sum(block.rows for block in self._blocks)

    def find(self, keys: Keys) -> NDArray[np.int64]:
        """Return where each key's row is, -1 for keys that have none."""
        if self._sorted is None:
            self._sorted = self._index()
        if not len(self._sorted):
            return np.full(len(keys), -1)
        at = np.searchsorted(self._sorted, keys).clip(max=len(self._sorted) - 1)
        return np.where(self._sorted[at] == keys, self._places[at], -1)

    def read(self, places: NDArray[np.int64]) -> NDArray[np.float16]:
        """Return the features of rows that `find` found, [B, D]."""
        found: NDArray[np.float16] = self._rows["features"][places]
        return found

    def append(self, keys: Keys, features: NDArray[np.float16]) -> None:
        """Add a block of rows; once this returns they survive whatever happens.

        Raises:
            StorageError: The disk is full or fails; what was there before is still there.
        """
        records = np.empty(len(keys), self._record)
        records["key"], records["features"] = keys, features
        data = records.tobytes()
        start = max((block.start + block.rows for block in self._blocks), default=0)
        block = Block(start, len(keys), zlib.crc32(data))
        try:
            if not self._whole:
                self._rewrite_journal()
            _write_at(self.folder / ROWS, start * self._record.itemsize, data)
            journal = self.folder / JOURNAL
            _write_at(journal, journal.stat().st_size, _line(block._asdict()))
            self._blocks.append(block)
            self._map()
        except OSError as error:
            raise StorageError(
                f"{self.folder} cannot be written ({error.strerror})",
                "is the disk full? what was computed before is kept",
            ) from None
        self._sorted = None

    def _read_journal(self) -> tuple[list[Block], bool]:
        """Return the blocks the journal tells of, up to the first line that is not one.

        And whether that is all of it; otherwise it is written anew before it grows.
        """
        path = self.folder / JOURNAL
        lines = path.read_bytes().split(b"\n") if path.is_file() else [b""]
        whole = lines.pop() == b""
        blocks = []
        try:
            if not lines or json.loads(lines[0]) != self._header():
                raise ValueError("another store")
            for line in lines[1:]:
                block = Block(**json.loads(line))
                if not all(type(n) is int and n >= 0 for n in block):
                    raise ValueError(line)
                blocks.append(block)
        except (ValueError, TypeError):
            whole = False
        if path.is_file() and not whole:
            _log.warning("%s is damaged: rows it does not tell of will be computed again", path)
        return blocks, whole

    def _rewrite_journal(self) -> None:
        """Write a journal of the sound blocks alone and put it in the old one's place."""
        lines = [_line(self._header()), *(_line(block._asdict()) for block in self._blocks)]
        partial = self.folder / f"{JOURNAL}.partial"
        partial.unlink(missing_ok=True)
        _write_at(partial, 0, b"".join(lines))
        partial.replace(self.folder / JOURNAL)
        self._whole = True

    def _header(self) -> dict[str, int]:
        return {"format": FORMAT, "width": self.width}

    def _map(self) -> None:
        """Map the rows into memory; nothing is read before it is asked for."""
        path, size = self.folder / ROWS, self._record.itemsize
        count = path.stat().st_size // size if path.is_file() else 0
        self._bytes = (
            np.memmap(path, "u1", "r", shape=(count * size,)) if count else np.empty(0, "u1")
        )
        self._rows: NDArray[Any] = self._bytes.view(self._record)

    def _is_sound(self, block: Block) -> bool:
        size = self._record.itemsize
        data = self._bytes[block.start * size : (block.start + block.rows) * size]
        return len(data) == block.rows * size and zlib.crc32(data.data) == block.crc

    def _index(self) -> Keys:
        """Return the keys of all sound rows in order; `_places` then says where each row is."""
        spans = [np.arange(block.start, block.start + block.rows) for block in self._blocks]
        places = np.concatenate(spans) if spans else np.empty(0, np.int64)
        keys = self._rows["key"][places]
        order = np.argsort(keys, kind="stable")
        self._places = places[order]
        found: Keys = keys[order]
        return found


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let one process at a time do what follows with a folder; the others wait.

    The kernel lets the next one in when a process ends, however it ends.

    Raises:
        StorageError: The folder cannot be written.
    """
    import fcntl  # POSIX alone; so is training on several processes

    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written ({error.strerror})") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.info("another process is computing features in %s: waiting for it", folder)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _line(told: dict[str, int]) -> bytes:
    return json.dumps(told).encode() + b"\n"


def _write_at(path: Path, offset: int, data: bytes) -> None:
    """Write and flush; when that fails, leave the file as long as `offset`."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        left, at = memoryview(data), offset
        while left:
            done = os.pwrite(handle, left, at)
            left, at = left[done:], at + done
        os.fsync(handle)
    except OSError:
        with suppress(OSError):
            os.ftruncate(handle, offset)
        raise
    finally:
        os.close(handle)
