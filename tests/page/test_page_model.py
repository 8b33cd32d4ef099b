"""What seesay/page ships with: it reads, answers and finds, on pages and scenes it never saw.

The bounds lie well below what was measured (families/florence2/README.md): they tell a broken model
from one that works.
"""

from __future__ import annotations

import pytest

import seesay
from seesay.evaluate.text.edits import anls
from seesay.model import Model
from seesay.recipes.made.pages import Page, page
from seesay.recipes.page.samples import SCALE
from seesay.recipes.page.trace import SIZE

SEED = 77
"""Of pictures that neither training nor the card's figures have seen."""


@pytest.fixture(scope="module")
def model() -> Model:
    return seesay.load("seesay/page")


@pytest.fixture(scope="module")
def pages() -> list[Page]:
    return [page(SEED, i, 3, SIZE, "test", SCALE) for i in range(8)]


def test_questions_about_unseen_pages_are_answered(model: Model, pages: list[Page]) -> None:
    asked = [(p, q) for p in pages for q in p.questions[:3]]
    images, texts = [p.image for p, _ in asked], [q.text for _, q in asked]
    said = [output.answer for output in model.answer(images, texts, document=True)]
    own = [anls(answer, q.answers) for answer, (_, q) in zip(said, asked, strict=True)]
    turned = said[len(said) // 2 :] + said[: len(said) // 2]
    others = [anls(answer, q.answers) for answer, (_, q) in zip(turned, asked, strict=True)]
    assert sum(own) / len(own) > 0.3 > 0.15 > sum(others) / len(others)


def test_lines_of_unseen_pages_are_read_in_their_boxes(model: Model, pages: list[Page]) -> None:
    wanted = [(p, line) for p in pages for line in p.lines[:2] if len(line.text) > 5]
    boxes = [
        [(min(x for x, _ in line.quad), min(y for _, y in line.quad),
          max(x for x, _ in line.quad), max(y for _, y in line.quad))]
        for _, line in wanted
    ]  # fmt: skip
    said = model.read([p.image for p, _ in wanted], boxes=boxes)
    good = [anls(o.text, [line.text]) for o, (_, line) in zip(said, wanted, strict=True)]
    assert sum(good) / len(good) > 0.4
