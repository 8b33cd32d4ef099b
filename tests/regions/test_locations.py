"""Places as words: what is written is read back, to the bin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seesay.errors import UsageError
from seesay.regions import Box
from seesay.regions.locations import (
    BINS,
    bin_of,
    bins_in,
    box_of,
    place_of,
    points_of,
    spell,
    spell_points,
)

sides = st.integers(1, 20_000)
bins = st.integers(0, BINS - 1)
places = st.floats(-1e6, 1e6) | st.sampled_from([float("inf"), -float("inf"), 1e308, -1e308])


@given(bins, sides)
def test_the_middle_of_a_bin_falls_in_that_bin(bin: int, side: int) -> None:
    assert bin_of(place_of(bin, side), side) == bin


@given(places, sides)
def test_no_place_falls_past_the_bins(place: float, side: int) -> None:
    assert 0 <= bin_of(place, side) <= 999


@given(st.tuples(*[st.floats(0, 1)] * 4), sides, sides)
def test_a_box_comes_back_to_half_a_bin(parts: tuple[float, ...], width: int, height: int) -> None:
    size = (width, height)
    box = Box(*(part * size[i % 2] for i, part in enumerate(parts)))
    text = spell(box, size)
    back = box_of(bins_in(text), size)
    for i, (a, b) in enumerate(zip(box, back, strict=True)):
        assert abs(a - b) <= size[i % 2] / BINS / 2 * 1.0001
    assert spell(back, size) == text


@given(st.lists(st.tuples(bins, bins), min_size=1), sides, sides)
def test_points_come_back(listed: list[tuple[int, int]], width: int, height: int) -> None:
    flat = [bin for pair in listed for bin in pair]
    points = points_of([*flat, 7], (width, height))  # the odd one is left out
    assert bins_in(spell_points(points, (width, height))) == flat


def test_the_edge_of_a_picture_is_in_its_last_bin() -> None:
    assert spell((0, 0, 640, 480), (640, 480)) == "<loc_0><loc_0><loc_999><loc_999>"
    assert spell((-5, 479.9, 700, 481), (640, 480)) == "<loc_0><loc_999><loc_999><loc_999>"


def test_what_is_no_place_is_refused() -> None:
    with pytest.raises(UsageError, match="nan"):
        bin_of(float("nan"), 10)
    with pytest.raises(UsageError, match="0 pixels"):
        bin_of(1.0, 0)
