"""Where the collection of a folder is kept when the user does not say."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seesay.errors import UsageError
from seesay.index.lock import WriterLock
from seesay.index.publish import storing
from seesay.index.store import is_index, strangers


def place_of(folder: str | os.PathLike[str]) -> Path:
    """Return where the collection of a folder of pictures is, or will be.

    In the folder itself, as `.seesay`: it moves with the pictures, and paths in it are relative.
    Where nothing may be written, in the user's cache.
    """
    inside = Path(folder) / ".seesay"
    if is_index(inside) or os.access(folder, os.W_OK):
        return inside
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    name = hashlib.sha256(os.fsencode(os.path.abspath(folder))).hexdigest()[:20]
    return Path(cache) / "seesay" / "indexes" / name


@contextmanager
def rebuilt(place: Path) -> Iterator[Path]:
    """Give a place beside an index to build a new one at, then put that in the old one's place.

    The old index stays as it is until the new one is finished, and when that fails. A rebuilding
    that was killed is continued by the next.

    Raises:
        UsageError: The folder holds other things than an index, which are not ours to remove.
        StorageError: Somebody is writing to the old index, or the disk refuses.
    """
    foreign = strangers(place)
    if foreign:
        raise UsageError(f"{place} also holds {foreign[0]!r}", "take it out, or use another --out")
    draft = place.with_name(place.name + ".new")
    with WriterLock(place):
        yield draft
        old = place.with_name(place.name + ".old")
        with storing(place):
            place.rename(old)
            draft.rename(place)
        shutil.rmtree(old, ignore_errors=True)
