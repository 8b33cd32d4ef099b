"""Records to draw, and a model that counts what goes through its frozen towers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from contract.probes import build, picture
from seesay.data.record import Cell, Dataset, Member, Record
from seesay.model import Model
from seesay.train.caches import Features, cached_features
from seesay.train.freeze import freeze
from seesay.train.reach import chosen

HALF = 2e-3
"""How far features in half precision are from the exact ones, relatively."""


def record(path: Path | Member | Cell, texts: Sequence[str] = (), row: int = 0) -> Record:
    image = str(path) if isinstance(path, Path) else path
    return Record(image, tuple(texts), None, "", f"made:{row}")


def draw(folder: Path, count: int, first: int = 0) -> list[Record]:
    """Pictures that settled long ago, with none to three captions each."""
    folder.mkdir(exist_ok=True)
    records = []
    for i in range(first, first + count):
        path = folder / f"{i}.png"
        picture(20 + i, 30, seed=i).save(path)
        os.utime(path, (1e9, 1e9))
        texts = [f"{'very ' * (i % 3)}small thing {i} {j}" for j in range(i % 4)]
        records.append(record(path, texts, i))
    return records


def dataset(records: Sequence[Record], **options: Any) -> Dataset:
    return Dataset("made", records, form="made", **options)


class Counted:
    """A model with frozen towers, and how many pictures and texts went through them."""

    def __init__(self, folder: Path, name: str = "clip-tiny", **options: Any) -> None:
        self.model = build(name)
        self.model.module.requires_grad_(True)
        freeze(self.model.module, chosen(self.model, ["image", "text"]))
        self.folder, self.options = folder, {"batch_size": 4, **options}
        self.seen: list[tuple[int, int]] = []

    def __call__(self, data: Dataset, tower: Any = "image", **options: Any) -> Features:
        self.seen = []
        return cached_features(
            self.model,
            data,
            tower,
            self.folder,
            progress=lambda done, total: self.seen.append((done, total)),
            **(self.options | options),
        )

    @property
    def computed(self) -> int:
        return self.seen[-1][0] if self.seen else 0


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert found.dtype == torch.float32
    scale = wanted.abs().max().item()
    torch.testing.assert_close(found, wanted, atol=HALF * scale, rtol=HALF)


def exact(model: Model, data: Dataset, i: int) -> torch.Tensor:
    with torch.no_grad():
        pixels = model.processor.images([data.picture(i)])
        return model.module.pool_image(pixels)[0]  # type: ignore[operator,no-any-return]
