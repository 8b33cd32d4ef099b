"""Figures of the model on pages and scenes it never saw, each beside its controls."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seesay.data import open_questions
from seesay.evaluate.instructions import instructed
from seesay.model import Model
from seesay.recipes.made.labels import Sample, of_page, of_scene
from seesay.recipes.made.pages import page
from seesay.recipes.made.scenes import scene
from seesay.recipes.page.samples import SCALE
from seesay.recipes.page.trace import SIZE

SEED = 1000
"""Of the pictures that are measured on; those of training have smaller ones."""
KINDS = {
    "pages": ("answers",),
    "lines": ("reading",),
    "scenes": ("boxes", "phrases"),
}
"""What is asked about which pictures."""


def make(out: Path, count: int) -> None:
    """Write so many pages, pages of a few lines, and scenes of the test split."""
    for kind in KINDS:
        folder = out / kind
        (folder / "images").mkdir(parents=True, exist_ok=True)
        rows: list[dict[str, Any]] = []
        for index in range(count):
            draw = random.Random(f"{kind}/{index}")
            if kind == "scenes":
                drawn = scene(SEED, index, SIZE, "test")
                image, samples = drawn.image, of_scene(drawn, draw)
            else:
                made = page(SEED, index, 3 if kind == "pages" else 2, SIZE, "test", SCALE)
                image, samples = made.image, of_page(made, draw)
            name = f"images/{index:05}.png"
            image.save(folder / name)
            rows += [_row(name, sample) for sample in samples]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / "test.jsonl").write_text(lines, "utf-8")


def measure(
    model: Model, data: Path, limit: int | None = None, *, controls: bool = True, **options: Any
) -> dict[str, Mapping[str, Any]]:
    """Return the figures of each kind of prompt."""
    told = {"max_new_tokens": 160} | options
    found: dict[str, Mapping[str, Any]] = {}
    for pictures, kinds in KINDS.items():
        questions = open_questions(str(data / pictures / "test.jsonl"))
        for kind in kinds:
            report = instructed(
                model,
                questions,
                kinds=[kind],
                limit=limit,
                controls=controls,
                resamples=0,
                batch_size=16,
                **told,
            )
            found[kind] = {
                "metrics": dict(report.metrics),
                "chance": dict(report.chance),
                "counts": dict(report.counts),
                "notes": list(report.notes),
            }
    return found


def _row(image: str, sample: Sample) -> dict[str, Any]:
    return {"image": image, "prefix": sample.prefix, "suffix": list(sample.answers)}
