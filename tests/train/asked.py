"""Questions about the pictures of `made`, and the configuration that learns their answers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import seesay
from seesay.model import Model
from seesay.processing.wordpiece import ADDED, SPECIAL
from seesay.train.config import (
    DataConfig,
    ObjectiveConfig,
    OptimConfig,
    ScheduleConfig,
    TrainConfig,
)
from train import made

TOLD = "a picture of on the left right which side what colour is it do you think has . ? ,"
WORDS = {*made.COLOURS, *TOLD.split()}
"""What the model below knows."""


def questions(folder: Path, pick: Sequence[int] = range(14)) -> Path:
    """Write two questions about each picture, one with several answers; return the listing."""
    rows: list[dict[str, Any]] = []
    listed = _pictures(folder, 14)
    for name, text, _ in (listed[i] for i in pick):
        colour, side = text.split(" on the ")
        rows.append({"image": name, "question": "Which side?", "answer": side})
        said = [colour] * 3 + ["a colour"]
        rows.append({"image": name, "question": "What colour is it, do you think?", "answer": said})
    return _write(folder / "questions.json", rows)


def statements(folder: Path, count: int = 14) -> Path:
    """Write a true and a false statement about each pair of neighbours; return the listing."""
    listed, rows = _pictures(folder, count), []
    for (first, text, _), (second, _, _) in zip(listed, listed[1:] + listed[:1], strict=True):
        colour = text.partition(" ")[0]
        for side, label in (("left", "True"), ("right", "False")):
            told = f"The {side} picture has {colour}."
            rows.append({"images": [first, second], "sentence": told, "label": label})
    return _write(folder / "statements.json", rows)


def entailments(folder: Path, count: int = 14) -> Path:
    """Write what follows from each picture, what does not, and what may be; return the listing."""
    rows = []
    for name, text, _ in _pictures(folder, count):
        side = text.rpartition(" ")[2]
        other = "left" if side == "right" else "right"
        for told, label in (
            (f"It is {side}", "entailment"),
            (f"It is {other}", "contradiction"),
            ("It is mine", "neutral"),
        ):
            rows.append({"image": name, "sentence": told, "label": label})
    return _write(folder / "entailments.json", rows)


def steady(kind: str, folder: Path) -> Path:
    """Write a tiny model without dropout, which every process would draw for itself.

    It knows few words: what a step costs is otherwise the published vocabulary.
    """
    vocabulary = [*SPECIAL, *sorted(WORDS), *ADDED]
    created = seesay.create(f"blip-tiny-{kind}")
    text = dataclasses.replace(created.config.text, dropout=0.0, vocab_size=len(vocabulary))
    config = dataclasses.replace(created.config, text=text)
    family, settings = created.family, created.processor.settings()
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    processor = family.make_processor(
        config, settings | {"start_id": vocabulary.index(ADDED[0])}, folder
    )
    torch.manual_seed(2)
    module = family.build(config)
    model = Model(module, processor, family, config, name="steady", fingerprint="random")
    model.save(folder / "model")
    return folder / "model"


def config(path: Path, objective: str, /, **changed: object) -> TrainConfig:
    """Return a run of a tiny model that takes a second or two."""
    told: dict[str, object] = {
        "model": "blip-tiny",
        "init": "random",
        "steps": 4,
        "precision": "fp32",
        "optim": OptimConfig(lr=3e-3, eps=1e-2, weight_decay=0.01),
        "schedule": ScheduleConfig(warmup=2),
        "data": DataConfig(path=str(path), batch_size=7, workers=0),
        "objective": ObjectiveConfig(name=objective),  # type: ignore[arg-type]
    }
    return TrainConfig(**(told | changed))  # type: ignore[arg-type]


def _pictures(folder: Path, count: int) -> list[list[str]]:
    table = made.pictures(folder, count)
    return [line.split(",") for line in table.read_text().splitlines()[1:]]


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(rows))
    return path
