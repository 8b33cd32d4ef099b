"""A video as some of its frames. Frames are pictures in a folder: nothing here decodes video."""

from __future__ import annotations

import os
import re
from pathlib import Path

from seesay.errors import UsageError


def frames_of(folder: str | os.PathLike[str], count: int = 8) -> tuple[str, ...]:
    """Return the paths of frames of one video, evenly spaced.

    Each is the middle one of `count` equal parts. Names are sorted as people count, frame9 before
    frame10; `ffmpeg -i clip.mp4 -vf fps=2 clip/%d.jpg` writes such a folder.

    Args:
        folder: Holds the frames, in itself and not in folders below.
        count: How many to take; all, where there are fewer.

    Raises:
        UsageError: There is no such folder, no picture in it, or `count` is no number of frames.
    """
    from seesay.processing.folder import walk

    if count < 1:
        raise UsageError(f"frames={count} is not a number of frames", "8 is what is usual")
    if not os.path.isdir(folder):
        raise UsageError(
            f"{os.fspath(folder)} is not a folder of frames",
            "write the frames of the video into one: ffmpeg -i clip.mp4 -vf fps=2 clip/%d.jpg",
        )
    paths = sorted(walk(folder, recursive=False), key=_as_counted)
    if not paths:
        raise UsageError(f"{os.fspath(folder)} holds no images")
    taken = min(count, len(paths))
    return tuple(paths[(2 * i + 1) * len(paths) // (2 * taken)] for i in range(taken))


def _as_counted(path: str) -> list[tuple[int, str]]:
    """A key that sorts runs of digits by their value."""
    parts = re.split(r"([0-9]+)", Path(path).name)
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]
