"""The k most similar rows, exactly, at the speed of an inexact scan.

Exact means: the order of the scores computed in float64 from the stored float16 vectors and the
float32 query, equal scores in the order of their rows. That takes too long for every row, so all
are scanned in bfloat16 where the processor multiplies it natively (float32 elsewhere), and only
those that can possibly be among the best are scored exactly.

Why none is missed. Let x be a row's scan score and s its exact one. Then |x - s| <= e, where e
follows from how far rounding moved the query and the vectors (both measured, by the
Cauchy-Schwarz inequality), the accumulation and the rounding of the result. If t is at most the
k-th largest x, k rows have s >= t - e, so a row among the best has s >= t - e and x >= t - 2e.
All rows with x >= t - 2e are scored exactly, however many they are. For t the k-th largest
maximum over groups of rows serves: k different groups have a row that good, and finding it needs
no sorting of all scores.
"""

from __future__ import annotations

import threading

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seesay.device import onednn_takes_bf16
from seesay.errors import IndexDamaged

CHUNK = 16384
"""Rows scanned at once: their scores stay in the processor's cache."""

GROUP = 16
"""Rows whose maximum is kept."""

QUERIES = 256
"""Queries scanned at once, to bound the memory for the maxima."""


class Scanner:
    """Search of one set of vectors. Thread-safe.

    Args:
        vectors: float16 [N, E].
        dtype: Of the scan; by default what is fastest here.
    """

    def __init__(self, vectors: NDArray[np.float16], dtype: torch.dtype | None = None) -> None:
        self._vectors = torch.from_numpy(vectors)
        self._dtype = dtype or fastest()
        self._lock = threading.Lock()
        self._rounded: Tensor | None = None
        self._moved = 0.0
        self._length = 0.0

    def top(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Find the best rows of each query.

        Args:
            queries: float32 [Q, E].
            k: How many; all of them when there are fewer rows.

        Returns:
            Scores float32 [Q, k], descending, and rows int64 [Q, k].
        """
        count = min(k, len(self._vectors))
        scores = torch.empty(len(queries), count)
        rows = torch.empty(len(queries), count, dtype=torch.int64)
        if count == 0 or not len(queries):
            return scores, rows
        with self._lock:
            if self._rounded is None:
                self._prepare()
        for start in range(0, len(queries), QUERIES):
            part = queries[start : start + QUERIES].float()
            for i, (s, r) in enumerate(self._search(part, count), start):
                scores[i], rows[i] = s, r
        return scores, rows

    def _prepare(self) -> None:
        """Round the vectors for the scan and measure how far that moves them."""
        rounded = torch.empty(self._vectors.shape, dtype=self._dtype)
        moved = length = 0.0
        for start in range(0, len(rounded), 1024):  # few enough to stay in the cache
            exact = self._vectors[start : start + 1024].float()
            part = rounded[start : start + 1024].copy_(exact)
            longest = torch.linalg.vector_norm(exact, dim=1).amax().item()
            if not np.isfinite(longest):
                raise IndexDamaged("the collection has a vector that is not finite", "index again")
            length = max(length, longest)
            off = torch.linalg.vector_norm(exact.sub_(part.float()), dim=1)
            moved = max(moved, off.amax().item())
        self._moved, self._length = moved * 1.001, length * 1.001
        self._rounded = rounded

    def _search(self, queries: Tensor, k: int) -> list[tuple[Tensor, Tensor]]:
        rounded = queries.to(self._dtype)
        maxima = self._scan(rounded)
        thresholds = torch.full((len(queries), 1), -torch.inf)
        if k <= maxima.shape[1]:
            kth = maxima.topk(k, sorted=True).values[:, -1:].float()
            # a score near the k-th was itself rounded, by up to this much
            last = kth.abs() * torch.finfo(self._dtype).eps
            thresholds = kth - 2 * (self._error(queries, rounded.float())[:, None] + last)
        groups = (maxima >= thresholds).nonzero()
        ends = torch.bincount(groups[:, 0], minlength=len(queries)).cumsum(0).tolist()
        return [
            self._exact(query, self._rows(groups[start:end, 1]), k)
            for query, start, end in zip(queries, [0, *ends], ends, strict=False)
        ]

    def _error(self, queries: Tensor, rounded: Tensor) -> Tensor:
        """Bound |scan score - exact score| per query [Q], before the rounding of the result."""
        length = self._length + self._moved
        moved = (queries - rounded).norm(dim=1) * length + queries.norm(dim=1) * self._moved
        bound: Tensor = 1.01 * moved + self._sums(rounded.norm(dim=1), length)
        return bound

    def _sums(self, query: Tensor, length: float) -> Tensor:
        """Bound what float32 can lose in adding up the products of two vectors."""
        bound: Tensor = 2.0**-23 * (self._vectors.shape[1] + 2) * query * length + 1e-30
        return bound

    def _scan(self, queries: Tensor) -> Tensor:
        """Return the maxima of groups of rows, [Q, G]."""
        assert self._rounded is not None
        # one column alone is multiplied at half the speed of two
        right = (queries if len(queries) > 1 else queries.expand(2, -1)).T.contiguous()
        groups = -(-len(self._rounded) // GROUP)
        maxima = torch.empty(right.shape[1], groups, dtype=self._dtype)
        for start in range(0, len(self._rounded), CHUNK):
            scores = self._rounded[start : start + CHUNK] @ right
            if len(scores) % GROUP:
                filler = scores.new_full((-len(scores) % GROUP, right.shape[1]), -torch.inf)
                scores = torch.cat([scores, filler])
            size = len(scores) // GROUP
            while len(scores) > size:
                half = len(scores) // 2
                scores = torch.maximum(scores[:half], scores[half:])
            maxima[:, start // GROUP : start // GROUP + size] = scores.T
        return maxima[: len(queries)]

    def _rows(self, groups: Tensor) -> Tensor:
        """List the rows of groups: in a chunk of C rows, group j has j, j + C/16, j + 2C/16 ...

        So the maxima of a chunk come from four comparisons of one half with the other.
        """
        chunk = groups // (CHUNK // GROUP)
        remaining = (len(self._vectors) - chunk * CHUNK).clamp(max=CHUNK)
        stride = (remaining + GROUP - 1) // GROUP
        first = chunk * CHUNK + groups % (CHUNK // GROUP)
        rows = (first[:, None] + stride[:, None] * torch.arange(GROUP)).flatten()
        return rows[rows < len(self._vectors)]

    def _exact(self, query: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Score rows in float64 and return the k best: scores [k] and rows [k]."""
        rows = rows.sort().values
        if len(rows) > k:
            # float32 first: it leaves few, and its sums are off by no more than this
            scores = self._scores(query, rows)
            margin = 2 * self._sums(query.norm(), self._length)
            rows = rows[scores >= scores.topk(k).values[-1] - margin]
        scores = self._scores(query.double(), rows)
        order = torch.sort(scores, descending=True, stable=True).indices[:k]
        return scores[order].float(), rows[order]

    def _scores(self, query: Tensor, rows: Tensor) -> Tensor:
        """Multiply the stored vectors of some rows with a query, in its precision."""
        wide = [
            # float32 holds every float16, and is the quicker way to float64 too
            self._vectors.index_select(0, part).float().to(query.dtype) @ query
            for part in torch.split(rows, CHUNK)
        ]
        return torch.cat(wide)


def fastest() -> torch.dtype:
    """Return the type this processor multiplies fastest."""
    return torch.bfloat16 if onednn_takes_bf16() else torch.float32
