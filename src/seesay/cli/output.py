"""What commands print: JSON alone on stdout, notes and progress on stderr."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from seesay.errors import InputError
from seesay.names import printable, shown

T = TypeVar("T")

_NUMBERS = re.compile(r"\[\s[-+\d.eE,\s]*\]")


def print_json(document: Any) -> None:
    """Print a JSON document in valid UTF-8; lists of numbers stay on one line."""
    ascii_only = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    text = json.dumps(_valid(document), ensure_ascii=ascii_only, indent=2, allow_nan=False)
    print(_NUMBERS.sub(lambda found: " ".join(found[0].split()), text))


def note(message: str, *, quiet: bool = False) -> None:
    """Print a message for people on stderr."""
    if not quiet:
        print("\n".join(shown(line) for line in message.split("\n")), file=sys.stderr)


def as_dict(result: Any) -> dict[str, Any]:
    """A result dataclass as JSON data, without the fields whose metadata says `json: False`."""
    return {
        field.name: _plain(getattr(result, field.name))
        for field in dataclasses.fields(result)
        if field.metadata.get("json", True)
    }


def report_failures(failures: list[InputError], *, quiet: bool) -> None:
    """Name every skipped item on stderr."""
    for failure in failures:
        note(f"skipped {shown(failure.what)}", quiet=quiet)


class Progress:
    """A bar on a terminal, a line every ten seconds elsewhere; always on stderr.

    Use as a context manager and call `advance(count, skipped)`.
    """

    def __init__(self, what: str, total: int | None, *, quiet: bool = False) -> None:
        self.what = what
        self.total = total
        self.quiet = quiet
        self.done = 0
        self.skipped = 0
        self._bar: Any = None
        self._task: Any = None
        self._started = self._spoke = time.monotonic()

    def __enter__(self) -> Progress:
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                TextColumn,
                TimeRemainingColumn,
            )
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[skipped]}", style="yellow"),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self.what, total=self.total, rate="", skipped="")
        return self

    def advance(self, count: int = 1, skipped: int = 0) -> None:
        """Count items that are finished; `skipped` of them failed."""
        self.done += count
        self.skipped += skipped
        if self._bar is not None:
            lost = f"{self.skipped} skipped" if self.skipped else ""
            rate = f"{self.rate():.1f}/s"
            self._bar.update(self._task, advance=count, rate=rate, skipped=lost)
        elif not self.quiet and time.monotonic() - self._spoke > 10:
            self._spoke = time.monotonic()
            note(f"{self.what}: {self.done}/{self.total or '?'}, {self.rate():.1f}/s")

    def rate(self) -> float:
        """Items per second since the start."""
        return self.done / max(time.monotonic() - self._started, 1e-9)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def over(self, results: Iterable[T]) -> Iterator[T]:
        """Yield results while counting them; an InputError counts as skipped."""
        for result in results:
            self.advance(1, isinstance(result, InputError))
            yield result


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return as_dict(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    # a tensor or an array; neither package is imported for the question
    return value.tolist() if hasattr(value, "tolist") else value


def _valid(value: Any) -> Any:
    """The document with every string, keys excepted, made valid Unicode."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {key: _valid(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_valid(item) for item in value]
    return value
