"""Pictures that look almost the same, in groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seesay.index.topk import fastest

BLOCK = 4096


@dataclass(frozen=True)
class DuplicateGroup:
    """Pictures that look like the first of them.

    Attributes:
        paths: Absolute; the first is the one the others were compared with.
        scores: Cosine similarity of each to the first, which has 1.0.
    """

    paths: tuple[str, ...]
    scores: tuple[float, ...]


def groups(vectors: NDArray[np.float16], threshold: float) -> list[list[tuple[int, float]]]:
    """Group rows by similarity to a first one.

    In the order of the rows, each joins the first leader it is similar enough to, or becomes a
    leader itself. So every member resembles its leader; a chain of small steps makes no group, as
    it would if any two neighbours did. Every pair is compared at most once: the time grows with
    the square of the number of rows (20,000 rows take seconds, 1,000,000 rows an hour or more).

    Args:
        vectors: float16 [N, E].
        threshold: The least cosine similarity of a member to its leader.

    Returns:
        Groups of two and more, each a list of row and similarity, its leader first.
    """
    stored = torch.from_numpy(vectors)
    leaders: list[_Leaders] = []
    members: dict[int, list[tuple[int, float]]] = {}
    for start in range(0, len(stored), BLOCK):
        rows = torch.arange(start, min(start + BLOCK, len(stored)))
        block = _Leaders(rows, _unit(stored, rows))
        joined: dict[int, tuple[int, float]] = {}
        for known in leaders:
            for i, j, score in block.first_similar(known, threshold, joined):
                joined[i] = (int(known.rows[j]), score)
        for i, j, score in block.similar_inside(threshold, joined):
            joined[j] = (start + i, score)
        for i in sorted(joined):
            first, score = joined[i]
            members.setdefault(first, [(first, 1.0)]).append((start + i, min(1.0, score)))
        lead = torch.tensor([i for i in range(len(rows)) if i not in joined], dtype=torch.int64)
        if len(lead):
            leaders.append(_Leaders(rows[lead], block.exact[lead]))
    return [members[first] for first in sorted(members)]


class _Leaders:
    """Rows and their unit vectors, in float32 and rounded for the quick comparison.

    Rounding moves either vector by at most half a step of the smaller type, relative to its
    length, and the product by half a step again; so what is more than three half steps below the
    threshold needs no second look.
    """

    def __init__(self, rows: Tensor, exact: Tensor) -> None:
        dtype = fastest()
        self.rows = rows
        self.exact = exact
        self._rounded = exact.to(dtype)
        self._margin = 3.2 * torch.finfo(dtype).eps / 2 + 1e-4

    def first_similar(
        self, known: _Leaders, threshold: float, joined: dict[int, tuple[int, float]]
    ) -> Iterator[tuple[int, int, float]]:
        """Yield, for rows that have not joined, the first known leader that is similar enough."""
        near = self._rounded @ known._rounded.T >= threshold - self._margin
        chosen = [i for i in near.any(1).nonzero().flatten().tolist() if i not in joined]
        if chosen:
            scores = self.exact[chosen] @ known.exact.T
            enough = scores >= threshold
            first = enough.to(torch.uint8).argmax(1)
            for place in enough.any(1).nonzero().flatten().tolist():
                j = int(first[place])
                yield chosen[place], j, float(scores[place, j])

    def similar_inside(
        self, threshold: float, joined: dict[int, tuple[int, float]]
    ) -> Iterator[tuple[int, int, float]]:
        """Yield leaders among these rows, each with the later rows that join it."""
        near = (self._rounded @ self._rounded.T >= threshold - self._margin).triu(1)
        for i in near.any(1).nonzero().flatten().tolist():
            if i in joined:
                continue
            free = [j for j in near[i].nonzero().flatten().tolist() if j not in joined]
            scores = self.exact[free] @ self.exact[i]
            for place in (scores >= threshold).nonzero().flatten().tolist():
                yield i, free[place], float(scores[place])


def _unit(stored: Tensor, rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(stored[rows].float(), dim=1)
