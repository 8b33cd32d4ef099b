"""The fast search gives exactly what the slow one gives, ties and near ties included."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seesay.errors import IndexDamaged
from seesay.index import topk
from seesay.index.topk import Scanner

DTYPES = [torch.bfloat16, torch.float32]


def exact(vectors: np.ndarray, queries: torch.Tensor, k: int) -> list[list[int]]:
    """The definition: float64 scores, equal ones in the order of the rows."""
    scores = queries.double() @ torch.from_numpy(vectors.astype(np.float64)).T
    order = torch.sort(scores, dim=1, descending=True, stable=True).indices
    return order[:, :k].tolist()


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def check(vectors: np.ndarray, queries: torch.Tensor, k: int, dtype: torch.dtype) -> None:
    scores, rows = Scanner(vectors, dtype).top(queries, k)
    expected = exact(vectors, queries, k)
    assert rows.tolist() == expected
    wide = torch.from_numpy(vectors.astype(np.float64))
    for q, found in enumerate(expected):
        assert torch.equal(scores[q], (wide[found] @ queries[q].double()).float())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 1000, topk.CHUNK, topk.CHUNK + 1, 40_001])
def test_equal_to_exact_search_at_any_size(count: int, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(count)
    vectors = unit(rng.standard_normal((count, 24)))
    queries = torch.from_numpy(rng.standard_normal((5, 24))).float()
    for k in (1, 10, 400):
        check(vectors, queries, k, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_when_all_are_near_ties(dtype: torch.dtype) -> None:
    # differences of one float16 step: far below what bfloat16 can tell apart
    rng = np.random.default_rng(0)
    one = unit(rng.standard_normal((1, 64)))
    vectors = np.repeat(one, 3000, axis=0)
    places = rng.integers(0, 64, 3000)
    steps = rng.choice([-1, 0, 1], 3000).astype(np.int16)
    bits = vectors.view(np.int16)
    bits[np.arange(3000), places] += steps
    queries = torch.from_numpy(np.concatenate([one, unit(rng.standard_normal((3, 64)))])).float()
    check(vectors, queries, 10, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_ties_come_in_the_order_of_rows(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(1)
    few = unit(rng.standard_normal((7, 32)))
    vectors = few[rng.integers(0, 7, 5000)]
    queries = torch.from_numpy(few.astype(np.float32))
    check(vectors, queries, 50, dtype)
    same = np.repeat(few[:1], 5000, axis=0)
    assert Scanner(same, dtype).top(queries[:1], 20)[1].tolist() == [list(range(20))]


def test_equal_where_rounding_hurts_most() -> None:
    # the best row by the rounded scan is not the best row: mantissas just below a rounding border
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((20_000, 48)).astype(np.float16)
    bits = vectors.view(np.uint16)
    bits &= 0xFFF8
    bits |= rng.choice([3, 4, 5], bits.shape).astype(np.uint16)
    queries = torch.from_numpy(rng.standard_normal((16, 48))).float()
    scan = queries.bfloat16() @ torch.from_numpy(vectors).bfloat16().T
    first = scan.float().topk(10).indices.tolist()
    assert first != exact(vectors, queries, 10), "the scan alone must be wrong for this to prove"
    check(vectors, queries, 10, torch.bfloat16)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 300.0])
def test_equal_for_vectors_of_any_length(scale: float) -> None:
    rng = np.random.default_rng(3)
    vectors = (rng.standard_normal((3000, 16)) * scale).astype(np.float16)
    queries = torch.from_numpy(rng.standard_normal((4, 16))).float() * 100
    check(vectors, queries, 10, torch.bfloat16)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_equal_for_anything_hypothesis_thinks_of(data: st.DataObject) -> None:
    values = st.sampled_from([0.0, 1.0, -1.0, 0.5, 0.501, 0.5005, 0.998, 1e-7, -65504.0, 3e-5])
    width = data.draw(st.integers(1, 4))
    count = data.draw(st.integers(1, 80))
    flat = data.draw(st.lists(values, min_size=count * width, max_size=count * width))
    vectors = np.array(flat, np.float16).reshape(count, width)
    queries = torch.tensor(data.draw(st.lists(values, min_size=width, max_size=width)))[None]
    k = data.draw(st.integers(1, 12))
    check(vectors, queries, k, data.draw(st.sampled_from(DTYPES)))


def test_many_queries_are_searched_in_parts() -> None:
    rng = np.random.default_rng(4)
    vectors = unit(rng.standard_normal((500, 8)))
    queries = torch.from_numpy(rng.standard_normal((topk.QUERIES + 3, 8))).float()
    check(vectors, queries, 3, torch.bfloat16)
    empty = Scanner(vectors).top(torch.zeros(0, 8), 3)
    assert [part.shape for part in empty] == [(0, 3), (0, 3)]


def test_vectors_that_are_not_finite_are_refused() -> None:
    vectors = np.ones((40, 4), np.float16)
    vectors[39, 3] = np.nan
    with pytest.raises(IndexDamaged, match="finite"):
        Scanner(vectors).top(torch.ones(1, 4), 1)


def test_recall_is_one_against_float32_search_on_clusters() -> None:
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((400, 128))
    vectors = unit(centres[rng.integers(0, 400, 30_000)] + 0.4 * rng.standard_normal((30_000, 128)))
    queries = torch.from_numpy(unit(centres[:32])).float()
    _, rows = Scanner(vectors, torch.bfloat16).top(queries, 10)
    plain = (queries @ torch.from_numpy(vectors).float().T).topk(10).indices
    pairs = zip(rows.tolist(), plain.tolist(), strict=True)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in pairs])
    assert recall > 0.999, "all but swaps below the rounding of float32 itself"
