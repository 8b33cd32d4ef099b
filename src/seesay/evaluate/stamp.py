"""What a figure depends on beside the data: the model, its settings, software and hardware."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from seesay import __version__
from seesay.evaluate.predictions import Predictions

if TYPE_CHECKING:
    from seesay.data.questions import Questions
    from seesay.data.record import Dataset
    from seesay.model import Model

PACKAGES = ("torch", "numpy", "pillow", "tokenizers", "safetensors")


def model_stamp(model: Model | Predictions) -> dict[str, Any]:
    """Return what identifies a model, and how it reads; or a file of what one said."""
    if isinstance(model, Predictions):
        return {"name": model.name, "fingerprint": model.digest}
    return {
        "name": model.name,
        "family": model.family.name,
        "fingerprint": model.fingerprint,
        "revision": model.revision,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "decode": model.decode,
        "processor": model.processor.settings(),
    }


def dataset_stamp(dataset: Dataset | Questions) -> dict[str, Any]:
    """Return what identifies a dataset."""
    return {"name": dataset.name, "records": len(dataset), "digest": dataset.digest}


def machine() -> dict[str, Any]:
    """Return versions and hardware; nothing that names the machine or its user."""
    versions = {name: metadata.version(name) for name in PACKAGES}
    found: dict[str, Any] = {
        "seesay": __version__,
        "python": platform.python_version(),
        **versions,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    """The processor's name as Linux tells it, or what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
