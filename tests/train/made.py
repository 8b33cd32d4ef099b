"""A small data set of pictures that say what they are, and the configuration that learns it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from seesay.train.config import (
    DataConfig,
    EvaluateConfig,
    OptimConfig,
    ScheduleConfig,
    TrainConfig,
)

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 30),
    "blue": (40, 60, 220),
    "yellow": (230, 220, 40),
    "white": (245, 245, 245),
    "black": (10, 10, 10),
    "pink": (240, 130, 190),
}


def pictures(folder: Path, count: int = 14) -> Path:
    """Write a CSV of pictures, half coloured on the left and half on the right; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    rows = ["filepath,title,label"]
    for i in range(count):
        colour = list(COLOURS)[i % len(COLOURS)]
        side = "left" if i // len(COLOURS) % 2 else "right"
        pixels = random.integers(90, 160, (40, 40, 3)).astype(np.uint8)
        pixels[:, slice(0, 20) if side == "left" else slice(20, 40)] = COLOURS[colour]
        Image.fromarray(pixels).save(folder / f"{i:03}.png")
        rows.append(f"{i:03}.png,{colour} on the {side},{i % len(COLOURS)}")
    path = folder / "pictures.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def config(path: Path, /, **changed: object) -> TrainConfig:
    """Return a run of a tiny model that takes a second or two."""
    told: dict[str, object] = {
        "model": "clip-tiny",
        "init": "random",
        "steps": 6,
        "precision": "fp32",
        "ema": 0.5,
        # a large eps, so that rounding is not blown up where gradients are nearly zero
        "optim": OptimConfig(lr=3e-3, eps=1e-2, weight_decay=0.01, layer_decay=0.9),
        "schedule": ScheduleConfig(warmup=2),
        "data": DataConfig(path=str(path), batch_size=7, augment="flip", workers=0),
        "evaluate": EvaluateConfig(path=str(path)),
    }
    return TrainConfig(**(told | changed))  # type: ignore[arg-type]
