"""The result of an evaluation: figures, what they depend on, and examples to look at."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seesay.errors import UsageError
from seesay.evaluate.bootstrap import LEVEL, Statistic, intervals
from seesay.evaluate.captioned import Skipped
from seesay.evaluate.stamp import dataset_stamp, machine, model_stamp
from seesay.index.publish import replace, storing
from seesay.names import printable

if TYPE_CHECKING:
    from seesay.data.questions import Questions
    from seesay.data.record import Dataset
    from seesay.evaluate.predictions import Predictions
    from seesay.model import Model

FORMAT = 1
"""Version of report.json; it changes when a key changes its meaning or goes away."""

_READ_AS: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"\br@", "R@"),
    (r"\btop(?=\d)", "top-"),
    (r"\bcider d\b", "CIDEr-D"),
    (r"\bbleu ", "BLEU-"),
    (r"\brouge l\b", "ROUGE-L"),
    (r"\b(anls|cer|wer)\b", lambda found: found[0].upper()),
    (r"\bmap(?=\d*\b)", "mAP"),
    (r"\bar(?=\d+\b)", "AR"),
    (r"\biou\b", "IoU"),
    (r"\bf1\b", "F1"),
)
"""What stands in names of figures, and how people read it."""

SKIPPED = 1000
"""Skipped items that report.json names; all are counted."""


@dataclass(frozen=True)
class Example:
    """One answer of the model, for people.

    Attributes:
        title: What became of it: "rank 37 of 95".
        lines: Name and text: ("caption", "a dog"), ("found", "a cat").
        pictures: Name and row of the dataset.
    """

    title: str
    lines: Sequence[tuple[str, str]]
    pictures: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers under a heading."""

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | int | float]]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What an evaluation found.

    Attributes:
        task: "retrieval", "zeroshot", "matching", "cra", "captioning", "answering", "comparing",
            "instructed".
        metrics: Figure by name; shares are 0..1, CIDEr-D is 0..10.
        intervals: 95 % confidence interval of most figures.
        chance: What a model that knows nothing would reach.
        counts: Sizes: pictures, captions, pairs, what was cut off.
        settings: Everything that was chosen: seed, depths, templates ...
        model: What identifies it, and how it reads pictures and texts.
        dataset: What identifies it.
        machine: Versions and hardware.
        seconds: Wall time.
        skipped: Where each item that was left out stands, the reason, and what was wrong.
        tables: More figures, for people and in report.json.
        examples: The worst and the best, by heading.
        notes: Sentences for people: what controls say of the model.
    """

    task: str
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    chance: dict[str, float]
    counts: dict[str, int]
    settings: dict[str, Any]
    model: dict[str, Any]
    dataset: dict[str, Any]
    machine: dict[str, Any]
    seconds: float
    skipped: list[tuple[str, str, str]]
    tables: Sequence[Table] = ()
    examples: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    source: Dataset | None = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the content of report.json."""
        return {
            "format": FORMAT,
            "task": self.task,
            "metrics": self.metrics,
            "intervals": {"level": LEVEL, **{k: list(v) for k, v in self.intervals.items()}},
            "chance": self.chance,
            "counts": self.counts,
            "settings": self.settings,
            "model": self.model,
            "dataset": self.dataset,
            "machine": self.machine,
            "seconds": round(self.seconds, 3),
            "skipped": {
                "count": len(self.skipped),
                "reasons": self.reasons(),
                "items": [
                    {"where": where, "reason": why, "what": what}
                    for where, why, what in self.skipped[:SKIPPED]
                ],
            },
            "notes": list(self.notes),
            "tables": {
                table.heading: [dict(zip(table.columns, row, strict=True)) for row in table.rows]
                for table in self.tables
            },
            "examples": {
                heading: [self._told(example) for example in examples]
                for heading, examples in self.examples.items()
            },
        }

    def reasons(self) -> dict[str, int]:
        """Count the skipped items by reason."""
        return dict(Counter(why for _, why, _ in self.skipped))

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return name, value, interval and chance of each figure, as people read them."""
        found = []
        for key, value in self.metrics.items():
            low_high = self.intervals.get(key)
            between = " – ".join(shown(key, end) for end in low_high) if low_high else ""
            guess = shown(key, self.chance[key]) if key in self.chance else ""
            found.append((label(key), shown(key, value), between, guess))
        return found

    def save(self, folder: str | Path) -> None:
        """Write report.json, and report.html with thumbnails inside, into a folder.

        Raises:
            StorageError: They cannot be written.
        """
        from seesay.evaluate.page import page

        folder = Path(folder)
        text = json.dumps(_valid(self.as_dict()), ensure_ascii=False, indent=1, allow_nan=False)
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            replace(folder / "report.json", text.encode() + b"\n")
            replace(folder / "report.html", page(self).encode())

    def _told(self, example: Example) -> dict[str, Any]:
        pictures = {}
        for name, row in example.pictures:
            record = self.source[row] if self.source is not None else None
            pictures[name] = {"row": row, "image_id": record.image_id if record else None}
        return {"title": example.title, **dict(example.lines), "pictures": pictures}


class Evaluation:
    """What a report says of every evaluation: made at its start, asked for the report at its end.

    Args:
        task: As in `Report`.
        model: The one evaluated, or what one said.
        dataset: What it is evaluated on. Examples show pictures of it, of questions the first ones.
        settings: What was chosen; "seed" and "resamples" are among it.

    Raises:
        UsageError: There is no model.
    """

    def __init__(
        self,
        task: str,
        model: Model | Predictions | None,
        dataset: Dataset | Questions,
        settings: dict[str, Any],
    ) -> None:
        if model is None:
            raise UsageError("there is neither a model nor a file of predictions")
        self.skipped = Skipped()
        self._task, self._model, self._dataset, self._settings = task, model, dataset, settings
        self._started = time.perf_counter()
        for finding in dataset.findings:
            if finding.row is None and finding.kind == "bad-row":
                self.skipped.add(finding.where, "bad row", f"{finding.where}: {finding.what}")

    def report(
        self,
        statistic: Statistic,
        clusters: int,
        *,
        chance: dict[str, float],
        counts: dict[str, int],
        settings: Mapping[str, Any] | None = None,
        tables: Iterable[Table] = (),
        examples: Mapping[str, Sequence[Example]] | None = None,
        source: Dataset | None = None,
    ) -> Report:
        """Compute the figures and their intervals, and put everything together.

        Args:
            statistic: From how often each picture is counted to the figures.
            clusters: How many pictures there are.
            chance: As in `Report`, and the following too.
            counts: As in `Report`.
            settings: What was decided on the way.
            tables: As in `Report`.
            examples: As in `Report`.
            source: The pictures of the examples, when they are not the dataset's.
        """
        chosen = {**self._settings, **(settings or {})}
        return Report(
            task=self._task,
            metrics=statistic(np.ones(clusters, np.int64)),
            intervals=intervals(
                statistic, clusters, resamples=chosen["resamples"], seed=chosen["seed"]
            ),
            chance=chance,
            counts=counts,
            settings=chosen,
            model=model_stamp(self._model),
            dataset=dataset_stamp(self._dataset),
            machine=machine(),
            seconds=time.perf_counter() - self._started,
            skipped=self.skipped.items,
            tables=tuple(tables),
            examples=examples or {},
            source=source or _pictures(self._dataset),
        )


def _pictures(dataset: Dataset | Questions) -> Dataset:
    """The pictures of a dataset, or the first ones of its questions."""
    found: Dataset = dataset.pictures[0] if hasattr(dataset, "pictures") else dataset
    return found


def label(key: str) -> str:
    """Return the name of a figure as people read it."""
    text = key.replace("_", " ")
    for written, read in _READ_AS:
        text = re.sub(written, read, text)
    return text


def shown(key: str, value: float) -> str:
    """Return a figure as people read it: shares in percent, ranks as numbers."""
    if key.endswith("cider_d"):
        return f"{100 * value:.1f}"  # above 100 for good captions: no share of anything
    if key.endswith("rank"):
        return f"{value:.1f}"
    if key.endswith("threshold"):
        return f"{value:.4f}"
    return f"{100 * value:.1f} %"


def _valid(value: Any) -> Any:
    """The document with every string made valid Unicode, and no number but finite ones."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(str(key)): _valid(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_valid(item) for item in value]
    return value
