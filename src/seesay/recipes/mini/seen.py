"""What the writer learns to look at, through the frozen image tower, once.

Under WORK/seen/<name>: `maps.npy` [N, P, D] is what `Mini.look` gives of each picture, `pooled.npy`
[N, D'] the trunk's pooled features, `vector.npy` [N, E] the image's vector, `unlike.npy` [N] how
unlike a drawing it is, and `rows.jsonl` what each picture is: a drawing, a scene, or a name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seesay.families.mini.model import STRIDE_16, Mini
from seesay.recipes.mini import composed, drawings
from seesay.recipes.mini.embed import UNSEEN, to_pixels, wanted
from seesay.recipes.mini.render import KINDS, SIZE
from seesay.recipes.mini.sources import EASY, SOURCES

BATCH = 64
SCENE_VENDORS = (
    "noto",
    "twemoji",
    "fluent",
    "fluent-flat",
    "noto-v1",
    "emojione",
    "fxemoji",
    "solid",
)
SCENES = {
    "scenes": (SCENE_VENDORS, False, 16_000),
    "scenes-seen": (SCENE_VENDORS, False, 1_000),
    "scenes-vendor": ((UNSEEN,), False, 1_000),
    "scenes-concept": (SCENE_VENDORS, True, 500),
}
"""Vendors, whether the things are held-out concepts, and how many scenes. All but the first are
for evaluation: new scenes of known drawings, known things by an unseen vendor, unseen things."""


@dataclass
class Seen:
    """One folder of what was looked at; `maps` stays on disk."""

    rows: list[dict[str, Any]]
    maps: np.ndarray
    pooled: np.ndarray
    vector: np.ndarray
    unlike: np.ndarray


def read(work: Path, name: str) -> Seen:
    """Read what was kept under a name."""
    folder = work / "seen" / name
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    pooled, vector, unlike = (np.load(folder / f"{n}.npy") for n in ("pooled", "vector", "unlike"))
    return Seen(rows, np.load(folder / "maps.npy", mmap_mode="r"), pooled, vector, unlike)


def look_at_all(work: Path, model: Mini) -> None:
    """Fill WORK/seen; what is there is not made again."""
    for kind in KINDS:
        for source in (*SOURCES, UNSEEN):
            if wanted(kind, source):
                _keep(work, f"{kind}/{source}", model, partial(_drawn, work, model, kind, source))
    for name in SCENES:
        _keep(work, name, model, partial(_scenes, work, model, name))
    for split in ("train", "test"):
        _keep(work, f"easy-{split}", model, partial(_easy, work, model, split))


Rows = list[dict[str, Any]]
Glance = tuple[Tensor, Tensor]
"""Maps [B, P, D] and pooled features and cells [B, D' + D'' grid^2]."""


def _keep(
    work: Path, name: str, model: Mini, look: Callable[[], tuple[Rows, Iterator[Glance]]]
) -> None:
    folder = work / "seen" / name
    if (folder / "rows.jsonl").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rows, glances = look()
    maps, pooled, vectors, unlike = [], [], [], []
    with torch.inference_mode():
        for found, features in glances:
            maps.append(found.half().numpy())
            pooled.append(features[:, : model.config.head_width].half().numpy())
            vectors.append(model.project_image(features).half().numpy())
            unlike.append(model.sight.unlike(features).numpy())
    for key, parts in (("maps", maps), ("pooled", pooled), ("vector", vectors), ("unlike", unlike)):
        np.save(folder / f"{key}.npy", np.concatenate(parts))
    partial = folder / "rows.partial"
    partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    os.replace(partial, folder / "rows.jsonl")


def _drawn(work: Path, model: Mini, kind: str, source: str) -> tuple[Rows, Iterator[Glance]]:
    """Go on from the maps of stride 16 that `embed` kept."""
    folder = work / "features" / kind / source
    maps = np.load(folder / "maps.npy", mmap_mode="r")
    pooled = np.load(folder / "pooled.npy")

    def glances() -> Iterator[Glance]:
        for start in range(0, len(maps), BATCH):
            x = torch.from_numpy(maps[start : start + BATCH].astype(np.float32))
            deep = x
            for stage in model.trunk.stages[STRIDE_16 + 1 :]:
                deep = stage(deep)
            head = torch.from_numpy(pooled[start : start + BATCH].astype(np.float32))
            yield model.glance(x, deep), model.with_cells(head, x)

    return [asdict(row) for row in drawings.read(folder / "rows.jsonl")], glances()


def _pictures(model: Mini, pictures: Iterable[Image.Image]) -> Iterator[Glance]:
    batch: list[Image.Image] = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == BATCH:
            yield model.look(to_pixels(batch))
            batch = []
    if batch:
        yield model.look(to_pixels(batch))


def _scenes(work: Path, model: Mini, name: str) -> tuple[Rows, Iterator[Glance]]:
    vendors, held_out, count = SCENES[name]
    drawn = composed.cutouts(work / "packages", vendors, held_out=held_out)
    seed = list(SCENES).index(name)
    made = [composed.compose(drawn, np.random.default_rng([seed, i]))[0] for i in range(count)]
    again = (composed.compose(drawn, np.random.default_rng([seed, i]))[1] for i in range(count))
    return [asdict(scene) for scene in made], _pictures(model, again)


def _easy(work: Path, model: Mini, split: str) -> tuple[Rows, Iterator[Glance]]:
    folder = work / "packages" / EASY.folder / "easy_vqa" / "data" / split
    asked: dict[int, list[Sequence[str]]] = {}
    for question, answer, image in json.loads((folder / "questions.json").read_text()):
        asked.setdefault(image, []).append((question, answer))
    paths = [folder / "images" / f"{image}.png" for image in asked]
    opened = (
        Image.open(p).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC) for p in paths
    )
    rows = [{"image": image, "asked": pairs} for image, pairs in asked.items()]
    return rows, _pictures(model, opened)
