"""Made pages: equal numbers give equal pages, boxes hold the ink, and answers stand on the page."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from seesay.families.florence2.parsing import parse
from seesay.recipes.made import sheet
from seesay.recipes.made.faces import FACES, FAMILIES
from seesay.recipes.made.labels import of_page
from seesay.recipes.made.pages import LAYOUTS, Page, page
from seesay.recipes.made.sheet import Character
from seesay.recipes.made.vocabulary import SPLITS, pool, split_of

KINDS = {"letter", "e-mail", "receipt", "form", "contents", "programme", "notice"}


@pytest.fixture(scope="module")
def made() -> list[Page]:
    """A hundred full pages of the test split."""
    return [page(5, index, split="test") for index in range(100)]


@pytest.mark.parametrize("level", LAYOUTS)
def test_equal_numbers_give_equal_pages(level: int) -> None:
    one, same, other = page(1, 7, level), page(1, 7, level), page(1, 8, level)
    assert one.image.tobytes() == same.image.tobytes()
    assert (one.lines, one.words, one.characters) == (same.lines, same.words, same.characters)
    assert one.questions == same.questions
    assert one.image.tobytes() != other.image.tobytes()


def _ink(index: int, monkeypatch: pytest.MonkeyPatch) -> Page:
    """A page whose picture is its ink alone, without paper, blur and noise."""
    monkeypatch.setattr(sheet, "_printed", lambda draw, planes: planes[0])
    return page(2, index, 2)


def _holds(box: Character, ink: np.ndarray) -> bool:
    """Whether a letter's ink touches all four sides of its box, by two pixels at most."""
    x1, y1, x2, y2 = (round(v) for v in box[1:])
    inside = ink[max(0, y1) : y2, max(0, x1) : x2]
    columns, rows = inside.max(0), inside.max(1)
    near = [columns[:3].max(), columns[-3:].max(), rows[:3].max(), rows[-3:].max()]
    return bool(min(near) > 25)


def test_boxes_of_letters_hold_all_ink_and_little_else(monkeypatch: pytest.MonkeyPatch) -> None:
    turned = 0
    for index in range(30):
        made = _ink(index, monkeypatch)
        ink = np.asarray(made.image)
        covered = Image.new("1", made.image.size)
        pen = ImageDraw.Draw(covered)
        for _, x1, y1, x2, y2 in made.characters:
            pen.rectangle((x1 - 1, y1 - 1, x2, y2), fill=1)
        assert ink[~np.asarray(covered)].max(initial=0) < 64
        tight = [_holds(character, ink) for character in made.characters]
        assert sum(tight) >= 0.97 * len(tight)
        turned += made.lines[0].quad[0][1] != made.lines[0].quad[1][1]
    assert turned > 5  # or this says nothing about turned pages


def test_quads_of_words_and_lines_hold_their_letters(made: list[Page]) -> None:
    for done in made:
        assert " ".join(line.text for line in done.lines).split() == [w.text for w in done.words]
        letters = iter(done.characters)
        for word in done.words:
            xs, ys = zip(*word.quad, strict=True)
            line_xs, line_ys = zip(*done.lines[word.line].quad, strict=True)
            assert min(line_xs) - 1e-6 <= min(xs)
            assert max(ys) <= max(line_ys) + 1e-6
            for char in word.text:
                letter = next(letters)
                assert letter.char == char
                assert min(xs) - 1 <= letter.x1 < letter.x2 <= max(xs) + 1
                assert min(ys) - 1 <= letter.y1 < letter.y2 <= max(ys) + 1
        assert next(letters, None) is None


def test_everything_is_inside_the_picture() -> None:
    for index in range(60):
        for level in LAYOUTS:
            done = page(9, index, level)
            assert all(
                0 <= c.x1 < c.x2 <= done.image.width and 0 <= c.y1 < c.y2 <= done.image.height
                for c in done.characters
            )


def test_answers_can_be_read_off_the_page(made: list[Page]) -> None:
    for done in made:
        assert done.questions
        text = " ".join(done.text.split())
        for question in done.questions:
            assert question.answers[0] in text, (question, text)
            assert question.text.endswith("?")


def test_no_two_equal_questions_have_different_answers(made: list[Page]) -> None:
    for done in made:
        asked = Counter(question.text for question in done.questions)
        assert max(asked.values()) == 1, asked


def test_full_pages_are_of_every_kind_and_can_be_read_at_384_pixels(made: list[Page]) -> None:
    assert {done.kind for done in made} == KINDS
    assert all(5 <= len(done.words) <= 70 for done in made)
    assert all(2 <= done.lines[-1].row + 1 <= 16 for done in made)
    capitals = [c.y2 - c.y1 for done in made for c in done.characters if c.char.isupper()]
    assert np.percentile(capitals, 2) >= 8


def test_levels_go_from_single_words_to_full_pages() -> None:
    words = [np.mean([len(page(3, i, level).words) for i in range(60)]) for level in LAYOUTS]
    assert 1 <= words[0] <= 3
    assert words[0] < words[1] < 25


def test_text_is_read_row_by_row(made: list[Page]) -> None:
    receipt = next(done for done in made if done.kind == "receipt")
    rows = receipt.text.split("\n")
    total = next(q for q in receipt.questions if q.kind == "total")
    assert any(row.endswith(" " + total.answers[0]) for row in rows)
    assert len(rows) == receipt.lines[-1].row + 1


def test_splits_share_no_font_and_no_value() -> None:
    families = [{name for names in FAMILIES[s].values() for name in names.split()} for s in SPLITS]
    assert not families[0] & families[1]
    assert not families[0] & families[2]
    assert not families[1] & families[2]
    for name in ("first", "last", "cities", "sentences", "compounds", "words", "goods"):
        pools = [set(pool(name, split)) for split in SPLITS]
        assert len(set.union(*pools)) == sum(map(len, pools))
        assert len(pools[0]) > 4 * len(pools[2]) > 40
    assert all(face.path.exists() for face in FACES)


@pytest.mark.parametrize("split", SPLITS)
def test_dates_amounts_and_numbers_belong_to_the_split(split: str) -> None:
    drawn = ("date", "total", "price", "phone", "number", "order number")
    for index in range(60):
        for question in page(4, index, split=split).questions:  # type: ignore[arg-type]
            if question.kind in drawn:
                assert split_of(question.answers[-1]) == split, question


def test_a_larger_page_has_larger_type_or_more_room() -> None:
    small, large = page(6, 0), page(6, 0, size=768)
    assert large.image.size == (768, 768)
    height = [np.mean([c.y2 - c.y1 for c in done.characters]) for done in (small, large)]
    assert 1.7 < height[1] / height[0] < 2.3
    fine = page(6, 0, size=768, scale=1.0)
    assert np.mean([c.y2 - c.y1 for c in fine.characters]) < 1.3 * height[0]


def test_labels_say_what_the_parser_reads(made: list[Page]) -> None:
    for done in made[:30]:
        samples = of_page(done, random.Random(0))
        tasks = {sample.prefix[: sample.prefix.index(">") + 1] for sample in samples}
        assert tasks == {"<OCR>", "<OCR_WITH_REGION>", "<CAPTION>", "<REGION_TO_OCR>", "<DocVQA>"}
        for sample in samples:
            read = parse(sample.prefix, sample.answers[0], done.image.size)
            assert not read.truncated
            if sample.prefix != "<OCR_WITH_REGION>":
                assert read.text == sample.answers[0]
                continue
            assert [region.label for region in read.regions] == [line.text for line in done.lines]
            for region, line in zip(read.regions, done.lines, strict=True):
                assert region.quad is not None
                away = np.abs(np.array(region.quad) - np.clip(line.quad, 0, done.image.width))
                assert away.max() <= done.image.width / 1000


def test_the_shipped_files_are_small() -> None:
    folder = Path(sheet.__file__).parent
    shipped = [path for kind in ("fonts", "texts", "cutouts") for path in (folder / kind).iterdir()]
    assert sum(path.stat().st_size for path in shipped) < 2.1e6
