"""Finding the pictures of a folder.

What a walk finds: regular files, also behind symbolic links, whose name ends like a picture's. Not
entered: hidden folders, and folders behind symbolic links (so no link can make the walk go round).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from seesay.processing.image import SUFFIXES


def walk(
    folder: str | os.PathLike[str], *, recursive: bool = True, locked: list[str] | None = None
) -> Iterator[str]:
    """List the pictures in a folder, sorted by the bytes of their names, folder by folder.

    Args:
        folder: Where to begin; given by the user, so it may itself be hidden or a link.
        recursive: Whether to enter folders.
        locked: Folders that may not be read are appended here.
    """
    pending = [os.fspath(folder)]
    while pending:
        place = pending.pop()
        try:
            with os.scandir(place) as listing:
                entries = sorted(listing, key=lambda entry: os.fsencode(entry.name))
        except OSError:
            if locked is not None:
                locked.append(place)
            continue
        below = []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
                elif entry.name.lower().endswith(SUFFIXES) and entry.is_file():
                    yield entry.path
            except OSError:
                continue  # it vanished, or its link goes round
        pending += reversed(below) if recursive else []
