"""Confidence intervals: what the figures would be on other samples like this one.

Paper: Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7 (1979); the
percentile interval. Whole pictures are drawn, each with all its captions, because captions of one
picture succeed and fail together: drawn one by one they would make the interval too narrow.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Statistic = Callable[[NDArray[np.int64]], dict[str, float]]
"""From how often each item is counted to the figures; a figure that is undefined is left out."""

LEVEL = 0.95


def intervals(
    statistic: Statistic, clusters: int, *, resamples: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Return the 95 % percentile interval of each figure.

    Args:
        statistic: Called with how often each cluster was drawn, int64 [clusters].
        clusters: How many there are.
        resamples: How many samples are drawn; 0 gives no intervals.
        seed: Decides the draws.
    """
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {}
    for _ in range(resamples):
        counts = np.bincount(rng.integers(clusters, size=clusters), minlength=clusters)
        for key, value in statistic(counts).items():
            drawn.setdefault(key, []).append(value)
    tail = 50 * (1 - LEVEL)
    ends = {key: np.percentile(values, [tail, 100 - tail]) for key, values in drawn.items()}
    return {key: (float(low), float(high)) for key, (low, high) in ends.items()}
