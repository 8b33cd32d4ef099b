"""What a training run leaves to look at: `metrics.jsonl`, `curves.png` and a progress bar.

Every step is one line of `metrics.jsonl`, every evaluation another; they are never buffered, so a
killed run loses at most the line it was writing. A resumed run first drops what it will do again.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from seesay.errors import MissingExtra, StorageError
from seesay.train.curves import Curves
from seesay.train.progress import Progress, memory

Sink = Callable[[int, Mapping[str, float]], None]

# seconds between two drawings of the curves: after an evaluation, and in a run without any
DRAW_EVERY, DRAW_ANYWAY = 20.0, 300.0


class Log:
    """The log of one run; also a context manager, which closes it.

    A step's number is how many steps are done: the first row says 1, and `start` is the number of
    the step resumed from.

    Args:
        folder: Where `metrics.jsonl` and `curves.png` go.
        total_steps: Of the whole run, those before `start` included.
        tensorboard: Also write TensorBoard's event files, to `folder/tensorboard`.
        wandb: Also send everything to this project of Weights & Biases.
        quiet: Show no progress.
        start: Steps that are done already; rows of later ones are dropped.

    Raises:
        MissingExtra: matplotlib, or what `tensorboard` or `wandb` need, is not installed.
        StorageError: The folder cannot be written to.
    """

    def __init__(
        self,
        folder: Path,
        total_steps: int,
        *,
        tensorboard: bool = False,
        wandb: str | None = None,
        quiet: bool = False,
        start: int = 0,
    ) -> None:
        require("matplotlib", "drawing the curves of a training run")
        if tensorboard:
            require("tensorboard", "logging to TensorBoard")
        if wandb is not None:
            require("wandb", "logging to Weights & Biases")
        self.folder = folder
        self._curves = Curves()
        with _storage(folder):
            folder.mkdir(parents=True, exist_ok=True)
            kept = _rewind(folder / "metrics.jsonl", start)
            for row in kept:
                self._plot(row)
            self._file = (folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._sinks: list[tuple[Sink, Callable[[], None]]] = []
        if tensorboard:
            self._sinks.append(_tensorboard(folder, start))
        if wandb is not None:
            self._sinks.append(_wandb(folder, wandb, start))
        self._progress = Progress(total_steps, start=start, quiet=quiet)
        self._before = max((row.get("seconds") or 0.0 for row in kept), default=0.0)
        self._began = self._ticked = time.monotonic()
        self._drawn = self._began - DRAW_EVERY

    def step(self, step: int, metrics: Mapping[str, float], *, samples: int) -> None:
        """Log a finished step.

        Args:
            step: How many steps are done, this one included.
            metrics: What to log of it: loss, lr, grad_norm, epoch ...
            samples: How many pairs it trained on, over all processes.
        """
        now = time.monotonic()
        rate = samples / max(now - self._ticked, 1e-9)
        self._ticked = now
        row = {**metrics, "samples_per_second": round(rate, 3), **memory()}
        self._write({"step": step, **row, "seconds": self._seconds()})
        self._send(step, row)
        self._progress.step(step, metrics.get("loss", math.nan), rate)
        if now - self._drawn > DRAW_ANYWAY:
            self._draw()

    def evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log an evaluation after `step` steps, and draw the curves unless that was just done."""
        self._write({"step": step, "evaluation": dict(metrics), "seconds": self._seconds()})
        self._send(step, {f"evaluation/{name}": value for name, value in metrics.items()})
        told = {n: v for n, v in metrics.items() if not n.endswith("_rank")}  # a line, not a page
        shown = ", ".join(f"{name} {value:.4g}" for name, value in told.items())
        self._progress.note(f"step {step}: {shown}")
        if time.monotonic() - self._drawn > DRAW_EVERY:
            self._draw()
        # the time of an evaluation is not that of the step after it
        self._ticked = time.monotonic()

    def note(self, message: str) -> None:
        """Tell the user something, above the progress bar."""
        self._progress.note(message)

    def close(self) -> None:
        """Draw the curves a last time and close everything; a second call does nothing."""
        if self._file.closed:
            return
        self._progress.close()
        for _, close in self._sinks:
            close()
        with _storage(self.folder):
            self._file.close()
        self._draw()

    def __enter__(self) -> Log:
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        # what stopped the run is worth more to its user than that the curves could not be drawn
        with contextlib.suppress(StorageError) if kind else contextlib.nullcontext():
            self.close()

    def _seconds(self) -> float:
        return round(self._before + time.monotonic() - self._began, 3)

    def _write(self, row: dict[str, Any]) -> None:
        self._plot(row)
        with _storage(self.folder):
            self._file.write(json.dumps(_finite(row), allow_nan=False) + "\n")
            self._file.flush()

    def _send(self, step: int, metrics: Mapping[str, float]) -> None:
        for send, _ in self._sinks:
            send(step, metrics)

    def _plot(self, row: Mapping[str, Any]) -> None:
        if "evaluation" in row:
            self._curves.add_evaluation(row["step"], row["evaluation"])
        else:
            self._curves.add_step(row["step"], row)

    def _draw(self) -> None:
        with _storage(self.folder):
            self._curves.draw(self.folder / "curves.png")
        self._drawn = time.monotonic()


class NullLog:
    """A log that keeps nothing: for every process of a run but the first."""

    def step(self, step: int, metrics: Mapping[str, float], *, samples: int) -> None:
        """Do nothing."""

    def evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Do nothing."""

    def note(self, message: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def __enter__(self) -> NullLog:
        return self

    def __exit__(self, *raised: object) -> None:
        """Do nothing."""


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a `metrics.jsonl` up to the first that is not whole."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                return
            if not (line.endswith("\n") and isinstance(row, dict) and "step" in row):
                return
            yield row


def _rewind(path: Path, start: int) -> list[dict[str, Any]]:
    """Drop the rows after step `start`, and a half-written one; return those that stay."""
    if not path.exists():
        return []
    kept = [] if start == 0 else [row for row in read(path) if row["step"] <= start]
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in kept)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    return kept


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, int):
        return value
    value = float(value)
    return value if math.isfinite(value) else None


def require(package: str, why: str) -> None:
    """Raise MissingExtra unless a package that training needs is there."""
    if find_spec(package) is None:
        raise MissingExtra(package, "train", why)


@contextlib.contextmanager
def _storage(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"the log of the run cannot be written to {folder}: {reason}",
            "the checkpoints written so far are whole; make room and resume",
        ) from error


def _tensorboard(folder: Path, start: int) -> tuple[Sink, Callable[[], None]]:
    module = importlib.import_module("torch.utils.tensorboard")
    writer = module.SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1)

    def send(step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            writer.add_scalar(name, value, step)

    return send, writer.close


def _wandb(folder: Path, project: str, start: int) -> tuple[Sink, Callable[[], None]]:
    module = importlib.import_module("wandb")
    # a resumed run goes on in the same page of the project
    name = folder / "wandb.id"
    if start == 0 or not name.exists():
        name.write_text(uuid.uuid4().hex[:8])
    run = module.init(
        project=project,
        id=name.read_text().strip(),
        name=folder.resolve().name,
        dir=str(folder),
        resume="allow",
    )
    return (lambda step, metrics: run.log(dict(metrics), step=step)), run.finish
