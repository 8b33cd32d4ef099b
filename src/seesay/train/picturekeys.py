"""Keys of pictures by their bytes, without reading the bytes every time.

A file that has the size and the time of its last change that it had when it was read is taken to
hold what it held then. What was read is remembered in one table beside the caches.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seesay.data.record import Cell, Member
from seesay.errors import StorageError
from seesay.index.scan import SETTLED_NS, look
from seesay.train.featurestore import KEY, Keys, alone

if TYPE_CHECKING:
    from seesay.data.record import Dataset

TABLE = "pictures.bin"
CHUNK = 100_000
"""Pictures read between two states of the table."""

_log = logging.getLogger("seesay")


def digest(data: bytes) -> bytes:
    """Return the key of bytes: so long that no two pictures or texts will ever share one."""
    return hashlib.sha256(data).digest()[:16]


def first_of_each(keys: Keys) -> NDArray[np.int64]:
    """Return where each different key is for the first time, in the order of the keys."""
    found: NDArray[np.int64] = np.sort(np.unique(keys, return_index=True)[1])
    return found


def picture_keys(dataset: Dataset, folder: Path) -> Keys:
    """Return the key of every record's picture, [N].

    Args:
        dataset: Pictures in files, in parts of files or in tables; those in tables are read anew.
        folder: Where the table of what was read is kept.

    Raises:
        InputError: A picture cannot be read.
        StorageError: The table cannot be written.
    """
    states = _states(dataset)
    table = _read_table(folder / TABLE)
    named = states != b""
    if not np.isin(states[named], table["state"]).all():
        with alone(folder):
            table = _grow(_read_table(folder / TABLE), dataset, states, folder / TABLE)
    keys = np.zeros(len(dataset), dtype=KEY)
    keys[named] = table["key"][np.searchsorted(table["state"], states[named])]
    keys[~named] = _read(dataset, np.flatnonzero(~named))
    return keys


def _grow(table: NDArray[Any], dataset: Dataset, states: Keys, path: Path) -> NDArray[Any]:
    """Read the pictures whose states the table lacks; return the table with them, and write it."""
    rows = np.flatnonzero((states != b"") & ~np.isin(states, table["state"]))
    rows = rows[first_of_each(states[rows])]
    for start in range(0, len(rows), CHUNK):
        some = rows[start : start + CHUNK]
        added = np.empty(len(some), table.dtype)
        added["state"], added["key"] = states[some], _read(dataset, some)
        table = np.concatenate([table, added])
        table = table[np.argsort(table["state"])]
        _write_table(path, table)
    return table


def _states(dataset: Dataset) -> Keys:
    """Return what tells that a picture has not changed, b"" where nothing does."""
    now = time.time_ns()

    @lru_cache(maxsize=10_000)  # a shard holds many pictures
    def state(path: str) -> bytes:
        found = look(path)
        # a file that changed a moment ago may change again and bear the same time
        settled = found is not None and now - found.mtime_ns > SETTLED_NS
        told = f"{path}\0{found.size}\0{found.mtime_ns}" if found and settled else ""
        return told.encode("utf-8", "surrogatepass")

    states = bytearray()
    for record in dataset:
        image, told = record.image, b""
        if isinstance(image, Member):
            whole = state(image.path)
            told = whole and whole + f"\0{image.offset}\0{image.size}".encode()
        elif not isinstance(image, Cell):
            told = state(image)
        states += digest(told) if told else bytes(16)
    return np.frombuffer(states, KEY)


def _read(dataset: Dataset, rows: NDArray[np.int64]) -> Keys:
    """Return the keys of some pictures from their bytes."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        found = pool.map(lambda row: digest(dataset.image_bytes(row)), rows.tolist())
        return np.frombuffer(b"".join(found), KEY)


def _read_table(path: Path) -> NDArray[Any]:
    """Return the table of states and keys in the order of states; an empty one when it is bad."""
    kind = np.dtype([("state", KEY), ("key", KEY)])
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return np.empty(0, kind)
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror})") from None
    if len(data) % kind.itemsize != 4 or zlib.crc32(data[4:]) != int.from_bytes(data[:4], "big"):
        _log.warning("%s is damaged: all pictures are read again", path)
        return np.empty(0, kind)
    return np.frombuffer(data, kind, offset=4)


def _write_table(path: Path, table: NDArray[Any]) -> None:
    data = table.tobytes()
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(zlib.crc32(data).to_bytes(4, "big") + data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageError(
            f"{path} cannot be written ({error.strerror})", "is the disk full?"
        ) from None
