"""Groups of near duplicates are those of the plain definition."""

from __future__ import annotations

import numpy as np
import pytest

from seesay.index import duplicates
from seesay.index.duplicates import groups


def plain(vectors: np.ndarray, threshold: float) -> list[list[int]]:
    """The definition: each row joins the first leader that is similar enough, or leads."""
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    found: dict[int, list[int]] = {}
    for row in range(len(unit)):
        for leader in found:
            if unit[row] @ unit[leader] >= threshold:
                found[leader].append(row)
                break
        else:
            found[row] = [row]
    return [rows for rows in found.values() if len(rows) > 1]


@pytest.mark.parametrize("block", [1, 7, 64, 4096])
@pytest.mark.parametrize("seed", range(4))
def test_groups_are_those_of_the_definition(
    seed: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "BLOCK", block)
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((25, 32))
    vectors = (centres[rng.integers(0, 25, 300)] + 0.1 * rng.standard_normal((300, 32))).astype(
        "f2"
    )
    for threshold in (0.9, 0.985, 0.99):
        found = groups(vectors, threshold)
        assert [[row for row, _ in group] for group in found] == plain(vectors, threshold)
        for group in found:
            assert group[0][1] == 1
            assert all(threshold <= score <= 1 for _, score in group)


@pytest.mark.parametrize("block", [3, 4096])
def test_all_alike_and_none_alike(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "BLOCK", block)
    one = np.random.default_rng(0).standard_normal((1, 16)).astype("f2")
    assert [len(group) for group in groups(np.repeat(one, 200, 0), 0.999)] == [200]
    assert groups(np.eye(64, dtype="f2"), 0.1) == []
    assert groups(np.zeros((0, 16), "f2"), 0.9) == []


def test_a_chain_of_small_steps_is_no_group() -> None:
    angles = np.linspace(0, np.pi / 2, 40)
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype("f2")
    found = groups(vectors, 0.99)
    assert len(found) > 3
    assert max(map(len, found)) < 6
