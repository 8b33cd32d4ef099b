"""Which records each step sees: a pure function of the step, so a resumed run needs no state."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from seesay.errors import UsageError

WINDOW = 64
"""Batches whose records are sorted by length together: enough for little padding, and few enough
that neighbours stay random."""

Permutation = np.ndarray[Any, np.dtype[np.int64]]


class Order:
    """Batches of record numbers, by step, for one of several processes.

    Every epoch is another seeded permutation; no record comes twice in one, and none is lost but
    the remainder when `drop_last` says so. A batch is cut out of the permutation first and divided
    among the processes second, so what a step sees does not depend on how many there are.

    Args:
        count: How many records there are.
        batch_size: Of all processes together.
        seed: Other seeds, other permutations.
        rank: Which process this is.
        world: How many there are.
        lengths: Per record, in tokens; when given, records of like length share a batch.
        drop_last: Leave out what does not fill a batch; it is another remainder every epoch.

    Raises:
        UsageError: No batch can be made.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        lengths: np.ndarray[Any, Any] | None = None,
        drop_last: bool = True,
    ) -> None:
        if batch_size < 1 or count < 1:
            raise UsageError(f"no batches of {batch_size} can be made of {count} records")
        if not 0 <= rank < world:
            raise UsageError(f"rank {rank} is none of {world}")
        if drop_last and count < batch_size:
            raise UsageError(
                f"{count} records do not fill one batch of {batch_size}",
                f"--set data.batch_size={count}" if count > 1 else "a contrast needs two at least",
            )
        if lengths is not None and len(lengths) != count:
            raise UsageError(f"{len(lengths)} lengths for {count} records")
        self.count = count
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world = world
        self.lengths = None if lengths is None else np.asarray(lengths)
        self.drop_last = drop_last
        whole, rest = divmod(count, batch_size)
        self.steps_per_epoch = whole + bool(rest and not drop_last)
        # the epoch a prefetcher looks ahead to, and the one it is leaving
        self._permutation = lru_cache(maxsize=2)(self._permute)

    def epoch(self, step: int) -> int:
        """Return the epoch a step belongs to, from 0."""
        return step // self.steps_per_epoch

    def batch(self, step: int) -> list[int]:
        """Return this process's records of a step; may be empty in the last of an epoch."""
        return self.whole_batch(step)[self.rank :: self.world]

    def whole_batch(self, step: int) -> list[int]:
        """Return the records of a step of all processes together."""
        epoch, place = divmod(step, self.steps_per_epoch)
        start = place * self.batch_size
        found: list[int] = self._permutation(epoch)[start : start + self.batch_size].tolist()
        return found

    def _permute(self, epoch: int) -> Permutation:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(self.count)
        # the remainder is cut off before sorting: it is a random one, not the longest texts
        full = self.count // self.batch_size * self.batch_size
        if self.lengths is None:
            return order
        for start in range(0, full, WINDOW * self.batch_size):
            window = order[start : min(start + WINDOW * self.batch_size, full)]
            window[:] = window[np.argsort(self.lengths[window], kind="stable")]
        batches = order[:full].reshape(-1, self.batch_size)
        order[:full] = batches[rng.permutation(len(batches))].reshape(-1)
        return order
