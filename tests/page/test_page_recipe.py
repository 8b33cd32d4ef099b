"""The recipe of seesay/page: what a step is made of is exact, and the same every time."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seesay.data import open_questions
from seesay.families.florence2 import configs
from seesay.families.florence2.processing import MEAN, STD
from seesay.families.florence2.prompts import expand
from seesay.model import load
from seesay.processing.bytelevel import ByteLevelTokenizer
from seesay.recipes.made.labels import Sample, of_scene
from seesay.recipes.made.pages import page
from seesay.recipes.made.scenes import scene
from seesay.recipes.page import judge
from seesay.recipes.page.characters import COLUMNS, LETTERS, ROWS, places
from seesay.recipes.page.pointing import Boxes, Sights, look_loss, mark_loss, nearly, slot_loss
from seesay.recipes.page.samples import SCALE, Maker, Mixture, exposed
from seesay.recipes.page.student import Student
from seesay.recipes.page.things import boxes, numbers
from seesay.recipes.page.trace import (
    GRID,
    GROUNDING,
    NOWHERE,
    SIZE,
    UNSEEN,
    PageTrace,
    SceneTrace,
    Spot,
    spot,
)

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
    line = next(line for line in made.lines if made.text.count(line.text) == 1)
    pieces = tokenizer.pieces(tokenizer.ids([line.text])[0])
    seen = PageTrace(made).follow(Sample("<OCR>", (line.text,)), [], pieces)
    assert UNSEEN not in [s for s, p in zip(seen, pieces, strict=True) if not p.isspace()]
    begin = made.text[: made.text.index(line.text)]
    first = made.characters[len("".join(begin.split()))]
    assert seen[0] == spot((first.x1 + first.x2) / 2, (first.y1 + first.y2) / 2)
    assert first.char == line.text[0]
    told = places(made.characters, SIZE, GRID).reshape(-1, ROWS * COLUMNS)
    assert LETTERS[told[seen[0].cell - 1, seen[0].slot] - 1] == line.text[0]


def test_what_is_not_on_the_page_is_followed_nowhere(tokenizer: ByteLevelTokenizer) -> None:
    made = page(3, 2, 3, SIZE, "train", SCALE)
    pieces = tokenizer.pieces(tokenizer.ids(["Zyx qq"])[0])
    assert set(PageTrace(made).follow(Sample("<OCR>", ("Zyx qq",)), [], pieces)) == {UNSEEN}


def test_corners_of_lines_are_looked_for_where_they_are(tokenizer: ByteLevelTokenizer) -> None:
    places = "<loc_100><loc_200><loc_500><loc_600>"
    pieces = tokenizer.pieces(tokenizer.ids([places])[0])
    made = page(3, 2, 3, SIZE, "train", SCALE)
    seen = PageTrace(made).follow(Sample("<OCR_WITH_REGION>", (places,)), [], pieces)
    corners = [spot(x * SIZE / 1000, y * SIZE / 1000) for x, y in ((100.5, 200.5), (500.5, 600.5))]
    assert seen == [Spot(corners[0].cell)] * 2 + [Spot(corners[1].cell)] * 2


@pytest.mark.parametrize("task", ["<OD>", "<DENSE_REGION_CAPTION>", "<REGION_PROPOSAL>"])
def test_names_and_places_of_a_thing_are_seen_in_it(
    tokenizer: ByteLevelTokenizer, task: str
) -> None:
    made = scene(2, 5, SIZE)
    assert len(made.things) > 2
    sample = next(s for s in of_scene(made, random.Random(0)) if s.prefix.startswith(task))
    pieces = tokenizer.pieces(tokenizer.ids([sample.answers[0]])[0])
    seen = SceneTrace(made).follow(sample, [], pieces)
    ends = [s.thing for s, p in zip(seen, pieces, strict=True) if p.startswith("<loc_")][3::4]
    assert sorted(ends) == list(range(1, len(made.things) + 1))
    assert all(s.thing != NOWHERE for s in seen)


def test_phrases_that_are_to_be_found_are_seen_in_the_prompt(
    tokenizer: ByteLevelTokenizer,
) -> None:
    for index in range(12):
        made = scene(2, index, SIZE)
        samples = of_scene(made, random.Random(0))
        sample = next(s for s in samples if s.prefix.startswith(GROUNDING))
        asked, answer = tokenizer.ids([expand(sample.prefix), sample.answers[0]])
        prompt, pieces = tokenizer.pieces(asked), tokenizer.pieces(answer)
        seen = SceneTrace(made).follow(sample, prompt, pieces)
        for spot_, piece in zip(seen, pieces, strict=True):
            assert (spot_.thing != NOWHERE) == piece.startswith("<loc_")
            assert piece.startswith("<loc_") or prompt[spot_.asked] == piece


def test_the_category_of_a_region_is_seen_in_its_thing(tokenizer: ByteLevelTokenizer) -> None:
    made = scene(2, 5, SIZE)
    samples = of_scene(made, random.Random(0))
    sample = next(s for s in samples if s.prefix.startswith("<REGION_TO_CATEGORY>"))
    pieces = tokenizer.pieces(tokenizer.ids([sample.answers[0]])[0])
    (number,) = {s.thing for s in SceneTrace(made).follow(sample, [], pieces)}
    assert made.things[number - 1].name == sample.answers[0]


def test_another_light_moves_nothing() -> None:
    plain = np.asarray(scene(2, 5, SIZE).image)
    lit = [exposed(plain, random.Random(i)) for i in range(4)]
    assert all(x.shape == plain.shape and x.dtype == np.uint8 for x in lit)
    edges = [np.abs(np.diff(x.astype(float).mean(-1), axis=1)) for x in (plain, *lit)]
    assert all(np.corrcoef(edges[0].ravel(), e.ravel())[0, 1] > 0.8 for e in edges[1:])


def test_the_box_of_a_thing_is_told_at_all_tokens_inside_it() -> None:
    made = scene(1, 4, SIZE)
    told = boxes(made.things, SIZE, GRID)
    thing = made.things[0]
    x, y = (thing.box.x1 + thing.box.x2) / 2, (thing.box.y1 + thing.box.y2) / 2
    found = told[int(y * GRID / SIZE), int(x * GRID / SIZE)]
    assert found[0] == numbers()[thing.name]
    assert found[1:5] == pytest.approx([side / SIZE for side in thing.box], abs=1e-6)
    assert found[5] == 1


def test_prompts_that_are_only_read_are_short(tokenizer: ByteLevelTokenizer) -> None:
    assert len(tokenizer.ids(["What is the text in the image?"])[0]) == 1
    assert len(tokenizer.ids(["Locate the objects with category name in the image."])[0]) == 1
    text = "Dear Mr O'Neill, £3.20 — 日本\n"
    assert tokenizer.decode(tokenizer.ids([text])) == [text]


def test_long_answers_are_left_out(maker: Maker) -> None:
    draw = random.Random(0)
    drawn = maker._chosen([Sample("<OCR>", ("x" * 500,)), Sample("<OD>", ("cat",))], draw)
    assert {sample.prefix for sample in drawn} == {"<OD>"}


def test_where_an_answer_begins_and_what_belongs_to_it_is_learnt_from_its_sights() -> None:
    seen = torch.zeros(2, 4, 6, dtype=torch.bool)
    seen[0, 1, 3] = seen[0, 2, 4] = True
    right, wrong = torch.full((2, 6, 2), -9.0), torch.full((2, 6, 2), -9.0)
    right[0, 3, 0] = right[0, 3, 1] = right[0, 4, 1] = 9.0
    wrong[0, 2, 0] = wrong[0, 2, 1] = wrong[0, 5, 1] = 9.0
    assert float(mark_loss(right, seen)) < 0.01 < 5 < float(mark_loss(wrong, seen))


def test_any_token_of_a_thing_will_do_and_no_other() -> None:
    seen = torch.zeros(1, 3, 5, dtype=torch.bool)
    seen[0, 1, 2:4] = True
    scores = torch.full((1, 1, 2, 5), -9.0)
    scores[..., 3] = 9.0
    # what is written next is on row 1 when row 0 is read, what was written last when row 1 is
    assert float(look_loss({0: scores}, [(0, 0, True), (0, 0, False)], seen)) < 0.01
    scores[..., 4] = 20.0
    assert float(look_loss({0: scores}, [(0, 0, True)], seen)) > 9


def test_sights_are_tokens_that_were_kept(maker: Maker) -> None:
    batch = maker(2)
    all_kept = torch.arange(1 + GRID * GRID).expand(len(batch.pixels), -1)
    whole = Sights.of(batch, all_kept, 300)
    drawn = torch.stack([torch.randperm(1 + GRID * GRID)[:90] for _ in batch.pixels])
    some = Sights.of(batch, drawn, 120)
    each = len(batch.asked) // len(drawn)
    for row in range(len(batch.asked)):
        assert bool((some.seen[row, :, :90] == whole.seen[row][:, drawn[row // each]]).all())


def test_places_near_the_right_one_are_nearly_right() -> None:
    told = nearly(torch.tensor([0, 500, 999]))
    assert told.sum(-1).tolist() == pytest.approx([1, 1, 1])
    assert told.argmax(-1).tolist() == [0, 500, 999]
    assert float(told[1, 500 + 4]) > 0.5 * float(told[1, 500]) > float(told[1, 500 + 16])


def test_the_box_of_a_thing_is_learnt_from_any_token_of_it(maker: Maker) -> None:
    batch = next(b for b in map(maker, range(9)) if b.things[..., 5].any())
    kept = torch.arange(1 + GRID * GRID).expand(len(batch.pixels), -1)
    sights = Sights.of(batch, kept, kept.shape[1])
    table = 30 * torch.nn.functional.normalize(torch.randn(1000, 64), dim=1)
    head = Boxes(64)
    each = len(batch.asked) // len(kept)
    source = torch.zeros(len(batch.asked), kept.shape[1], 64)
    with torch.no_grad():
        assert float(head.loss(source, sights, table)) > 6
        # tokens that know the left side, and a head that says it four times
        head.weight.copy_(torch.eye(64).repeat(4, 1))
        left = (sights.boxes[..., 0] * 1000).long().clamp(0, 999)
        source[:] = table[left].repeat_interleave(each, 0) / 30
        lefts = sights._replace(boxes=sights.boxes[..., :1].expand(-1, -1, 4))
        assert float(head.loss(source, lefts, table)) < float(head.loss(source, sights, table))


def test_the_place_of_a_letter_in_its_square_is_learnt() -> None:
    slots = torch.tensor([[NOWHERE, NOWHERE, 5, 1, NOWHERE]])
    told = torch.zeros(1, 4, 8)
    told[0, 1, 5] = told[0, 2, 1] = 9.0
    assert float(slot_loss(told, slots)) < 0.01 < 2 < float(slot_loss(-told, slots))


@pytest.mark.parametrize("sparse", [False, True])
def test_a_student_has_a_gradient_everywhere(
    maker: Maker, tokenizer: ByteLevelTokenizer, sparse: bool
) -> None:
    torch.manual_seed(0)
    mean, std = ([255 * v for v in values] for values in (MEAN, STD))
    student = Student(configs.page(), tokenizer, mean, std)
    student.sparse = sparse
    student.align(maker(0), tokenizer)
    batch = next(b for b in map(maker, range(9)) if b.things.any() and b.letters.any())
    losses = student.losses(batch)
    assert set(losses) == {"letters", "things", "text", "mark", "look", "slot", "boxes"}
    torch.stack(list(losses.values())).sum().backward()
    grads = {n: p.grad for n, p in student.named_parameters()}
    assert [n for n, grad in grads.items() if grad is None] == []
    # keys of attention alone have biases that change nothing
    still = [n for n, grad in grads.items() if grad is not None and not grad.any()]
    assert [n for n in still if not n.endswith("k_proj.bias")] == []


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
        source, kept = student.read_inked(prompt, full)
        plain = student.model.read(prompt)
    asked = plain.shape[1] - (1 + GRID * GRID)
    torch.testing.assert_close(source[:, -asked:], plain[:, -asked:], atol=1e-4, rtol=1e-4)
    assert [sorted(row) for row in kept.tolist()] == [list(range(1 + GRID * GRID))] * len(kept)


def test_the_shipped_checkpoint_is_small_and_whole() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= 15_000_000
    assert load("seesay/page").config == configs.page()


def test_every_task_is_judged_on_pictures_of_the_split_and_by_prompts_of_its_own(
    tmp_path: Path,
) -> None:
    judge.make(tmp_path / "made", 2)
    tmp_path /= "made"
    for what in judge.MEASURED.values():
        told = open_questions(str(tmp_path / what.pictures / f"{what.task[1:-1].lower()}.jsonl"))
        assert len(told) >= 2
        assert all(told[i].text.startswith(what.task) for i in range(len(told)))
    with Image.open(tmp_path / "scenes/images/00001.png") as picture:
        assert np.array_equal(picture, scene(judge.SEED, 1, SIZE, "test").image)
