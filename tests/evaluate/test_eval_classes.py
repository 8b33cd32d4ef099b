"""Zero-shot figures: scikit-learn's accuracies, and a confusion table one can count by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seesay.evaluate.classes import class_metrics, class_statistic, confusions
from seesay.evaluate.ranking import rank

metrics = pytest.importorskip("sklearn.metrics")


def case(seed: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    rng = torch.Generator().manual_seed(seed)
    images = torch.nn.functional.normalize(torch.randn(70, 5, generator=rng), dim=-1)
    classes = torch.nn.functional.normalize(torch.randn(9, 5, generator=rng), dim=-1)
    labels = np.random.default_rng(seed).integers(0, 7, 70)  # two classes have no picture
    return images, classes, labels


@pytest.mark.parametrize("seed", range(4))
def test_figures_are_those_of_scikit_learn(seed: int) -> None:
    images, classes, labels = case(seed)
    scores = (images @ classes.T).numpy()
    ranks = rank(images, classes, np.stack([np.arange(70), labels], 1))
    found = class_metrics(ranks, labels, (1, 5))
    for k in (1, 5):
        expected = metrics.top_k_accuracy_score(labels, scores, k=k, labels=np.arange(9))
        assert found[f"top{k}"] == pytest.approx(expected)
    recalls = metrics.recall_score(
        labels, scores.argmax(1), labels=np.unique(labels), average="macro"
    )
    assert found["mean_per_class"] == pytest.approx(recalls)


def test_whole_weights_count_pictures_as_often_as_they_say() -> None:
    images, classes, labels = case(0)
    weights = np.random.default_rng(1).integers(0, 3, 70)
    weights[labels == 3] = 0  # a class that is not drawn has no share in the mean
    ranks = rank(images, classes, np.stack([np.arange(70), labels], 1))
    drawn = np.repeat(np.arange(70), weights)
    again = rank(images[drawn], classes, np.stack([np.arange(len(drawn)), labels[drawn]], 1))
    expected = class_metrics(again, labels[drawn])
    assert class_statistic(ranks, labels, (1, 5))(weights) == pytest.approx(expected)


def test_confusions_count_what_each_class_is_taken_for() -> None:
    labels = np.array([0, 0, 0, 0, 2, 2])
    predicted = np.array([0, 1, 1, 2, 2, 0])
    assert confusions(labels, predicted, (labels == predicted).tolist()) == {
        0: (4, [(1, 2), (2, 1)]),
        2: (2, [(0, 1)]),
    }
