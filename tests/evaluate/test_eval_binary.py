"""Decisions by a score: the figures are scikit-learn's, ties and weights included."""

from __future__ import annotations

import numpy as np
import pytest

from seesay.evaluate.binary import best_threshold, pair_metrics, pair_statistic

metrics = pytest.importorskip("sklearn.metrics")


def pairs(seed: int, *, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random(80) < 0.3
    scores = rng.normal(labels * 0.8, 1.0)
    return (scores.round(0) if ties else scores), labels


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_figures_are_those_of_scikit_learn(seed: int, ties: bool) -> None:
    scores, labels = pairs(seed, ties=ties)
    weights = np.random.default_rng(seed).integers(0, 3, len(scores))
    for given in (np.ones_like(weights), weights):
        said = scores >= 0.3
        found = pair_statistic(scores, labels, 0.3)(given)
        assert found == pytest.approx(
            {
                "accuracy": metrics.accuracy_score(labels, said, sample_weight=given),
                "precision": metrics.precision_score(labels, said, sample_weight=given),
                "recall": metrics.recall_score(labels, said, sample_weight=given),
                "f1": metrics.f1_score(labels, said, sample_weight=given),
                "roc_auc": metrics.roc_auc_score(labels, scores, sample_weight=given),
                "average_precision": metrics.average_precision_score(
                    labels, scores, sample_weight=given
                ),
            }
        )


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_the_best_threshold_is_the_best_of_all(seed: int, ties: bool) -> None:
    scores, labels = pairs(seed, ties=ties)
    tried = [metrics.f1_score(labels, scores >= t) for t in np.unique(scores)]
    chosen = best_threshold(scores, labels)
    assert metrics.f1_score(labels, scores >= chosen) == pytest.approx(max(tried))
    assert chosen not in scores or chosen == scores.min()


def test_a_constant_score_knows_nothing() -> None:
    labels = np.array([True, False, False, False])
    found = pair_metrics(np.full(4, 0.2), labels, best_threshold(np.full(4, 0.2), labels))
    assert found["roc_auc"] == 0.5
    assert found["average_precision"] == 0.25
    assert found["recall"] == 1.0


def test_what_is_not_defined_is_left_out_or_zero() -> None:
    found = pair_metrics(np.array([0.1, 0.2]), np.array([True, True]), 0.5)
    assert found == {"accuracy": 0.0, "precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert pair_statistic(np.array([0.1]), np.array([True]), 0.5)(np.array([0])) == {}
