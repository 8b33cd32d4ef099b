"""A model that says what a rule tells it to: everything else about it is real."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import seesay
from seesay.data import Questions, open_prompts
from seesay.errors import InputError
from seesay.model import Model
from seesay.processing.image import open_picture
from seesay.regions import Regions
from seesay.tasks.prompt import PromptInput

Rule = Callable[[str, str], str]
"""The name of a picture's file, and a prompt -> what is written."""


@cache
def _tiny() -> Model:
    return seesay.create("florence2-tiny", seed=0)


def saying(monkeypatch: pytest.MonkeyPatch, rule: Rule) -> Model:
    """Return a model that writes what the rule says."""

    def run(
        model: Model, requests: Sequence[PromptInput], *, batch_size: int
    ) -> Iterator[Regions | InputError]:
        for request in requests:
            try:
                size = open_picture(request.image).size
            except InputError as error:
                yield error
                continue
            raw = rule(os.path.basename(str(request.image)), request.prompt)
            yield model.processor.parse(request.prompt, raw, size)  # type: ignore[attr-defined]

    monkeypatch.setattr("seesay.tasks.prompt.run", run)
    return _tiny()


def prompted(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Questions:
    """Rows of image, prefix and suffix as a file, with pictures 200 wide and 100 high."""
    for i, name in enumerate(sorted({str(row["image"]) for row in rows})):
        if not name.startswith("bad"):
            Image.new("RGB", (200, 100), (40 * i % 255, 90, 120)).save(folder / name)
    told = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (folder / "rows.jsonl").write_text(told, encoding="utf-8")
    return open_prompts(folder / "rows.jsonl")
