"""Figures of the model on pages and scenes it never saw, each beside its controls."""

from __future__ import annotations

import random
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from seesay.data import open_questions
from seesay.evaluate.instructions import instructed
from seesay.model import Model
from seesay.recipes.made.labels import of_page, of_scene
from seesay.recipes.made.pages import page
from seesay.recipes.made.scenes import scene
from seesay.recipes.made.vocabulary import Split
from seesay.recipes.made.writing import row, write_lines
from seesay.recipes.page.samples import SCALE
from seesay.recipes.page.trace import SIZE

SEED = 2000
"""Of the pictures that are measured on; those of training have smaller ones."""


class Measured(NamedTuple):
    """One row of figures: prompts with a task token about a kind of picture, and their kind."""

    pictures: str
    task: str
    kind: str


MEASURED = {
    "questions": Measured("pages", "<DocVQA>", "answers"),
    "reading": Measured("lines", "<OCR>", "reading"),
    "reading of boxes": Measured("lines", "<REGION_TO_OCR>", "reading"),
    "detection": Measured("scenes", "<OD>", "boxes"),
    "open vocabulary": Measured("scenes", "<OPEN_VOCABULARY_DETECTION>", "boxes"),
    "grounding": Measured("scenes", "<CAPTION_TO_PHRASE_GROUNDING>", "phrases"),
}
"""What is measured."""


def make(out: Path, count: int, split: Split = "test") -> None:
    """Write so many pages, pages of a few lines, and scenes of a split; all, or nothing."""
    unfinished = out.with_name(f"{out.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    for pictures in ("pages", "lines", "scenes"):
        folder = unfinished / pictures
        (folder / "images").mkdir(parents=True, exist_ok=True)
        rows: list[dict[str, Any]] = []
        for index in range(count):
            draw = random.Random(f"{pictures}/{index}")
            if pictures == "scenes":
                drawn = scene(SEED, index, SIZE, split)
                image, samples = drawn.image, of_scene(drawn, draw)
            else:
                made = page(SEED, index, 3 if pictures == "pages" else 2, SIZE, split, SCALE)
                image, samples = made.image, of_page(made, draw)
            name = f"images/{index:05}.png"
            image.save(folder / name)
            rows += [row(name, sample) for sample in samples]
        for what in MEASURED.values():
            if what.pictures == pictures:
                own = (told for told in rows if told["prefix"].startswith(what.task))
                write_lines(folder / _file(what), own)
    unfinished.rename(out)


def measure(
    model: Model,
    data: Path,
    limit: int | None = None,
    *,
    only: Collection[str] = MEASURED,
    controls: bool = True,
    **options: Any,
) -> dict[str, Mapping[str, Any]]:
    """Return the figures of each kind of prompt.

    Args:
        model: What is measured.
        data: What `make` wrote.
        limit: So many prompts of each kind, drawn by a seed; None for all.
        only: Names in `MEASURED`.
        controls: Whether pictures and prompts are exchanged as well.
        **options: Fields of `seesay.generation.Options`.
    """
    told = {"max_new_tokens": 200} | options
    found: dict[str, Mapping[str, Any]] = {}
    for name in only:
        what = MEASURED[name]
        report = instructed(
            model,
            open_questions(str(data / what.pictures / _file(what))),
            kinds=[what.kind],
            limit=limit,
            controls=controls,
            resamples=0,
            batch_size=16,
            **told,
        )
        found[name] = {
            "metrics": dict(report.metrics),
            "chance": dict(report.chance),
            "counts": dict(report.counts),
            "notes": list(report.notes),
        }
    return found


def _file(what: Measured) -> str:
    return what.task.strip("<>").lower() + ".jsonl"
