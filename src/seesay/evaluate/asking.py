"""Requests about the pictures of a data set, made and served a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from seesay.errors import InputError
from seesay.evaluate.captioned import Skipped
from seesay.evaluate.encode import Progress
from seesay.evaluate.ranking import Ints
from seesay.tasks.task import TASKS

if TYPE_CHECKING:
    from seesay.model import Model

T = TypeVar("T")

TOGETHER = 512
"""Requests made at once: pictures inside archives are read into memory for them."""


def ask(
    model: Model,
    task: str,
    rows: Sequence[int],
    request: Callable[[int], Any],
    keep: Callable[[Any], T],
    *,
    where: Callable[[int], str],
    skipped: Skipped,
    batch_size: int,
    progress: Progress,
    what: str,
) -> dict[int, T]:
    """Serve one request for each row.

    Args:
        model: What is asked.
        task: What for, a name in `TASKS`.
        rows: In an order in which equal pictures follow each other.
        request: Makes the request of a row; may raise InputError.
        keep: Takes from its output what is needed.
        where: What messages call a row.
        skipped: Rows whose pictures cannot be read are noted here.
        batch_size: How many requests go through the network together.
        progress: Shows how far it is.
        what: What it shows are requests of.

    Returns:
        What was kept, by row; without the rows that failed.

    Raises:
        InputError: Not one picture can be read.
        UsageError: The model cannot do the task.
    """
    model.require(task)
    found: dict[int, T] = {}
    with progress(what, len(rows)) as counter:
        for start in range(0, len(rows), TOGETHER):
            made: dict[int, Any] = {}
            failures: dict[int, InputError] = {}
            for row in rows[start : start + TOGETHER]:
                try:
                    made[row] = request(row)
                except InputError as error:
                    failures[row] = error
            served = TASKS[task].runner()(model, list(made.values()), batch_size=batch_size)  # type: ignore[call-arg]
            for row, output in zip(made, served, strict=True):
                if isinstance(output, InputError):
                    failures[row] = output
                else:
                    found[row] = keep(output)
                counter.advance(1, int(row in failures))
            for row in rows[start : start + TOGETHER]:
                if row in failures:
                    skipped.add(where(row), "unreadable picture", failures[row].what)
    if rows and not found:
        raise InputError(f"none of the {len(rows)} pictures can be read: {skipped.items[-1][2]}")
    return found


def elsewhere(count: int, seed: int) -> Ints:
    """Return a permutation that leaves nothing where it is, int64 [count].

    Raises:
        InputError: There is one thing only.
    """
    if count < 2:
        raise InputError("there is one picture only, and no other to show in its place")
    order = np.random.default_rng(seed).permutation(count)
    shifted = np.empty(count, np.int64)
    shifted[order] = np.roll(order, 1)
    return shifted
