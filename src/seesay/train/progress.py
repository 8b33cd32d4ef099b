"""How far a run is: a bar on a terminal, a line every ten seconds elsewhere, both on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import torch

SPEAK_EVERY = 10.0


class Progress:
    """Shows steps, loss, rate, remaining time and memory.

    Args:
        total: Steps of the whole run.
        start: Steps that are done already.
        quiet: Show nothing, notes included.
    """

    def __init__(self, total: int, *, start: int = 0, quiet: bool = False) -> None:
        self.total = total
        self.quiet = quiet
        self._bar: Any = None
        self._step = self._said = start
        self._seen = 0
        self._loss = self._rate = self._pace = 0.0  # smoothed; pace is seconds a step
        self._ticked = self._spoke = time.monotonic()
        if not quiet and sys.stderr.isatty():
            self._open(start)

    def _open(self, start: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("", total=self.total, completed=start, status="")
        self._bar.start()

    def step(self, step: int, loss: float, rate: float) -> None:
        """Show a finished step, its loss, and how many samples a second it took in."""
        now = time.monotonic()
        pace = (now - self._ticked) / max(step - self._step, 1)
        self._seen += 1
        keep = min(0.95, 1 - 1 / self._seen)  # the mean of the first twenty, then a running one
        self._pace = keep * self._pace + (1 - keep) * pace
        self._rate = keep * self._rate + (1 - keep) * rate
        self._loss = keep * self._loss + (1 - keep) * loss
        self._ticked, self._step = now, step
        if self._bar is not None:
            self._bar.update(self._task, completed=step, status=self._status())
        elif now - self._spoke >= SPEAK_EVERY:
            self._speak()

    def note(self, message: str) -> None:
        """Print a message above the bar."""
        if self._bar is not None:
            self._bar.console.print(message, markup=False, highlight=False)
        elif not self.quiet:
            print(message, file=sys.stderr, flush=True)
        # what happens between steps (an evaluation, a checkpoint) is no part of the next one
        self._ticked = time.monotonic()

    def close(self) -> None:
        """Show where the run stands and end the bar."""
        if self._bar is not None:
            self._bar.stop()
        elif self._step > self._said:
            self._speak()

    def _speak(self) -> None:
        self._spoke, self._said = time.monotonic(), self._step
        if not self.quiet:
            print(f"step {self._step}/{self.total}, {self._status()}", file=sys.stderr, flush=True)

    def _status(self) -> str:
        parts = [f"loss {self._loss:.4g}", f"{self._rate:.4g} samples/s"]
        if self._step < self.total:
            parts.append(f"{duration((self.total - self._step) * self._pace)} left")
        places = {"memory_mb": "", "gpu_memory_mb": " on the GPU"}
        parts += [f"{size / 1024:.1f} GB{places[key]}" for key, size in memory().items()]
        return ", ".join(parts)


def counting(what: str, *, quiet: bool = False) -> Callable[[int, int], None]:
    """Return a function that is told (done, total), and prints a line every ten seconds."""
    spoke = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal spoke
        if not quiet and time.monotonic() - spoke >= SPEAK_EVERY:
            spoke = time.monotonic()
            print(f"{what} {done}/{total}", file=sys.stderr, flush=True)

    return tell


def duration(seconds: float) -> str:
    """Return seconds as a person says them: 42s, 3m 20s, 5h 07m, 2d 03h."""
    whole = round(seconds)
    for large, small, units in ((86400, 3600, "dh"), (3600, 60, "hm"), (60, 1, "ms")):
        if whole >= large:
            return f"{whole // large}{units[0]} {whole % large // small:02}{units[1]}"
    return f"{whole}s"


def memory() -> dict[str, float]:
    """Return what this process holds, in MB: of main memory now, of the GPU at its most."""
    found = {}
    try:
        with open("/proc/self/statm", "rb") as file:
            pages = int(file.read().split()[1])
        import resource

        found["memory_mb"] = round(pages * resource.getpagesize() / 2**20, 1)
    except OSError:
        pass  # not a Linux: nobody keeps the figure where it can be read without another package
    if torch.cuda.is_available():
        found["gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return found
