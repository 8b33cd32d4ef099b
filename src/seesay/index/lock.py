"""One writer at a time: an advisory lock on a file of the collection's folder."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType

from seesay.errors import StorageError


class WriterLock:
    """Hold `folder/lock` while writing. The kernel frees it when the process ends, however it ends.

    Readers need no lock: what they have opened is never changed, and stays readable until they
    close it even when a newer generation replaced it.

    Raises:
        StorageError: Another writer holds it; the message says which process.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._file = -1

    def __enter__(self) -> WriterLock:
        import fcntl  # POSIX alone; searching works without

        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._file, 1000, 0)
            os.close(self._file)
            raise StorageError(
                f"{self._path.parent} is being written by {_describe(holder)}",
                "wait until it ends, or end it: what it has encoded is kept",
            ) from None
        note = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, json.dumps(note).encode(), 0)
        except OSError:
            pass  # the note helps whoever waits; a full disk does not matter to the lock
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._file)


def _describe(holder: bytes) -> str:
    """Say who wrote the note in the lock file, if it can be read."""
    try:
        note = json.loads(holder)
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(note["since"])))
        return f"process {int(note['pid'])} on {note['host']!s} since {since}"
    except (ValueError, TypeError, KeyError, OverflowError, OSError):
        return "another process"
