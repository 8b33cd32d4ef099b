"""The answers worth looking at: the worst, and the best."""

from __future__ import annotations

import numpy as np

from seesay.evaluate.ranking import Ints, Ranks

WORST, BEST = 24, 12
"""How many of each are shown."""


def worst(ranks: Ranks, clusters: Ints, count: int) -> Ints:
    """Return the queries that come last, the very worst first, one of each picture."""
    missed = np.flatnonzero(ranks.hits(1) < 1)
    order = missed[np.lexsort((ranks.score[missed], -ranks.expected()[missed]))]
    return _one_each(order, clusters)[:count]


def best(ranks: Ranks, clusters: Ints, count: int) -> Ints:
    """Return the queries that surely come first, the highest score first, one of each picture."""
    found = np.flatnonzero(ranks.hits(1) == 1)
    return _one_each(found[np.argsort(-ranks.score[found], kind="stable")], clusters)[:count]


def place(ranks: Ranks, query: int, gallery: int, score: str = "cosine") -> str:
    """Say where the right item came."""
    above, tied = int(ranks.above[query]), int(ranks.tied[query])
    span = f"{above + 1}" if not tied else f"{above + 1} to {above + tied + 1} (ties)"
    return f"rank {span} of {gallery} · {score} {ranks.score[query]:.3f}"


def _one_each(queries: Ints, clusters: Ints) -> Ints:
    _, first = np.unique(clusters[queries], return_index=True)
    return queries[np.sort(first)]
