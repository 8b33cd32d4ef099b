"""Telling the contents of files apart: by what the file system says, and by a hash."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import NamedTuple

from seesay.errors import InputError
from seesay.processing.image import MAX_BYTES

SETTLED_NS = 2_000_000_000
"""How old a change must be before its time identifies it: file systems count in up to 2 s."""


class Found(NamedTuple):
    """A file as the folder lists it."""

    path: str
    size: int
    mtime_ns: int


class Contents(NamedTuple):
    """A file as it was read.

    `mtime_ns` is 0 when it is so recent that another change might bear the same time.
    """

    sha256: str
    size: int
    mtime_ns: int


def look(path: str) -> Found | None:
    """Return what the file system says of a file; None when there is no such file."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):  # not ours to read, or no possible name: it may well be there
        return Found(path, -1, 0)
    return Found(path, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def read(path: str) -> tuple[bytes, Contents]:
    """Read a file whole and identify its contents.

    Raises:
        InputError: It cannot be read, or is too large to be a picture; without the file's name.
    """
    try:
        with open(path, "rb") as file:
            before = os.fstat(file.fileno())
            if before.st_size > MAX_BYTES:
                megabytes, limit = before.st_size / 1e6, MAX_BYTES / 1e6
                raise InputError(f"has {megabytes:.0f} MB, more than the {limit:.0f} allowed")
            data = file.read()
            after = os.fstat(file.fileno())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}") from None
    settled = (
        before.st_mtime_ns == after.st_mtime_ns
        and len(data) == after.st_size
        and time.time_ns() - after.st_mtime_ns > SETTLED_NS
    )
    digest = hashlib.sha256(data).hexdigest()
    return data, Contents(digest, len(data), after.st_mtime_ns if settled else 0)
