"""Figures of a classifier: top-k, the mean per class, and what is taken for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from seesay.evaluate.bootstrap import Statistic
from seesay.evaluate.ranking import Ints, Ranks


def class_statistic(ranks: Ranks, labels: Ints, depths: Sequence[int]) -> Statistic:
    """Return the function from the weights [N] of pictures to top-k and the mean per class.

    Args:
        ranks: Where the right class of each picture came.
        labels: The right class of each picture, int64 [N].
        depths: The k of top-k.

    Its keys are top1 ... and mean_per_class: the top-1 accuracy of each class there is, averaged,
    so that a rare class counts as much as a frequent one.
    """
    hits = np.stack([ranks.hits(k) for k in depths], 1)
    first = ranks.hits(1)

    def statistic(weights: Ints) -> dict[str, float]:
        total = weights.sum()
        if not total:
            return {}
        shares = weights @ hits / total
        sizes = np.bincount(labels, weights)
        per_class = np.bincount(labels, weights * first)[sizes > 0] / sizes[sizes > 0]
        figures = {f"top{k}": float(share) for k, share in zip(depths, shares, strict=True)}
        return {**figures, "mean_per_class": float(per_class.mean())}

    return statistic


def class_metrics(ranks: Ranks, labels: Ints, depths: Sequence[int] = (1, 5)) -> dict[str, float]:
    """Return top-k and the mean per class; see `class_statistic`."""
    return class_statistic(ranks, labels, depths)(np.ones(len(labels), np.int64))


def confusions(
    labels: Ints, predicted: Ints, right: Sequence[bool], shown: int = 3
) -> dict[int, tuple[int, list[tuple[int, int]]]]:
    """Say how each class fared.

    Args:
        labels: The right class of each picture, int64 [N].
        predicted: The class it was given, int64 [N].
        right: Whether that counts as right.
        shown: How many wrong classes are listed, the most frequent first.

    Returns:
        By class: how many pictures it has, and wrong classes with how many were given each.
    """
    found = {}
    for label in np.unique(labels).tolist():
        mine = labels == label
        wrong = Counter(predicted[mine & ~np.asarray(right)].tolist())
        found[label] = (int(mine.sum()), wrong.most_common(shown))
    return found
