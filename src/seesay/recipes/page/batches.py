"""Batches that are made in other processes while the last one is learnt from."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Calls a function of the step in other processes, some steps before it is asked.

    Args:
        make: What makes a batch; depends on the step alone.
        workers: How many processes.
        ahead: How many batches are made in advance.
    """

    def __init__(self, make: Callable[[int], T], workers: int = 1, ahead: int = 6) -> None:
        self.make, self.ahead = make, ahead
        context = multiprocessing.get_context("fork")
        self.pool = ProcessPoolExecutor(workers, context, initializer=_begin)
        self.made: dict[int, Future[T]] = {}

    def __call__(self, step: int) -> T:
        """Return the batch of a step, and have the next ones begun."""
        for s in range(step, step + self.ahead):
            if s not in self.made:
                self.made[s] = self.pool.submit(self.make, s)
        self.made = {s: future for s, future in self.made.items() if s >= step}
        return self.made.pop(step).result()

    def close(self) -> None:
        """End the processes."""
        self.pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Leave the processor to who learns, and end when told to: a fork asks as its parent does."""
    os.nice(5)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
