"""What seesay/page ships with: it reads, answers and finds, on pages and scenes it never saw.

The bounds lie well below what was measured (families/florence2/README.md): they tell a broken model
from one that works.
"""

from __future__ import annotations

from typing import Any

import pytest

import seesay
from seesay.evaluate.text.edits import anls
from seesay.model import Model
from seesay.recipes.made.pages import Page, page
from seesay.recipes.made.scenes import Scene, scene
from seesay.recipes.page.samples import SCALE
from seesay.recipes.page.trace import SIZE

FOUND = 0.5
"""Intersection over union from which a box is right."""
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


def test_drawings_of_an_unseen_vendor_are_found(model: Model) -> None:
    scenes = [scene(SEED, i, SIZE, "test") for i in range(12)]
    found = model.detect([s.image for s in scenes])
    turned = found[1:] + found[:1]
    assert _recall(scenes, found) > 0.35 > 0.1 > _recall(scenes, turned)


def test_phrases_are_found_where_they_are_and_others_elsewhere(model: Model) -> None:
    scenes = [scene(SEED, i, SIZE, "test") for i in range(12)]
    found = model.ground([s.image for s in scenes], [s.caption for s in scenes])
    right = total = 0
    for drawn, said in zip(scenes, found, strict=True):
        for phrase, group in zip(drawn.mentioned, drawn.groups, strict=True):
            boxes = [r.box for r in said.regions if r.label == phrase]
            right += any(_overlap(b, t.box) >= FOUND for b in boxes for t in group.things)
            total += 1
    assert right / total > 0.4


def _recall(scenes: list[Scene], found: list[Any]) -> float:
    """Return which part of the things was found, with their names."""
    right = [
        any(r.label == t.name and _overlap(r.box, t.box) >= FOUND for r in said.regions)
        for drawn, said in zip(scenes, found, strict=True)
        for t in drawn.things
    ]
    return sum(right) / len(right)


def _overlap(a: Any, b: Any) -> float:
    wide, high = min(a.x2, b.x2) - max(a.x1, b.x1), min(a.y2, b.y2) - max(a.y1, b.y1)
    both = max(0.0, wide) * max(0.0, high)
    return both / ((a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - both)
