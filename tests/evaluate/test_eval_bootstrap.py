"""Intervals: repeatable, as wide as theory says, and wider when captions share a picture."""

from __future__ import annotations

import numpy as np
import pytest

from seesay.evaluate.bootstrap import Statistic, intervals


def mean_of(values: np.ndarray, clusters: np.ndarray | None = None) -> Statistic:
    def statistic(counts: np.ndarray) -> dict[str, float]:
        weights = counts if clusters is None else counts[clusters]
        return {"mean": float(weights @ values / weights.sum())}

    return statistic


def test_the_seed_decides_everything() -> None:
    statistic = mean_of(np.arange(50.0))
    assert intervals(statistic, 50, seed=3) == intervals(statistic, 50, seed=3)
    assert intervals(statistic, 50, seed=3) != intervals(statistic, 50, seed=4)
    assert intervals(statistic, 50, resamples=0) == {}


def test_the_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(0).random(400)
    low, high = intervals(mean_of(values), 400, resamples=4000)["mean"]
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 10)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        values = (rng.random(60) < 0.4).astype(float)
        low, high = intervals(mean_of(values), 60, resamples=200, seed=trial)["mean"]
        covered += low <= 0.4 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_captions_of_one_picture_are_drawn_together() -> None:
    """Five captions that succeed and fail together tell no more than one."""
    success = (np.random.default_rng(2).random(80) < 0.5).astype(float)
    values, clusters = np.repeat(success, 5), np.repeat(np.arange(80), 5)
    one = intervals(mean_of(success), 80)["mean"]
    five = intervals(mean_of(values, clusters), 80)["mean"]
    alone = intervals(mean_of(values), 400)["mean"]
    assert five == pytest.approx(one)
    assert five[1] - five[0] > 1.8 * (alone[1] - alone[0])


def test_a_figure_that_is_undefined_in_a_draw_is_left_out_of_it() -> None:
    def statistic(counts: np.ndarray) -> dict[str, float]:
        return {"first": 1.0} if counts[0] else {}

    assert intervals(statistic, 5, resamples=50) == {"first": (1.0, 1.0)}
