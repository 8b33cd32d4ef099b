"""A model whose vectors are looked up, and datasets of files made on the spot.

A picture is a file whose name stands in the table; one that begins with "bad" is no picture.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image
from torch import nn

from seesay.data.record import Dataset, Record
from seesay.errors import InputError
from seesay.model import ImageChunk


class TableModel:
    name, fingerprint, revision, decode = "table", "fingerprint-of-table", None, "exact"
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(
        self, images: Mapping[str, Sequence[float]], texts: Mapping[str, Sequence[float]]
    ) -> None:
        self.images = {name: unit(row) for name, row in images.items()}
        self.strings = {text: unit(row) for text, row in texts.items()}
        self.module = nn.Dropout()
        self.family = SimpleNamespace(name="table", prompt_sets=lambda: {"none": ["{}"]})
        self.processor = SimpleNamespace(texts=self._tokens, settings=lambda: {"size": [8, 8]})

    def _tokens(self, texts: Sequence[str]) -> Any:
        """Characters are tokens, 32 at most."""
        ids = torch.zeros(len(texts), 32, dtype=torch.int64)
        for i, text in enumerate(texts):
            row = [ord(char) for char in text[:32]]
            ids[i, : len(row)] = torch.tensor(row)
        return SimpleNamespace(ids=ids)

    def stream_images(self, images: Sequence[Any], *, batch_size: int) -> Iterator[ImageChunk]:
        for start in range(0, len(images), batch_size):
            rows, failures = [], {}
            for i in range(start, min(start + batch_size, len(images))):
                name = os.path.basename(str(images[i]))
                if name.startswith("bad"):
                    failures[i] = InputError(f"{images[i]}: cannot be decoded")
                width = len(next(iter(self.images.values())))
                rows.append(self.images.get(name, torch.full((width,), torch.nan)))
            yield ImageChunk(start, torch.stack(rows), failures)

    def embed_texts(self, texts: Sequence[str], *, batch_size: int = 256) -> torch.Tensor:
        return torch.stack([self.strings[text] for text in texts])


def unit(row: Sequence[float]) -> torch.Tensor:
    vector = torch.tensor(row, dtype=torch.float32)
    return vector / vector.norm().clamp_min(1e-12)


def dataset(
    folder: Path,
    rows: Sequence[tuple[str, Sequence[str]] | tuple[str, Sequence[str], int | None]],
    *,
    classes: tuple[str, ...] | None = None,
) -> Dataset:
    """Records of (file name, captions, label); a picture of each name is written."""
    records = []
    for i, (name, texts, *label) in enumerate(rows):
        if not name.startswith("bad"):
            shade = 40 + 10 * i % 200
            Image.new("RGB", (32, 24), (shade, 90, 200 - shade)).save(folder / name)
        records.append(
            Record(str(folder / name), tuple(texts), label[0] if label else None, name, f"list:{i}")
        )
    return Dataset("list", records, form="csv", root=str(folder), classes=classes)
