"""Small datasets that the tests of this folder are made of."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def jpeg(seed: int = 0, size: tuple[int, int] = (40, 30)) -> bytes:
    """An encoded picture that depends on its seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize(size).save(stream, "JPEG")
    return stream.getvalue()


def pictures(folder: Path, *names: str, size: tuple[int, int] = (40, 30)) -> Path:
    """Write different pictures under these names."""
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(seed, size))
    return folder


def write(path: Path, content: str | bytes) -> str:
    """Write a file exactly as given and return its path as users type it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)
