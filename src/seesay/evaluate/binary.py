"""Figures of a yes-or-no decision by a score: accuracy, precision, recall, F1, and areas."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seesay.evaluate.bootstrap import Statistic
from seesay.evaluate.ranking import Floats, Ints

Bools = NDArray[np.bool_]


def pair_statistic(scores: Floats, labels: Bools, threshold: float) -> Statistic:
    """Return the function from the weights [N] of pairs to the figures of the decision.

    Args:
        scores: float64 [N].
        labels: Whether picture and text belong together, bool [N].
        threshold: A pair with this score or a higher one is said to.

    Its keys are accuracy, precision, recall, f1, roc_auc and average_precision. Precision, recall
    and F1 are 0 when nothing is found; the areas need both kinds of pairs. Pairs with equal
    scores are one point of the curves, so a constant score has a roc_auc of one half.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    said = scores >= threshold

    def statistic(weights: Ints) -> dict[str, float]:
        total = weights.sum()
        if not total:
            return {}
        positive, found = weights[labels].sum(), weights[said & labels].sum()
        told = weights[said].sum()
        wrong = told - found + positive - found
        figures = {
            "accuracy": float(1 - wrong / total),
            "precision": float(found / max(told, 1)),
            "recall": float(found / max(positive, 1)),
            "f1": float(2 * found / max(told + positive, 1)),
        }
        if 0 < positive < total:
            sorted_weights = weights[order]
            true = (sorted_weights * labels[order]).cumsum()[ends]
            everything = sorted_weights.cumsum()[ends]
            figures |= _areas(true, everything - true)
        return figures

    return statistic


def pair_metrics(scores: Floats, labels: Bools, threshold: float) -> dict[str, float]:
    """Return accuracy, precision, recall, F1 and the areas; see `pair_statistic`."""
    return pair_statistic(scores, labels, threshold)(np.ones(len(scores), np.int64))


def _areas(true: Ints, false: Ints) -> dict[str, float]:
    """The areas under both curves, from what each threshold finds, the highest first."""
    steps = np.diff(true, prepend=0)
    before = false - np.diff(false, prepend=0)
    # of each true pair: the false ones it scores above, those that tie counting half
    above = (steps * (false[-1] - (before + false) / 2)).sum()
    precision = true / np.maximum(true + false, 1)
    return {
        "roc_auc": float(above / (true[-1] * false[-1])),
        "average_precision": float((steps * precision).sum() / true[-1]),
    }


def best_threshold(scores: Floats, labels: Bools) -> float:
    """Return the threshold with the best F1, halfway between the scores on its two sides.

    Of several that are as good, the highest: it says yes to the fewest.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    true = labels[order].cumsum()[ends]
    f1 = 2 * true / (ends + 1 + labels.sum())
    best = int(f1.argmax())
    lowest = scores[order][ends[best]]
    if best + 1 == len(ends):
        return float(lowest)
    return float((lowest + scores[order][ends[best] + 1]) / 2)
