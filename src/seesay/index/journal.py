"""Encodings that are finished but not published: what a killed indexing does not lose.

An append-only file of records (SHA-256 of the picture's bytes, its size in pixels, its vector, a
checksum) behind one header line that names the model. Being keyed by content it is right whatever
happened to the files since. A damaged record is dropped, which costs one encoding.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seesay.index.publish import storing


class Journal:
    """The journal of one index, open for writing. Only the holder of the lock may have one.

    Args:
        folder: The index.
        fingerprint: Of the model; the encodings of another are worthless and dropped.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._folder = folder
        self._path = folder / "journal"
        self._fingerprint = fingerprint
        self._records: dict[str, int] = {}
        self._pixels: dict[str, tuple[int, int]] = {}
        self._header = b""
        self._dtype: np.dtype[Any] | None = None
        with storing(folder):
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o666)
            self._recover()

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._records

    def __iter__(self) -> Any:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    @property
    def width(self) -> int:
        """Of the vectors; 0 while there are none."""
        return int(self._dtype["vector"].shape[0]) if self._dtype else 0

    def row(self, sha256: str) -> int:
        """Where a picture's vector is, for `vectors`."""
        return self._records[sha256]

    def pixels(self, sha256: str) -> tuple[int, int]:
        """Width and height of a picture."""
        return self._pixels[sha256]

    def append(
        self, digests: list[str], pixels: list[tuple[int, int]], vectors: NDArray[np.float16]
    ) -> None:
        """Keep the vectors [n, E] of n pictures.

        Raises:
            StorageError: The disk is full, or refuses.
        """
        with storing(self._folder):
            if self._dtype is None:
                self._begin(vectors.shape[1])
            assert self._dtype is not None
            records = np.zeros(len(digests), self._dtype)
            records["sha256"] = [bytes.fromhex(digest) for digest in digests]
            records["pixels"] = pixels
            records["vector"] = vectors
            for record in records:
                record["checksum"] = _checksum(record.tobytes())
            first = (os.fstat(self._file).st_size - len(self._header)) // self._dtype.itemsize
            data = memoryview(records.tobytes())
            while data:
                data = data[os.write(self._file, data) :]
        for i, digest in enumerate(digests):
            self._records[digest] = first + i
            self._pixels[digest] = pixels[i]

    def vectors(self) -> NDArray[np.float16]:
        """Map the vectors [n, E] of all records, also of damaged ones."""
        assert self._dtype is not None
        records = np.memmap(self._path, self._dtype, mode="r", offset=len(self._header))
        vectors: NDArray[np.float16] = records["vector"]
        return vectors

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def clear(self) -> None:
        """Forget everything: it is published."""
        with storing(self._folder):
            self._path.unlink(missing_ok=True)

    def _begin(self, width: int) -> None:
        self._header = _header(self._fingerprint, width)
        self._dtype = _record(width)
        os.ftruncate(self._file, 0)
        os.write(self._file, self._header)

    def _recover(self) -> None:
        """Take over what an earlier run left, and cut off a record it did not finish."""
        length = os.fstat(self._file).st_size
        line, _, _ = os.pread(self._file, 4096, 0).partition(b"\n")
        try:
            width = int(json.loads(line.rpartition(b" ")[0])["width"])
        except (ValueError, KeyError, TypeError):
            width = 0
        header = _header(self._fingerprint, width)
        if not 0 < width < 1 << 20 or os.pread(self._file, len(header), 0) != header:
            os.ftruncate(self._file, 0)
            return
        self._header, self._dtype = header, _record(width)
        count = (length - len(header)) // self._dtype.itemsize
        os.ftruncate(self._file, len(header) + count * self._dtype.itemsize)
        if not count:
            return
        records = np.memmap(self._path, self._dtype, mode="r", offset=len(header))
        for i, record in enumerate(records):
            if _checksum(record.tobytes()) == int(record["checksum"]):
                digest = bytes(record["sha256"].tobytes()).hex()
                self._records[digest] = i
                self._pixels[digest] = (int(record["pixels"][0]), int(record["pixels"][1]))


def _header(fingerprint: str, width: int) -> bytes:
    text = json.dumps({"journal": 1, "fingerprint": fingerprint, "width": width}).encode("ascii")
    return text + b" %08x\n" % zlib.crc32(text)


def _record(width: int) -> np.dtype[Any]:
    fields: list[Any] = [
        ("sha256", "V32"),
        ("pixels", "<u4", (2,)),
        ("vector", "<f2", (width,)),
        ("checksum", "<u4"),
    ]
    return np.dtype(fields)


def _checksum(record: bytes) -> int:
    return zlib.crc32(record[:-4])
