"""Where the collection of a folder is kept when the user does not say."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from seesay.index.store import is_index


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
