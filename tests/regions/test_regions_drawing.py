"""Drawings show every region, say what it is, and can be read."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from PIL import Image

from contract.probes import picture
from seesay.errors import UsageError
from seesay.recipes.labelfont import LETTERS, chinese, ranged
from seesay.regions import Point, Region, Regions
from seesay.regions.draw import PALETTE, SMALLEST, Tag, arrange, shortened
from seesay.regions.font import label_font
from seesay.types import Picture

GREY = Image.new("RGB", (600, 400), (128, 128, 128))


def found(*regions: Region, size: tuple[int, int] = (600, 400)) -> Regions:
    return Regions("", list(regions), size)


def test_an_outline_is_filled_so_that_the_picture_shows_through() -> None:
    triangle = [Point(100, 100), Point(500, 100), Point(300, 380)]
    drawn = found(Region(polygon=triangle)).draw(GREY)
    inside, outside = drawn.getpixel((300, 200)), drawn.getpixel((30, 380))
    assert outside == (128, 128, 128)
    assert inside != outside
    assert inside != PALETTE[0]
    assert GREY.getpixel((300, 200)) == (128, 128, 128)  # the original is as it was


def test_a_box_is_drawn_on_its_edges_and_things_with_one_label_in_one_colour() -> None:
    regions = [Region(label, box=(x, 100, x + 60, 200)) for label, x in
               (("a", 50), ("b", 200), ("a", 350))]  # fmt: skip
    drawn = found(*regions).draw(GREY)
    assert [drawn.getpixel((x, 150)) for x in (50, 200, 350)] == [
        PALETTE[0],
        PALETTE[1],
        PALETTE[0],
    ]
    assert drawn.getpixel((80, 150)) == (128, 128, 128)


def test_regions_are_scaled_to_the_picture_that_is_drawn_on() -> None:
    region = Region("", box=(100, 100, 200, 200))
    drawn = found(region).draw(GREY.resize((1200, 800)))
    assert drawn.size == (1200, 800)
    assert drawn.getpixel((200, 300)) == PALETTE[0]


def test_a_small_picture_is_enlarged_and_a_large_one_stays() -> None:
    assert found(Region("cat", box=(0, 0, 9, 9)), size=(30, 20)).draw(
        GREY.resize((30, 20))
    ).size == (SMALLEST, 320)
    assert found(Region("cat", box=(0, 0, 9, 9))).draw(GREY.resize((3000, 2))).size == (3000, 2)
    assert found(Region("cat", box=(0, 0, 9, 9)), size=(1, 1)).draw(GREY.resize((1, 1))).size == (
        SMALLEST,
        SMALLEST,
    )


def test_the_picture_is_put_upright_first() -> None:
    lying = Image.new("RGB", (400, 600), (9, 9, 9))
    lying.getexif()[0x0112] = 6  # it was taken with the camera on its side
    drawn = found(Region("", box=(100, 100, 200, 200))).draw(lying)
    assert drawn.size == (600, 400)
    assert drawn.getpixel((100, 150)) == PALETTE[0]


def test_pictures_of_seesay_and_grey_ones_are_drawn_on_and_paths_are_not() -> None:
    whole = Picture(image=picture(600, 400), size=(600, 400), name="a")
    assert found(Region("a", box=(1, 1, 9, 9))).draw(whole).mode == "RGB"
    assert found(Region("a", box=(1, 1, 9, 9))).draw(GREY.convert("L")).mode == "RGB"
    with pytest.raises(UsageError, match="a str is no picture"):
        found().draw("cat.jpg")  # type: ignore[arg-type]


def overlap(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


@pytest.mark.parametrize("seed", range(5))
def test_tags_stay_in_the_picture_and_off_each_other_where_there_is_room(seed: int) -> None:
    rng = random.Random(seed)
    tags = []
    for i in range(12):
        x, y = rng.randrange(0, 750), rng.randrange(0, 550)
        box = (x, y, min(800, x + rng.randrange(9, 300)), min(600, y + rng.randrange(9, 300)))
        tags.append(Tag(f"thing {i}", "0.50", (0, 0, 0), box))
    placed = arrange(tags, (800, 600), label_font(16), 2)
    for text, (x1, y1, x2, y2) in placed:
        assert text.endswith("0.50")
        assert 0 <= x1 < x2 <= 800
        assert 0 <= y1 < y2 <= 600
    assert not any(overlap(a, b) for (_, a), (_, b) in itertools.combinations(placed, 2))


def test_the_lines_of_a_page_are_not_hidden_by_what_they_say() -> None:
    boxes = [(60, 40 + 46 * i, 260, 70 + 46 * i) for i in range(20)]
    tags = [Tag("Total 1,234.00", "", (0, 0, 0), box) for box in boxes]
    placed = arrange(tags, (900, 1200), label_font(22), 2)
    assert not any(overlap(tag, box) for _, tag in placed for box in boxes)


def test_a_long_label_is_cut_and_its_score_is_not() -> None:
    tag = Tag("word " * 80, "0.25", (0, 0, 0), (0, 0, 50, 50))
    ((text, place),) = arrange([tag], (300, 200), label_font(14), 2)
    assert text.endswith("... 0.25")
    assert place[2] <= 300
    assert shortened("short", label_font(14), 300) == "short"
    assert shortened("long", label_font(14), 0) == "..."


def test_odd_labels_can_be_drawn() -> None:
    labels = ["", "\n\t", "two\nlines", "\0\ud800", "🐈", "مرحبا", "한국어", "x" * 9999]
    regions = [Region(label, 0.5, (i * 50, 10, i * 50 + 40, 90)) for i, label in enumerate(labels)]
    found(*regions, Region(polygon=[Point(5, 5)]), Region(box=(-1e6, 9, 1e6, 5))).draw(GREY)


def test_the_font_has_the_letters_it_is_said_to_have() -> None:
    font = label_font(16)
    missing = bytes(font.getmask("\U0010fffd"))
    gb2312 = {
        bytes([a, b]).decode("gb2312", "ignore")
        for a in range(0xB0, 0xF8)
        for b in range(0xA1, 0xFF)
    } - {""}
    assert len(gb2312) == 6763
    assert not [letter for letter in gb2312 if bytes(font.getmask(letter)) == missing]
    latin, others = (
        "Ångström žluťoučký Việt Ελληνικά ή Привіт Ђорђе",
        "ひらカタ、。臺灣繁體€£¥…—“”№→×",
    )
    for text in (latin, others):
        assert not [letter for letter in text if bytes(font.getmask(letter)) == missing], text
    assert {ord(letter) for letter in gb2312} <= chinese()
    assert 0x17F in ranged(LETTERS)


def test_the_same_regions_make_the_same_drawing() -> None:
    regions = found(
        Region("猫", 0.5, (10, 10, 90, 90)), Region("a", quad=[(1, 1), (9, 2), (9, 8), (1, 7)])
    )  # type: ignore[arg-type]
    first, second = (np.asarray(regions.draw(GREY)) for _ in range(2))
    assert (first == second).all()
