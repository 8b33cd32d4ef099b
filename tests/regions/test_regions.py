"""What a region is, and what other programs make of regions."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest

import seesay
from seesay.errors import MissingExtra, UsageError
from seesay.regions import Box, Point, Region, Regions
from seesay.regions.export import coco, label_studio, label_studio_form

SQUARE = (Point(10, 20), Point(30, 20), Point(30, 40), Point(10, 40))
TRIANGLE = (Point(50, 50), Point(60, 50), Point(50, 60))
QUAD = (Point(5, 5), Point(25, 7), Point(25, 12), Point(5, 10))

FOUND = Regions(
    "cat, two parts, 你好",
    [
        Region("cat", 0.5, (10, 20, 30, 40)),
        Region("two parts", 0.25, polygon=SQUARE, instance=0),
        Region("two parts", 0.25, polygon=TRIANGLE, instance=0),
        Region("你好", quad=QUAD),
    ],
    (100, 80),
)


def test_every_region_has_a_box_whatever_it_was_made_of() -> None:
    assert Region(quad=QUAD).box == (5, 5, 25, 12)
    assert Region(polygon=TRIANGLE).box == (50, 50, 60, 60)
    box = Region(box=(1, 2, 3, 4)).box
    assert isinstance(box, Box)
    assert (box.width, box.height) == (2, 2)
    assert all(isinstance(value, float) for value in box)


def test_exchanged_edges_are_kept_until_somebody_orders_them() -> None:
    region = Region(box=(30, 40, 10, 20))
    assert region.box == (30, 40, 10, 20)
    assert region.box.ordered == (10, 20, 30, 40)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "nowhere"),
        ({"box": (1, 2, 3)}, "not four finite numbers"),
        ({"box": (1, 2, 3, float("nan"))}, "not four finite numbers"),
        ({"quad": SQUARE[:3]}, "3 points and not 4 points"),
        ({"polygon": ()}, "1 points or more"),
        ({"polygon": [(1, float("inf"))]}, "not two finite numbers"),
    ],
)
def test_what_is_nowhere_is_no_region(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Region(**given)


def test_the_package_offers_region_and_box() -> None:
    assert seesay.Region is Region
    assert seesay.Box is Box


def test_importing_regions_imports_nothing_slow() -> None:
    code = (
        "import sys, seesay.regions, seesay.regions.locations, seesay.regions.export;"
        "print(sorted({'torch', 'numpy', 'PIL', 'supervision'} & sys.modules.keys()))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_parts_of_one_thing_are_together_and_boxes_alone() -> None:
    assert [[part.label for part in parts] for parts in FOUND.things()] == [
        ["cat"],
        ["two parts", "two parts"],
        ["你好"],
    ]
    alone = Regions("", [Region(polygon=SQUARE), Region(polygon=SQUARE)], (100, 80))
    assert len(alone.things()) == 2


def test_people_are_shown_labels_boxes_and_scores() -> None:
    assert FOUND.show().startswith("cat [10,20,30,40] 0.50 | two parts [10,20,30,40] 0.25")
    assert Regions("a cat", [], (4, 4)).show() == "a cat"
    broken = Region("two\n lines", box=(0, 0, 1, 2))
    assert Regions("", [broken], (4, 4)).show() == "two lines [0,0,1,2]"


def test_a_mask_is_the_union_of_the_parts_of_a_thing() -> None:
    masks = FOUND.masks()
    assert masks.shape == (3, 80, 100)
    assert masks.dtype == bool
    assert masks[0][20:40, 10:30].all()
    assert masks[0].sum() == 400
    assert masks[1][30, 20]
    assert masks[1][52, 52]
    assert not masks[1][45, 45]
    assert masks[2][8, 15]
    assert not masks[2][20:].any()


def test_a_mask_agrees_with_asking_each_pixel() -> None:
    """Even and odd crossings, of outlines that may cross themselves and leave the picture."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:48, 0:64] + 0.5
    for _ in range(20):
        points = [Point(*(rng.random(2) * (84, 68) - 10)) for _ in range(rng.integers(3, 9))]
        inside = np.zeros((48, 64), bool)
        for a, b in zip(points, [*points[1:], points[0]], strict=True):
            crossed = (a.y > y) != (b.y > y)
            with np.errstate(divide="ignore", invalid="ignore"):
                at = a.x + (y - a.y) / (b.y - a.y) * (b.x - a.x)
            inside ^= crossed & (x < at)
        mask = Regions("", [Region(polygon=points)], (64, 48)).masks()[0]
        assert (mask == inside).all()


def test_outlines_that_leave_the_picture_or_have_no_inside_make_masks_too() -> None:
    far = [Point(-500, -500), Point(500, -500), Point(500, 500), Point(-500, 500)]
    regions = [
        Region(polygon=far),
        Region(polygon=[Point(900, 900), Point(910, 900), Point(910, 910)]),
        Region(polygon=[Point(3, 3)]),
        Region(box=(30, 40, 10, 20)),
    ]
    masks = Regions("", regions, (100, 80)).masks()
    assert masks[0].all()
    assert not masks[1].any()
    assert not masks[2].any()
    assert masks[3][30, 20]
    assert Regions("", [], (100, 80)).masks().shape == (0, 80, 100)


def test_coco_has_one_annotation_for_a_thing_and_one_category_for_a_label() -> None:
    told = coco([FOUND, FOUND], ["a.jpg", "b.jpg"])
    json.dumps(told)
    assert told["images"][1] == {"id": 2, "file_name": "b.jpg", "width": 100, "height": 80}
    assert [one["name"] for one in told["categories"]] == ["cat", "two parts", "text"]
    assert [one["id"] for one in told["annotations"]] == [1, 2, 3, 4, 5, 6]
    cat, parts, line = told["annotations"][:3]
    assert (cat["bbox"], cat["area"], cat["score"]) == ([10, 20, 20, 20], 400, 0.5)
    assert parts["segmentation"] == [[10, 20, 30, 20, 30, 40, 10, 40], [50, 50, 60, 50, 50, 60]]
    assert parts["bbox"] == [10, 20, 50, 40]
    assert parts["area"] == 450
    assert line["utf8_string"] == "你好"
    assert "score" not in line
    with pytest.raises(UsageError, match="2 results and 1 names"):
        coco([FOUND, FOUND], ["a.jpg"])


def test_two_results_of_one_picture_are_one_image_of_coco() -> None:
    told = coco([FOUND, FOUND, FOUND], ["a.jpg", "b.jpg", "a.jpg"])
    assert [(one["id"], one["file_name"]) for one in told["images"]] == [(1, "a.jpg"), (2, "b.jpg")]
    assert [one["image_id"] for one in told["annotations"]] == [1, 1, 1, 2, 2, 2, 1, 1, 1]


def test_a_region_without_a_label_is_called_a_region_by_others() -> None:
    proposal = Regions("", [Region(box=(0, 0, 5, 5))], (10, 10))
    assert [one["name"] for one in proposal.to_coco("a.jpg")["categories"]] == ["region"]
    [mark] = proposal.to_label_studio("a.jpg")["predictions"][0]["result"]
    assert mark["value"]["rectanglelabels"] == ["region"]


def test_label_studio_gets_percent_and_the_words_of_a_line() -> None:
    (task,) = label_studio([FOUND], ["/data/a.jpg"])
    json.dumps(task)
    assert task["data"] == {"image": "/data/a.jpg"}
    marks = task["predictions"][0]["result"]
    assert [mark["type"] for mark in marks] == [
        "rectanglelabels", "polygonlabels", "polygonlabels", "polygonlabels", "textarea",
    ]  # fmt: skip
    value = marks[0]["value"]
    assert (value["x"], value["y"], value["width"], value["height"]) == (10, 25, 20, 25)
    assert value["rectanglelabels"] == ["cat"]
    assert marks[1]["value"]["points"][0] == [10, 25]
    assert marks[3]["value"]["polygonlabels"] == ["Text"]
    assert marks[4]["value"]["text"] == ["你好"]
    assert marks[4]["id"] == marks[3]["id"]
    assert marks[0]["score"] == 0.5
    assert "score" not in task["predictions"][0]  # one region has none


def test_the_form_of_label_studio_names_all_that_the_predictions_use() -> None:
    odd = Regions("", [Region('a "quoted" <label>', box=(0, 0, 1, 1))], (10, 10))
    form = ET.fromstring(label_studio_form([FOUND, odd]))
    named = {one.get("name") for one in form.iter() if one.get("name")}
    for task in label_studio([FOUND, odd], ["a", "b"]):
        for mark in task["predictions"][0]["result"]:
            assert mark["from_name"] in named
            assert mark["to_name"] in named
    assert 'a "quoted" <label>' in {one.get("value") for one in form.iter("Label")}


def test_supervision_gets_one_row_for_each_thing() -> None:
    pytest.importorskip("supervision")
    rows = FOUND.to_supervision()
    assert rows.xyxy.tolist() == [[10, 20, 30, 40], [10, 20, 60, 60], [5, 5, 25, 12]]
    assert rows.mask.shape == (3, 80, 100)
    assert rows.confidence is None  # one has no score
    assert rows.data["class_name"].tolist() == ["cat", "two parts", "你好"]
    scored = Regions("", FOUND.regions[:1] * 2, (100, 80)).to_supervision()
    assert scored.confidence.tolist() == [0.5, 0.5]
    assert scored.class_id.tolist() == [0, 0]
    assert scored.mask is None
    assert len(Regions("", [], (10, 10)).to_supervision()) == 0


def test_without_supervision_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingExtra, match="supervision"):
        FOUND.to_supervision()
