"""Ranks and recall are those of a loop anyone can check, and chance is what ties say."""

from __future__ import annotations

from itertools import permutations
from math import comb

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seesay.evaluate import ranking
from seesay.evaluate.ranking import chance, nearest, rank, rank_metrics, rank_statistic


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=-1)


def loop(queries: torch.Tensor, gallery: torch.Tensor, pairs: np.ndarray) -> dict[str, float]:
    """The definition, one query at a time, for scores that do not tie."""
    places = []
    for q in range(len(queries)):
        right = {item for query, item in pairs.tolist() if query == q}
        scores = [float(queries[q].double() @ item.double()) for item in gallery]
        order = sorted(range(len(gallery)), key=lambda i: -scores[i])
        places.append(1 + min(order.index(item) for item in right))
    return {
        **{f"r@{k}": sum(p <= k for p in places) / len(places) for k in (1, 5, 10)},
        "mean_rank": float(np.mean(places)),
        "median_rank": float(np.median(places)),
    }


def several(queries: int, gallery: int, seed: int) -> np.ndarray:
    """One to four right items for each query."""
    rng = np.random.default_rng(seed)
    return np.array(
        [
            (q, item)
            for q in range(queries)
            for item in rng.choice(gallery, rng.integers(1, 5), replace=False)
        ]
    )


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_those_of_a_loop_over_sorted_scores(seed: int) -> None:
    queries, gallery = unit(23, 6, seed=seed), unit(41, 6, seed=seed + 100)
    pairs = several(23, 41, seed)
    found = rank_metrics(rank(queries, gallery, pairs))
    assert found == pytest.approx(loop(queries, gallery, pairs))


@pytest.mark.parametrize("block", [(1, 1), (4, 7), (23, 41), (100, 3)])
def test_blocks_change_nothing(block: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    queries, gallery, pairs = unit(23, 6), unit(41, 6, seed=1), several(23, 41, 2)
    whole, near = rank(queries, gallery, pairs), nearest(queries, gallery, 5)
    monkeypatch.setattr(ranking, "BLOCK", block)
    parts = rank(queries, gallery, pairs)
    for name in ("above", "tied", "right"):
        assert (getattr(whole, name) == getattr(parts, name)).all()
    assert (nearest(queries, gallery, 5) == near).all()


def test_recall_is_that_of_clip_benchmark_when_nothing_ties() -> None:
    """Its definition: among the top k, is any positive of the query?"""
    images, texts = unit(30, 8), unit(150, 8, seed=1)
    positive = torch.zeros(150, 30, dtype=torch.bool)
    positive[torch.arange(150), torch.arange(150) // 5] = True
    scores = texts @ images.T
    pairs = positive.nonzero().numpy()
    to_image, to_text = (
        rank_metrics(rank(texts, images, pairs)),
        rank_metrics(rank(images, texts, pairs[:, ::-1])),
    )
    for k in (1, 5, 10):
        top = scores.topk(k, dim=1).indices
        assert to_image[f"r@{k}"] == pytest.approx(positive.gather(1, top).any(1).double().mean())
        top = scores.T.topk(k, dim=1).indices
        assert to_text[f"r@{k}"] == pytest.approx(positive.T.gather(1, top).any(1).double().mean())


def test_nearest_is_a_sort() -> None:
    queries, gallery = unit(5, 4), unit(33, 4, seed=1)
    expected = (queries @ gallery.T).argsort(dim=1, descending=True)[:, :7]
    assert nearest(queries, gallery, 7).tolist() == expected.tolist()
    assert nearest(queries, gallery[:3], 7).shape == (5, 3)


@pytest.mark.parametrize("width", [7, 64, 512])
def test_a_model_that_gives_everything_one_vector_scores_chance(width: int) -> None:
    """Float sums differ in the last bits from column to column; they tie all the same."""
    vector = unit(1, width)
    noise = 1 + 1e-7 * torch.randn(300, 1, generator=torch.Generator().manual_seed(1))
    pairs = several(60, 300, 3)
    ranks = rank(vector.expand(60, -1), vector * noise, pairs)
    guess = chance(pairs, 60, 300)
    assert rank_metrics(ranks) == pytest.approx(rank_metrics(guess))
    assert rank_metrics(guess)["r@1"] < 0.02


def test_chance_is_the_hypergeometric_distribution() -> None:
    pairs = np.array([(0, 0), (1, 1), (1, 2), (1, 3)])
    ranks = chance(pairs, 2, 10)
    for k in range(1, 11):
        expected = [1 - comb(9, k) / comb(10, k), 1 - comb(7, k) / comb(10, k)]
        assert ranks.hits(k).tolist() == pytest.approx(expected)
    # the least of m draws from 1 .. N is (N + 1) / (m + 1) on average
    assert ranks.expected().tolist() == pytest.approx([5.5, 11 / 4])


@given(
    scores=st.lists(st.sampled_from([0.0, 0.25, 0.5]), min_size=2, max_size=6),
    right=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_figures_are_the_mean_over_all_orders_of_what_ties(
    scores: list[float], right: st.DataObject
) -> None:
    count = len(scores)
    chosen = right.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=count))
    query = torch.tensor([[1.0, 0.0]])
    gallery = torch.tensor([[s, (1 - s * s) ** 0.5] for s in scores])
    ranks = rank(query, gallery, np.array([(0, i) for i in sorted(chosen)]))
    places = []
    for shuffled in permutations(range(count)):
        order = sorted(shuffled, key=lambda i: -scores[i])  # stable: ties stay shuffled
        places.append(1 + min(order.index(i) for i in chosen))
    assert ranks.expected()[0] == pytest.approx(np.mean(places))
    for k in range(1, count + 1):
        assert ranks.hits(k)[0] == pytest.approx(np.mean([p <= k for p in places]))


def test_whole_weights_count_queries_as_often_as_they_say() -> None:
    ranks = rank(unit(30, 4), unit(50, 4, seed=1), several(30, 50, 1))
    weights = np.random.default_rng(0).integers(0, 4, 30)
    repeated = np.repeat(np.arange(30), weights)
    places, hits = ranks.expected()[repeated], ranks.hits(5)[repeated]
    found = rank_statistic(ranks, (5,))(weights)
    assert found["mean_rank"] == pytest.approx(places.mean())
    assert found["median_rank"] == pytest.approx(np.median(places))
    assert found["r@5"] == pytest.approx(hits.mean())
    assert rank_statistic(ranks, (5,))(np.zeros(30, np.int64)) == {}


def test_a_query_with_nothing_right_is_an_error() -> None:
    with pytest.raises(ValueError, match="query 1"):
        rank(unit(2, 3), unit(4, 3), np.array([(0, 1)]))
