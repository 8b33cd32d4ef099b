"""Phrases, lines of text and masks, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seesay.evaluate.regions.grounding import grounded
from seesay.evaluate.regions.lines import f1, lines
from seesay.evaluate.regions.masks import mask_overlap
from seesay.evaluate.regions.overlap import outline_iou, touching
from seesay.regions import Box, Point, Region, Regions

LEFT, RIGHT = Box(0, 0, 10, 10), Box(20, 0, 30, 10)


def test_the_first_box_of_an_expression_counts() -> None:
    wanted = [Region("the left dog", box=LEFT)]
    assert grounded([Region("dog", box=LEFT), Region("dog", box=RIGHT)], wanted) == (1, 1)
    assert grounded([Region("dog", box=RIGHT), Region("dog", box=LEFT)], wanted) == (0, 1)
    surer = [Region("dog", 0.2, RIGHT), Region("dog", 0.9, LEFT)]
    assert grounded(surer, wanted) == (1, 1)
    assert grounded([], wanted) == (0, 1)


def test_half_of_the_union_is_enough() -> None:
    wanted = [Region("x", box=Box(0, 0, 10, 10))]
    assert grounded([Region("x", box=Box(0, 0, 10, 5))], wanted) == (1, 1)
    assert grounded([Region("x", box=Box(0, 0, 10, 4.9))], wanted) == (0, 1)


def test_each_phrase_of_a_caption_is_found_with_any_of_its_boxes() -> None:
    wanted = [
        Region("Two dogs", box=LEFT),
        Region("Two dogs", box=RIGHT),
        Region("a ball", box=LEFT),
    ]
    found = [Region("two dogs", box=RIGHT), Region("a ball", box=RIGHT)]
    assert grounded(found, wanted) == (1, 2)
    # of several phrases, none may use the box of another
    assert grounded([Region("something", box=LEFT)], wanted) == (0, 2)


def turned(box: Box, degrees: float) -> Region:
    x, y = (box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = [
        Point(x + c * (p - x) - s * (q - y), y + s * (p - x) + c * (q - y)) for p, q in box.corners
    ]
    return Region("line", quad=(corners[0], corners[1], corners[2], corners[3]))


def test_quads_overlap_by_their_own_outlines() -> None:
    square = turned(Box(0, 0, 10, 10), 0)
    assert outline_iou(square, square) == pytest.approx(1)
    # a square and itself turned by an eighth share a regular octagon
    octagon = 2 * (math.sqrt(2) - 1) * 100
    turn = turned(Box(0, 0, 10, 10), 45)
    assert outline_iou(square, turn) == pytest.approx(octagon / (200 - octagon))
    backwards = Region("line", quad=square.quad[::-1] if square.quad else None)
    assert outline_iou(square, backwards) == pytest.approx(1)
    # long lines turned either way: their boxes are the same, and they share only the middle
    up, down = turned(Box(0, 0, 100, 4), 30), turned(Box(0, 0, 100, 4), -30)
    assert up.box == pytest.approx(down.box)
    assert outline_iou(up, down) < 0.1
    assert outline_iou(square, turned(Box(50, 50, 60, 60), 10)) == 0


def test_overlap_of_quads_is_that_of_pixels() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y, w, h = rng.uniform([20, 20, 20, 20], [60, 60, 60, 60])
        one = turned(Box(x, y, x + w, y + h), rng.uniform(0, 90))
        other = turned(Box(x + 5, y - 4, x + w, y + h), rng.uniform(0, 90))
        a, b = Regions("", [one], (160, 160)), Regions("", [other], (160, 160))
        assert outline_iou(one, other) == pytest.approx(mask_overlap(a, b).iou, abs=0.04)


def test_lines_are_found_one_to_one_and_read_with_the_right_text() -> None:
    wanted = [Region("Total", box=LEFT), Region("12.50", box=RIGHT)]
    found = [
        Region("TOTAL", box=LEFT),
        Region("12.60", box=RIGHT),
        Region("Total", box=LEFT),
    ]
    counts = lines(found, wanted)
    assert counts == (2, 1, 3, 2)
    assert f1(counts.matched, counts.found, counts.wanted) == pytest.approx(0.8)
    # the right text counts, though a wrong one lies nearer
    close = [Region("Totel", box=LEFT), Region("Total", box=Box(0, 0, 10, 8))]
    assert lines(close, wanted[:1]) == (1, 1, 2, 1)
    assert lines([], []) == (0, 0, 0, 0)


def test_only_lines_that_may_overlap_are_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)

    def line(i: int) -> Region:
        x, y = 400.0 * (i % 2), 20.0 * (i // 2)
        corners = np.array([(x, y), (x + 350, y + 6), (x + 350, y + 22), (x, y + 16)])
        quad = tuple(Point(*point) for point in corners + draw.normal(0, 4, (4, 2)))
        return Region(str(i % 7), quad=quad)  # type: ignore[arg-type]

    found, wanted = ([line(i) for i in range(300)] for _ in range(2))
    near = {(i, j) for i, a in enumerate(found) for j, b in enumerate(wanted) if outline_iou(a, b)}
    assert near <= set(touching(found, wanted))
    assert len(touching(found, wanted)) < 10 * 300
    assert touching(found, []) == []
    clipped: list[float] = []

    def counted(one: Region, other: Region) -> float:
        clipped.append(outline_iou(one, other))
        return clipped[-1]

    monkeypatch.setattr("seesay.evaluate.regions.lines.outline_iou", counted)
    quick = lines(found, wanted)
    assert 300 <= len(clipped) < 10 * 300
    everything = [(i, j) for i in range(300) for j in range(300)]
    monkeypatch.setattr("seesay.evaluate.regions.lines.touching", lambda *_: everything)
    assert quick == lines(found, wanted)
    assert f1(0, 0, 0) == 1


def polygon(*corners: tuple[float, float], instance: int | None = None) -> Region:
    return Region("x", polygon=tuple(Point(*each) for each in corners), instance=instance)


def test_masks_of_all_parts_are_compared() -> None:
    wanted = Regions("", [polygon((0, 0), (20, 0), (20, 10), (0, 10))], (40, 20))
    halves = [
        polygon((0, 0), (10, 0), (10, 10), (0, 10)),
        polygon((10, 0), (20, 0), (20, 10), (10, 10)),
    ]
    assert mask_overlap(Regions("", halves, (40, 20)), wanted).iou == pytest.approx(1)
    half = mask_overlap(Regions("", halves[:1], (40, 20)), wanted)
    assert half.iou == pytest.approx(0.5)
    nothing = Regions("", [], (40, 20))
    assert mask_overlap(nothing, wanted) == (0, 200)
    assert mask_overlap(nothing, nothing).iou == 1
