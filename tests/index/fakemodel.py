"""A model that costs nothing: the vector of a picture follows from its bytes.

A file that begins with "bad" is no picture to it. A text has the vector of the picture with the
same bytes, so a search for a file's contents must find that file with a score of one.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seesay.errors import InputError
from seesay.model import ImageChunk

WIDTH = 16


def vector(data: bytes) -> torch.Tensor:
    seed = int.from_bytes(hashlib.sha256(data).digest()[:8], "little")
    row = np.random.default_rng(seed).standard_normal(WIDTH)
    return torch.from_numpy(row / np.linalg.norm(row)).float()


class FakeModel:
    revision = None

    def __init__(self, name: str = "fake", pause: float = 0.0, batch_size: int = 4) -> None:
        self.name = name
        self.fingerprint = f"fingerprint-of-{name}"
        self.encoded: list[bytes] = []
        self._pause = pause
        self._batch_size = batch_size

    def stream_images(self, images: Sequence[Any], *, batch_size: int = 0) -> Iterator[ImageChunk]:
        size = batch_size or self._batch_size
        for start in range(0, len(images), size):
            rows, failures = [], {}
            for i in range(start, min(start + size, len(images))):
                row = torch.full((WIDTH,), torch.nan)
                try:
                    data = images[i]
                    if isinstance(data, (str, os.PathLike)):
                        with open(data, "rb") as file:
                            data = file.read()
                    if data.startswith(b"bad"):
                        raise InputError(f"image {i}: is not an image")
                    row = vector(data)
                    self.encoded.append(data)
                except InputError as error:
                    failures[i] = error
                rows.append(row)
            time.sleep(self._pause)
            yield ImageChunk(start, torch.stack(rows), failures)

    def embed_images(self, images: Any) -> torch.Tensor:
        given = images if isinstance(images, (list, tuple)) else [images]
        return torch.cat([chunk.vectors for chunk in self.stream_images(given)])

    def embed_texts(self, texts: Any) -> torch.Tensor:
        given = [texts] if isinstance(texts, str) else texts
        return torch.stack([vector(text.encode()) for text in given])


def write(folder: Path, **files: str) -> None:
    for name, content in files.items():
        path = folder / f"{name.replace('__', '/')}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
