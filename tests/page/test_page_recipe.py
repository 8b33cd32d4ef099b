"""The recipe of seesay/page: what a step is made of is exact, and the same every time."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from seesay.families.florence2 import configs
from seesay.families.florence2.processing import MEAN, STD
from seesay.model import load
from seesay.processing.bytelevel import ByteLevelTokenizer
from seesay.recipes.made.labels import Sample
from seesay.recipes.made.pages import page
from seesay.recipes.made.scenes import scene
from seesay.recipes.page.characters import COLUMNS, LETTERS, ROWS, places
from seesay.recipes.page.samples import (
    GRID,
    NOWHERE,
    SCALE,
    SIZE,
    Maker,
    Mixture,
    Trace,
    cell,
)
from seesay.recipes.page.student import Student, mark_loss
from seesay.recipes.page.things import boxes, numbers

SHIPPED = Path(configs.__file__).with_name("weights")
TASKS = {"<OCR>": 1.0, "<REGION_TO_OCR>": 1.0, "<DocVQA>": 1.0, "<OD>": 1.0}


@pytest.fixture(scope="module")
def tokenizer() -> ByteLevelTokenizer:
    found = ByteLevelTokenizer.from_folder(SHIPPED)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def maker(tokenizer: ByteLevelTokenizer) -> Maker:
    return Maker(Mixture(3, 2, (0.2, 0.2, 0.3, 0.3), TASKS, seed=5), tokenizer)


def test_a_step_is_a_function_of_its_number(maker: Maker) -> None:
    first, again, other = maker(4), maker(4), maker(5)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.pixels, other.pixels)


def test_every_letter_is_told_in_the_square_where_its_middle_is() -> None:
    made = page(3, 1, 2, SIZE, "train", SCALE)
    told = places(made.characters, SIZE, GRID)
    rows = told.reshape(GRID, GRID, ROWS, COLUMNS).transpose(0, 2, 1, 3)
    flat = rows.reshape(GRID * ROWS, GRID * COLUMNS)
    found = 0
    for letter in made.characters:
        y = int((letter.y1 + letter.y2) / 2 / SIZE * GRID * ROWS)
        x = int((letter.x1 + letter.x2) / 2 / SIZE * GRID * COLUMNS)
        found += LETTERS[flat[y, x] - 1] == letter.char
    assert found >= 0.9 * len(made.characters)  # a few share their place with a neighbour


def test_an_answer_is_followed_letter_by_letter_over_the_page(
    tokenizer: ByteLevelTokenizer,
) -> None:
    made = page(3, 2, 3, SIZE, "train", SCALE)
    trace = Trace.of_page(made)
    line = next(line for line in made.lines if made.text.count(line.text) == 1)
    pieces = tokenizer.pieces(tokenizer.ids([line.text])[0])
    cells = trace.follow(line.text, pieces)
    assert NOWHERE not in [c for c, p in zip(cells, pieces, strict=True) if not p.isspace()]
    begin = made.text[: made.text.index(line.text)]
    first = made.characters[len("".join(begin.split()))]
    assert cells[0] == cell((first.x1 + first.x2) / 2, (first.y1 + first.y2) / 2)
    assert first.char == line.text[0]


def test_what_is_not_on_the_page_is_followed_nowhere(tokenizer: ByteLevelTokenizer) -> None:
    made = page(3, 2, 3, SIZE, "train", SCALE)
    pieces = tokenizer.pieces(tokenizer.ids(["Zyx qq"])[0])
    assert set(Trace.of_page(made).follow("Zyx qq", pieces)) == {NOWHERE}


def test_places_and_names_of_things_are_looked_for_where_they_are(
    tokenizer: ByteLevelTokenizer,
) -> None:
    answer = "lemon<loc_100><loc_200><loc_500><loc_600>"
    cells = Trace.of_scene(scene(0, 0)).follow(answer, tokenizer.pieces(tokenizer.ids([answer])[0]))
    corners = [cell(x * SIZE / 1000, y * SIZE / 1000) for x, y in ((100.5, 200.5), (500.5, 600.5))]
    middle = cell(0.3005 * SIZE, 0.4005 * SIZE)
    assert cells[-4:] == [corners[0]] * 2 + [corners[1]] * 2
    assert set(cells[:-4]) == {middle}


def test_the_box_of_a_thing_is_told_at_all_tokens_inside_it() -> None:
    made = scene(1, 4, SIZE)
    told = boxes(made.things, SIZE, GRID)
    thing = made.things[0]
    x, y = (thing.box.x1 + thing.box.x2) / 2, (thing.box.y1 + thing.box.y2) / 2
    found = told[int(y * GRID / SIZE), int(x * GRID / SIZE)]
    assert found[0] == numbers()[thing.name]
    assert found[1:] == pytest.approx([side / SIZE for side in thing.box], abs=1e-6)


def test_prompts_that_are_only_read_are_short(tokenizer: ByteLevelTokenizer) -> None:
    assert len(tokenizer.ids(["What is the text in the image?"])[0]) == 1
    assert len(tokenizer.ids(["Locate the objects with category name in the image."])[0]) == 1
    text = "Dear Mr O'Neill, £3.20 — 日本\n"
    assert tokenizer.decode(tokenizer.ids([text])) == [text]


def test_long_answers_are_left_out(maker: Maker) -> None:
    draw = random.Random(0)
    drawn = maker._chosen([Sample("<OCR>", ("x" * 500,)), Sample("<OD>", ("cat",))], draw)
    assert {sample.prefix for sample in drawn} == {"<OD>"}


def test_where_an_answer_begins_and_what_belongs_to_it_is_learnt_from_its_cells() -> None:
    cells = torch.tensor([[NOWHERE, 3, 4, NOWHERE], [NOWHERE, NOWHERE, NOWHERE, NOWHERE]])
    right, wrong = torch.full((2, 6, 2), -9.0), torch.full((2, 6, 2), -9.0)
    right[0, 3, 0] = right[0, 3, 1] = right[0, 4, 1] = 9.0
    wrong[0, 2, 0] = wrong[0, 2, 1] = wrong[0, 5, 1] = 9.0
    assert float(mark_loss(right, cells)) < 0.01 < 5 < float(mark_loss(wrong, cells))


@pytest.mark.parametrize("sparse", [False, True])
def test_a_student_has_a_gradient_everywhere(
    maker: Maker, tokenizer: ByteLevelTokenizer, sparse: bool
) -> None:
    torch.manual_seed(0)
    mean, std = ([255 * v for v in values] for values in (MEAN, STD))
    student = Student(configs.page(), tokenizer, mean, std)
    student.sparse = sparse
    student.align(maker(0), tokenizer)
    losses = student.losses(maker(1))
    assert set(losses) == {"letters", "things", "text", "mark", "look"}
    torch.stack(list(losses.values())).sum().backward()
    idle = [n for n, p in student.named_parameters() if p.grad is None]
    assert idle == []


def test_reading_only_what_is_inked_is_reading_all_where_everything_is_inked(
    maker: Maker, tokenizer: ByteLevelTokenizer
) -> None:
    torch.manual_seed(0)
    mean, std = ([255 * v for v in values] for values in (MEAN, STD))
    student = Student(configs.page(), tokenizer, mean, std).eval()
    batch = maker(2)
    full = batch._replace(letters=np.ones_like(batch.letters))
    with torch.inference_mode():
        prompt, _ = student.prompt(student.model.image(student.pixels(full)), full)
        cells = torch.from_numpy(full.cells)
        source, moved = student.read_inked(prompt, full, cells)
        plain = student.model.read(prompt)
    asked = plain.shape[1] - (1 + GRID * GRID)
    torch.testing.assert_close(source[:, -asked:], plain[:, -asked:], atol=1e-4, rtol=1e-4)
    assert bool(((moved >= 0) == (cells >= 0)).all())


def test_the_shipped_checkpoint_is_small_and_whole() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= 15_000_000
    assert load("seesay/page").config == configs.page()
