"""Average precision: equal to the programs that published figures come from, and by hand."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from seesay.evaluate.regions.detection import Detections
from seesay.evaluate.regions.overlap import box_iou
from seesay.regions import Box, Region

LABELS = ("a", "b", "c")
Data = tuple[list[list[Region]], list[list[Region]], list[set[int]]]


def made(seed: int, pictures: int = 12) -> Data:
    """Pictures with boxes, crowds, and boxes that were found near them; some scores are equal."""
    rng = np.random.default_rng(seed)
    found: list[list[Region]] = []
    wanted: list[list[Region]] = []
    crowds: list[set[int]] = []
    for _ in range(pictures):
        there, said, many = [], [], set()
        for place in range(rng.integers(0, 6)):
            x, y, w, h = rng.uniform([0, 0, 5, 5], [80, 80, 60, 60])
            there.append(Region(str(rng.choice(LABELS)), box=Box(x, y, x + w, y + h)))
            if rng.random() < 0.15:
                many.add(place)
        for region in there:
            for _ in range(rng.integers(0, 3)):
                box = Box(*(np.array(region.box) + rng.normal(0, 4, 4))).ordered
                score = [None, float(rng.random()), float(rng.integers(1, 4)) / 4][seed % 3]
                said.append(Region(region.label if rng.random() < 0.9 else "b", score, box))
        found.append(said)
        wanted.append(there)
        crowds.append(many)
    return found, wanted, crowds


def by_oracle(data: Data, package: str) -> list[float]:
    """AP, AP50, AP75 and AR100 as pycocotools or faster-coco-eval have them."""
    if package == "pycocotools":
        coco = pytest.importorskip("pycocotools.coco").COCO
        evaluate = import_module("pycocotools.cocoeval").COCOeval
    else:
        coco, evaluate = (
            getattr(pytest.importorskip(package), n) for n in ("COCO", "COCOeval_faster")
        )
    found, wanted, crowds = data
    notes: list[dict[str, Any]] = []
    for i, there in enumerate(wanted):
        for place, region in enumerate(there):
            x, y = region.box[:2]
            w, h = region.box.width, region.box.height
            note = {"id": len(notes) + 1, "image_id": i, "category_id": LABELS.index(region.label)}
            notes.append(
                note | {"bbox": [x, y, w, h], "area": w * h, "iscrowd": int(place in crowds[i])}
            )
    results = [
        {
            "image_id": i,
            "category_id": LABELS.index(region.label),
            "bbox": [*region.box[:2], region.box.width, region.box.height],
            "score": 1.0 if region.score is None else region.score,
        }
        for i, said in enumerate(found)
        for region in said
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        right = coco()
        right.dataset = {
            "info": {},
            "images": [{"id": i, "width": 200, "height": 200} for i in range(len(wanted))],
            "categories": [{"id": i, "name": name} for i, name in enumerate(LABELS)],
            "annotations": notes,
        }
        right.createIndex()
        run = evaluate(right, right.loadRes(results), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return [float(run.stats[i]) for i in (0, 1, 2, 8)]


@pytest.mark.parametrize("package", ["pycocotools", "faster_coco_eval"])
@pytest.mark.parametrize("seed", range(9))
def test_figures_equal_those_of_coco(seed: int, package: str) -> None:
    data = made(seed)
    mine = Detections(*data).statistic(np.ones(len(data[0]), np.int64))
    assert list(mine) == ["map", "map50", "map75", "ar100"]
    assert list(mine.values()) == pytest.approx(by_oracle(data, package), abs=1e-9)


def test_a_picture_counted_twice_is_as_two_pictures() -> None:
    found, wanted, crowds = made(1)
    once = Detections(found, wanted, crowds)
    rows = [0, 0, 1, 3, 3, 3, 7]
    drawn = Detections(*([column[i] for i in rows] for column in (found, wanted, crowds)))
    ones = drawn.statistic(np.ones(len(rows), np.int64))
    assert once.statistic(np.bincount(rows, minlength=12)) == pytest.approx(ones, abs=0.02)


def boxes(*corners: tuple[float, float, float, float]) -> list[Region]:
    return [Region("dog", box=Box(*each)) for each in corners]


def test_average_precision_by_hand() -> None:
    wanted = [boxes((0, 0, 10, 10), (20, 0, 30, 10))]
    one = np.ones(1, np.int64)
    perfect = Detections(wanted, wanted).statistic(one)
    assert perfect == {"map": 1, "map50": 1, "map75": 1, "ar100": 1}
    half = Detections([boxes((0, 0, 10, 10))], wanted).statistic(one)
    # right as far as a recall of one half: 51 of the 101 recalls
    assert half["map"] == pytest.approx(51 / 101)
    # 60 % of the union, so it counts at 0.5, 0.55 and 0.6
    near = Detections([boxes((0, 0, 10, 6), (20, 0, 30, 6))], wanted).statistic(one)
    assert (near["map50"], near["map75"]) == (1, 0)
    assert near["map"] == pytest.approx(0.3)
    twice = Detections([boxes((0, 0, 10, 10), (0, 0, 10, 10))], wanted[:1]).statistic(one)
    assert twice["ar100"] == 0.5


def test_nothing_found_is_zero_and_nothing_wanted_is_no_figure() -> None:
    one = np.ones(1, np.int64)
    assert Detections([[]], [boxes((0, 0, 1, 1))]).statistic(one)["map"] == 0
    assert Detections([boxes((0, 0, 1, 1))], [[]]).statistic(one) == {}
    assert Detections([boxes((0, 0, 1, 1))], [boxes((0, 0, 1, 1))]).scored is False


def test_labels_are_compared_in_lower_case_and_listed_one_by_one() -> None:
    wanted = [[Region("Traffic  light", box=Box(0, 0, 9, 9)), Region("cow", box=Box(0, 0, 9, 9))]]
    found = [[Region("traffic light", box=Box(0, 0, 9, 9)), Region("ufo", box=Box(0, 0, 9, 9))]]
    assert Detections(found, wanted).by_label() == [("cow", 1, 0, 0), ("traffic light", 1, 1, 1)]


def test_the_overlap_of_boxes() -> None:
    rows: Sequence[Box] = [Box(0, 0, 10, 10), Box(5, 5, 5, 5), Box(9, 9, 1, 1)]
    iou = box_iou(rows, [Box(5, 0, 15, 10), Box(0, 0, 10, 10)], np.array([False, True]))
    # of a crowd only the box itself is the union; edges that are exchanged enclose nothing
    assert iou.tolist() == [[pytest.approx(1 / 3), 1], [0, 0], [0, 0]]
    assert box_iou([], rows).shape == (0, 3)
