"""Every error seesay raises on purpose: what went wrong, the value, and what to do.

The command line prints `str(error)` and its hint on one line each and leaves with `exit_code`.
Anything that is not a `SeesayError` is a bug of ours and leaves with 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import ClassVar, TypeVar

T = TypeVar("T")


class SeesayError(Exception):
    """The root of all errors a user can cause or mend.

    Args:
        what: One sentence: what is wrong, with the offending value.
        hint: What to do about it, or None when `what` says it already.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return self.what if self.hint is None else f"{self.what}\n  hint: {self.hint}"


class UsageError(SeesayError):
    """An argument that cannot be: an unknown model name, a task the model cannot do."""

    exit_code = 2


class MissingExtra(UsageError):
    """An optional dependency is needed and not installed."""

    def __init__(self, package: str, extra: str, why: str) -> None:
        super().__init__(f"{why} needs {package}", f"pip install 'seesay[{extra}]'")


class InputError(SeesayError):
    """One item (an image, a text) that cannot be read; names the item."""

    exit_code = 4


class ItemsFailed(SeesayError):
    """Some items of a batch failed; the others are fine.

    Args:
        failures: One error per bad item, in input order.
        total: How many items there were.
    """

    exit_code = 3

    def __init__(self, failures: Sequence[InputError], total: int) -> None:
        self.failures = list(failures)
        shown = "; ".join(failure.what for failure in self.failures[:3])
        more = f"; and {len(self.failures) - 3} more" if len(self.failures) > 3 else ""
        super().__init__(f"{len(self.failures)} of {total} items failed: {shown}{more}")


class CheckpointError(SeesayError):
    """A model file or folder that is damaged, foreign, or does not fit its configuration."""

    exit_code = 4


class IndexDamaged(SeesayError):
    """A collection whose files do not agree with its manifest."""

    exit_code = 4


class ModelMismatch(SeesayError):
    """A collection made by another model than the one that wants to search it."""

    exit_code = 4


class StorageError(SeesayError):
    """Reading or writing failed: permissions, a full disk, a lock held by another process."""

    exit_code = 5


def all_or_raise(results: Iterable[T | InputError]) -> list[T]:
    """Return the results when none of them is an error.

    Raises:
        ItemsFailed: Some are; it carries them all.
    """
    listed = list(results)
    failures = [result for result in listed if isinstance(result, InputError)]
    if failures:
        raise ItemsFailed(failures, len(listed))
    return [result for result in listed if not isinstance(result, InputError)]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ' Did you mean a, b?' for the closest known names, or an empty string."""
    close = get_close_matches(name, list(known), n=3, cutoff=0.55)
    return f" Did you mean {', '.join(close)}?" if close else ""
