"""Large pictures in parts: nothing lost at the seams, nothing told twice, all in its pixels."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from contract.probes import build
from seesay.errors import InputError, UsageError
from seesay.processing.image import open_picture
from seesay.regions import Box, Region
from seesay.regions.locations import points_of
from seesay.tasks.answer import AnswerInput, AnswerOutput
from seesay.tasks.caption import WrittenText
from seesay.tasks.detect import DetectInput
from seesay.tasks.finding import Found
from seesay.tasks.read import ReadInput
from seesay.tasks.tiles import (
    MOST,
    OVERLAP,
    Grid,
    as_grid,
    best_answer,
    cut,
    halved,
    in_rows,
    parts,
    piecewise,
    stitched,
)
from tasks.scripted import scripted

LETTER = 10
"""Width of a letter of a drawn page, and half the height of a line."""


def page(*lines: tuple[int, int, str], size: tuple[int, int] = (600, 400)) -> Image.Image:
    """Bars where lines are: red counts lines, green the letters of each."""
    image = Image.new("RGB", size, "white")
    for number, (x, y, text) in enumerate(lines, 1):
        for i in range(len(text)):
            box = (x + LETTER * i, y, x + LETTER * (i + 1) - 1, y + 2 * LETTER - 1)
            ImageDraw.Draw(image).rectangle(box, fill=(number, i, 0))
    return image


def reader(texts: list[str], *, boxes: bool = False) -> Any:
    """Read `page`: of each bar what a view shows, letters that are cut being read wrongly."""

    def read(requests: list[Any]) -> Iterator[Found]:
        for request in requests:
            shades = np.asarray(open_picture(request.image).image)
            regions = []
            for number, text in enumerate(texts, 1):
                shown = shades[:, :, 0] == number
                ys, xs = np.nonzero(shown)
                if len(xs):
                    box = Box(xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
                    place: Any = {"box": box} if boxes else {"quad": box.corners}
                    label = text if boxes else letters(shades[:, :, 1], shown, text)
                    regions.append(Region(label, score=0.9, **place))
            text = "\n".join(region.label for region in regions)
            size = (shades.shape[1], shades.shape[0])
            yield Found(text=text, regions=regions, size=size, score=0.9, image=request.image)

    def letters(indices: Any, shown: Any, text: str) -> str:
        seen = indices[shown.argmax(0).max()][shown.any(0)].tolist()
        return "".join(text[i] if seen.count(i) == LETTER else "#" for i in sorted(set(seen)))

    return read


# -- cutting -------------------------------------------------------------------------------------


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, MOST), st.integers(1, MOST))
def test_tiles_cover_a_picture_and_stay_inside(w: int, h: int, rows: int, columns: int) -> None:
    tiles = cut((w, h), Grid(rows, columns))
    assert len(tiles) == columns * rows
    assert all(0 <= x1 < x2 <= w and 0 <= y1 < y2 <= h for x1, y1, x2, y2 in tiles)
    across = sorted({(x1, x2) for x1, _, x2, _ in tiles})
    assert across[0][0] == 0
    assert across[-1][1] == w
    assert all(right >= left for (_, right), (left, _) in pairwise(across))


def test_neighbours_share_a_fifth() -> None:
    (a, _, b, _), (c, _, d, _) = cut((900, 100), Grid(1, 2))
    assert (a, b, c, d) == (0, 500, 400, 900)
    assert (b - c) / (b - a) == OVERLAP


def test_a_grid_says_rows_before_columns() -> None:
    tops = [(left, top) for left, top, _, _ in cut((100, 700), Grid(rows=3, columns=1))]
    assert [left for left, _ in tops] == [0, 0, 0]
    assert tops == sorted(set(tops), key=lambda place: place[1])
    assert as_grid((3, 1)) == Grid(rows=3, columns=1)


def test_tiles_of_a_turned_picture_are_not_turned_again() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.new("RGB", (300, 100), "red").save(stream, "JPEG", exif=exif)
    picture = open_picture(stream.getvalue())
    assert picture.size == (100, 300)
    for (x1, y1, x2, y2), tile in parts(picture, Grid(3, 1)):
        assert open_picture(tile).size == (x2 - x1, y2 - y1)


# -- reading -------------------------------------------------------------------------------------

LINES = (
    (20, 20, "Invoice number 20391"),
    (380, 20, "2 March 1998"),
    (20, 100, "a line as wide as the page, from end to end ...."),
    (20, 190, "in the overlap of the rows"),
    (400, 300, "right"),
    (20, 302, "left"),
)
TEXTS = [text for _, _, text in LINES]


@pytest.mark.parametrize("grid", [Grid(1, 1), Grid(2, 1), Grid(1, 2), Grid(2, 2), Grid(3, 3)])
def test_each_line_is_read_once_whole_and_in_order(grid: Grid) -> None:
    image = page(*LINES)
    found = piecewise(ReadInput(image=image, regions=True, tiles=grid), reader(TEXTS))
    assert not isinstance(found, InputError)
    expected = [*TEXTS[:-2], "left", "right"] if grid.columns > 1 else TEXTS
    assert found.text.splitlines() == expected
    assert found.size == image.size
    places = {text: (x, y) for x, y, text in LINES}
    for region in found.regions:
        x, y = places[region.label]
        assert region.box == (x, y, x + LETTER * len(region.label), y + 2 * LETTER)
        assert region.quad is not None
    assert found.image is image


def test_lines_that_share_no_letters_stay_apart() -> None:
    assert stitched("Invoice num#", "#e number 5") == "Invoice number 5"
    assert stitched("total due", "31.12.1998") is None
    assert stitched("", "abc") is None


@pytest.mark.parametrize(
    ("left", "right", "joined"),
    [
        # letters that an edge cut were read wrongly on both sides of it
        ("decided it was tin", "vas time to wear", "decided it was time to wear"),
        ("and sell the part", "ne parts, Workers", "and sell the parts, Workers"),
        ("travel time berw,", "between home", "travel time between home"),
    ],
)
def test_halves_that_read_differently_meet_where_both_have_a_space(
    left: str, right: str, joined: str
) -> None:
    begins = Region(left, box=Box(0, 0, LETTER * len(left), 20))
    starts = joined.index(right[-6:]) + 6 - len(right)
    ends = Region(right, box=Box(LETTER * starts, 1, LETTER * len(joined), 21))
    assert halved(begins, ends) == joined


def test_halves_of_nothing_and_ends_that_touch_lose_and_add_no_letter() -> None:
    def half(label: str, x1: float, x2: float) -> Region:
        return Region(label, box=Box(x1, 0, x2, 20))

    assert halved(half("", 0, 100), half("hello world", 80, 175)) == "hello world"
    assert halved(half("hello worl", 0, 100), half("", 80, 175)) == "hello worl"
    assert halved(half("abcdef", 0, 100), half("xyz", 82, 82)) == "abcdef"
    assert halved(half("unbroken", 0, 80), half("letters", 77, 147)) == "unbrokenletters"


def test_halves_without_a_space_meet_in_the_middle_of_what_both_saw() -> None:
    left = Region("908-136x?", box=Box(0, 0, 90, 20))
    right = Region("!x-8758", box=Box(60, 0, 130, 20))
    assert halved(left, right) == "908-136x-8758"


def test_lines_side_by_side_are_one_row() -> None:
    def line(label: str, x: float, y: float) -> Region:
        return Region(label, box=Box(x, y, x + 50, y + 20))

    listed = [line("d", 200, 48), line("b", 100, 6), line("c", 0, 40), line("a", 0, 0)]
    assert [region.label for region in in_rows(listed)] == ["a", "b", "c", "d"]
    assert in_rows([]) == []


# -- detecting -----------------------------------------------------------------------------------


def test_each_thing_is_found_once_by_its_whole_box() -> None:
    things = [(20, 20, "cat"), (250, 150, "big dog" * 3), (500, 350, "cat")]
    image = page(*things)
    names = [text for _, _, text in things]
    for grid in (Grid(2, 2), Grid(3, 1)):
        found = piecewise(DetectInput(image=image, tiles=grid), reader(names, boxes=True))
        assert not isinstance(found, InputError)
        places = sorted((region.label, region.box[:2]) for region in found.regions)
        assert places == sorted((text, (float(x), float(y))) for x, y, text in things)
        widths = {region.label: region.box.width for region in found.regions}
        assert widths["big dog" * 3] == LETTER * len("big dog" * 3)


def test_things_of_other_names_or_of_one_view_are_not_merged() -> None:
    def look(requests: list[Any]) -> Iterator[Found]:
        for i, request in enumerate(requests):
            size = open_picture(request.image).size
            regions = []
            if i == 0:
                regions = [Region(name, box=Box(10, 10, 40, 40)) for name in ("cat", "cat", "dog")]
            if i == 1:
                regions = [Region("Cat", score=0.5, box=Box(12, 12, 41, 41))]
            yield Found(text="", regions=regions, size=size, score=1, image=request.image)

    blank = Image.new("RGB", (100, 100))
    found = piecewise(DetectInput(image=blank, tiles=Grid(1, 2)), look)
    assert not isinstance(found, InputError)
    # the surest comes first, and the others of its view lie where it does
    assert sorted(region.label for region in found.regions) == ["Cat", "dog"]


def test_parts_of_things_keep_their_numbers_apart() -> None:
    def look(requests: list[Any]) -> Iterator[Found]:
        for i, request in enumerate(requests):
            x = 5.0 + 10 * i
            outline = ((x, 5.0), (x + 4, 5.0), (x, 9.0))
            part = Region(str(i), polygon=outline, instance=0)  # type: ignore[arg-type]
            yield Found(
                text="", regions=[part], size=(50, 50), score=1, image=request.image,
                truncated=i == 1,
            )  # fmt: skip

    blank = Image.new("RGB", (100, 100))
    found = piecewise(DetectInput(image=blank, tiles=Grid(1, 2)), look)
    assert not isinstance(found, InputError)
    assert len(found.things()) == 3
    assert found.truncated
    moved = found.regions[2].polygon
    assert moved is not None
    assert moved[0] == (25 + 44, 5)


def test_places_in_tiles_are_as_short_as_places_in_the_whole() -> None:
    size = (1234, 777)

    def look(requests: list[Any]) -> Iterator[Found]:
        for request in requests:
            width, height = open_picture(request.image).size
            corners = points_of([123, 77, 881, 77, 881, 311, 123, 311], (width, height))
            quad = Region("line", quad=corners)  # type: ignore[arg-type]
            yield Found(text="", regions=[quad], size=(width, height), score=1, image=request.image)

    request = ReadInput(image=Image.new("RGB", size), regions=True, tiles=Grid(3, 2))
    found = piecewise(request, look)
    assert not isinstance(found, InputError)
    for region in found.regions:
        assert region.quad is not None
        numbers = [*region.box, *(value for point in region.quad for value in point)]
        assert numbers == [round(number, 4) for number in numbers]


# -- asking --------------------------------------------------------------------------------------


def test_the_surest_view_answers() -> None:
    image = page((450, 350, "fine print"))

    def look(requests: list[Any]) -> Iterator[AnswerOutput]:
        for request in requests:
            shades = np.asarray(open_picture(request.image).image)[:, :, 0]
            shown = float((shades == 1).mean())
            text = WrittenText(text=f"{shown:.4f}", score=shown - 1, logprobs=[], finished=True)
            yield AnswerOutput(answers=[text])

    def sure(found: AnswerOutput) -> float:
        return found.answers[0].score

    request = AnswerInput(image=image, question="what?", tiles=Grid(3, 3))
    shares = [float((np.asarray(t)[:, :, 0] == 1).mean()) for _, t in parts(
        open_picture(image), Grid(3, 3))]  # fmt: skip
    assert best_answer(request, look, sure).answer == f"{max(shares):.4f}"
    bad = AnswerInput(image=b"no image", question="what?", tiles=Grid(2, 2))
    assert isinstance(best_answer(bad, look, sure), InputError)


def test_a_model_reads_detects_and_answers_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("florence2-tiny")
    image = page(*LINES)
    short: dict[str, Any] = {"max_new_tokens": 6}
    [asked] = model.answer(image, "who?", tiles=(1, 2), **short)
    views = [image, *(tile for _, tile in parts(open_picture(image), Grid(1, 2)))]
    assert asked.answer in {one.answer for one in model.answer(views, "who?", **short)}
    quad = "<loc_0><loc_0><loc_999><loc_0><loc_999><loc_99><loc_0><loc_99>"
    script = scripted(monkeypatch, model, lambda _: f"again and again{quad}")
    [read] = model.read(image, tiles=(2, 1), batch_size=3)
    assert [len(batch) for batch in script.asked] == [2]
    assert [region.label for region in read.regions] == ["again and again"] * 2
    assert read.regions[1].box.y1 > 170
    script.lines = lambda _: "words"
    assert model.prompt(image, "read it", tiles=(1, 2))[0].text == "words\nwords"
    script.lines = lambda _: "a thing<loc_9><loc_9><loc_99><loc_99>"
    [found] = model.detect(image, tiles=(2, 2))
    assert {region.label for region in found.regions} == {"a thing"}
    assert found.text == "a thing"


@pytest.mark.parametrize("tiles", [3, (2,), (0, 1), (1, MOST + 1), (1.5, 2), ("2", "2"), "2x2"])
def test_a_grid_is_two_counts(tiles: Any) -> None:
    with pytest.raises(UsageError, match="tiles="):
        as_grid(tiles)
