"""Where the right answers come in a ranking by similarity, and the figures that follow from it.

Items that score the same have no order of their own, so every figure is its expected value over
all orders of what ties. A model that gives everything the same vector therefore scores exactly
what chance does, and so `chance` needs no formula of its own: it is a ranking where all ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seesay.evaluate.bootstrap import Statistic

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

TIE = 1e-6
"""Cosines closer than this are equal: float32 sums of products differ by as much."""

BLOCK = (512, 1024)
"""Queries and items scored at once. Their scores, 2 MiB, are compared while still in the cache."""


@dataclass(frozen=True)
class Ranks:
    """The place of the best right item of each query.

    Attributes:
        above: int64 [Q], wrong items that score higher.
        tied: int64 [Q], wrong items that score the same.
        right: int64 [Q], right items that share the best score, at least 1.
        score: float64 [Q], that score.
    """

    above: Ints
    tied: Ints
    right: Ints
    score: Floats

    def expected(self) -> Floats:
        """Return the expected rank [Q] of the first right item, from 1."""
        place: Floats = self.above + (self.tied + self.right + 1) / (self.right + 1)
        return place

    def hits(self, k: int) -> Floats:
        """Return the probability [Q] that a right item is among the first k."""
        missed = np.ones(len(self.above))
        for drawn in range(k):
            # draw number `drawn` from what ties, none of the earlier draws being put back
            left = np.maximum(self.tied + self.right - drawn, 1)
            wrong = np.maximum(self.tied - drawn, 0) / left
            missed *= np.where(drawn < k - self.above, wrong, 1.0)
        return 1.0 - missed


def rank(queries: Tensor, gallery: Tensor, pairs: Ints) -> Ranks:
    """Rank a gallery by its similarity to each query and say where the right items come.

    Args:
        queries: Unit vectors [Q, E].
        gallery: Unit vectors [N, E].
        pairs: int64 [P, 2], each a query and an item that is right for it; no pair twice.

    Raises:
        ValueError: A query has no right item.
    """
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    asked, items = torch.from_numpy(pairs[:, 0].copy()), torch.from_numpy(pairs[:, 1].copy())
    count = torch.bincount(asked, minlength=len(queries))
    if not bool(count.all()):
        raise ValueError(f"query {int(count.argmin())} has no right item")
    scores = torch.cat(
        [
            (queries[q] * gallery[i]).sum(-1).cpu()
            for q, i in zip(torch.split(asked, BLOCK[1]), torch.split(items, BLOCK[1]), strict=True)
        ]
    )
    best = torch.full((len(queries),), -torch.inf).scatter_reduce(0, asked, scores, "amax")
    right = torch.bincount(asked[scores >= best[asked] - TIE], minlength=len(queries))
    above, tied = _count_wrong(queries, gallery, asked, items, best)
    return Ranks(above.numpy(), tied.numpy(), right.numpy(), best.double().numpy())


def _count_wrong(
    queries: Tensor, gallery: Tensor, asked: Tensor, items: Tensor, best: Tensor
) -> tuple[Tensor, Tensor]:
    """Count per query the wrong items that score above `best`, and those that tie with it."""
    above = torch.zeros(len(queries), dtype=torch.int64)
    tied = torch.zeros_like(above)
    for top in range(0, len(queries), BLOCK[0]):
        rows = slice(top, top + BLOCK[0])
        first, last = torch.searchsorted(asked, torch.tensor([top, top + BLOCK[0]])).tolist()
        mine = slice(first, last)
        reference = best[rows, None].to(queries.device)
        for left in range(0, len(gallery), BLOCK[1]):
            scores = _similarity(queries[rows], gallery[left : left + BLOCK[1]])
            inside = (items[mine] >= left) & (items[mine] < left + BLOCK[1])
            scores[asked[mine][inside] - top, items[mine][inside] - left] = -torch.inf
            higher = (scores > reference + TIE).sum(1).cpu()
            above[rows] += higher
            tied[rows] += (scores >= reference - TIE).sum(1).cpu() - higher
    return above, tied


def _similarity(queries: Tensor, gallery: Tensor) -> Tensor:
    """Return all dot products [Q, N] in fp32, in training's autocast too."""
    with torch.autocast(queries.device.type, enabled=False):
        return queries.float() @ gallery.float().T


def nearest(queries: Tensor, gallery: Tensor, k: int) -> Ints:
    """Return the k most similar items [Q, min(k, N)] of each query, the most similar first."""
    k = min(k, len(gallery))
    found = []
    for rows in torch.split(queries, BLOCK[0]):
        scores = torch.empty(len(rows), 0)
        items = torch.empty(len(rows), 0, dtype=torch.int64)
        for left in range(0, len(gallery), BLOCK[1]):
            block = _similarity(rows, gallery[left : left + BLOCK[1]]).cpu()
            part = block.topk(min(k, block.shape[1]))
            scores = torch.cat([scores, part.values], 1)
            items = torch.cat([items, part.indices + left], 1)
            order = scores.sort(dim=1, descending=True, stable=True).indices[:, :k]
            scores, items = scores.gather(1, order), items.gather(1, order)
        found.append(items)
    return torch.cat(found).numpy() if found else np.zeros((0, k), np.int64)


def chance(pairs: Ints, queries: int, gallery: int) -> Ranks:
    """Return the ranks of a model that cannot tell one item from another."""
    right = np.bincount(pairs[:, 0], minlength=queries)
    return Ranks(np.zeros_like(right), gallery - right, right, np.zeros(queries))


def rank_statistic(ranks: Ranks, depths: Sequence[int], median: bool = True) -> Statistic:
    """Return the function from the weights [Q] of queries to recall, mean and median rank.

    Its keys are r@1 ..., mean_rank and median_rank; recall is the share of queries with a right
    item among the first k, 0..1. Weights are whole numbers: how often a query is counted.
    """
    hits = np.stack([ranks.hits(k) for k in depths], 1)
    places = ranks.expected()
    order = places.argsort(kind="stable")

    def statistic(weights: Ints) -> dict[str, float]:
        total = weights.sum()
        if not total:
            return {}
        recalls = weights @ hits / total
        figures = {f"r@{k}": float(r) for k, r in zip(depths, recalls, strict=True)}
        figures["mean_rank"] = float(weights @ places / total)
        if median:
            upto = weights[order].cumsum()
            middle = np.searchsorted(upto, [(total - 1) // 2, total // 2], side="right")
            figures["median_rank"] = float(places[order[middle]].mean())
        return figures

    return statistic


def rank_metrics(ranks: Ranks, depths: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Return recall at each depth, mean and median rank; see `rank_statistic`."""
    return rank_statistic(ranks, depths)(np.ones(len(ranks.above), np.int64))
