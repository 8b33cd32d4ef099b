"""The weights that ship: their size, and that they find real photographs in two languages."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import seesay
from seesay import registry
from seesay.model import Model
from seesay.recipes.mini import asked, composed

ROOT = Path(__file__).parents[2]
GALLERY = ROOT / "examples" / "gallery"
WEIGHTS = registry.variant("seesay/mini")[1].weights


@pytest.fixture(scope="module")
def model() -> Model:
    return seesay.load("seesay/mini", dtype="float32")


@pytest.fixture(scope="module")
def photographs() -> list[dict[str, str]]:
    with open(GALLERY / "photos.tsv", encoding="utf-8", newline="") as file:
        return [r for r in csv.DictReader(file, delimiter="\t") if r["kind"] == "photo"]


@pytest.fixture(scope="module")
def vectors(model: Model, photographs: list[dict[str, str]]) -> torch.Tensor:
    return model.embed_images([GALLERY / r["file"] for r in photographs])


def test_all_that_ships_is_at_most_38_megabytes() -> None:
    assert WEIGHTS is not None
    assert sum(p.stat().st_size for p in WEIGHTS.iterdir()) <= 38_000_000


@pytest.mark.parametrize("language", ["english", "chinese"])
def test_photographs_are_found_by_their_captions(
    model: Model, photographs: list[dict[str, str]], vectors: torch.Tensor, language: str
) -> None:
    captions, owners = [], []
    for i, row in enumerate(photographs):
        for caption in row[language].split(";;"):
            captions.append(caption.strip())
            owners.append(i)
    best = (model.embed_texts(captions) @ vectors.T).topk(5).indices
    hits = (best == torch.tensor(owners)[:, None]).any(1).float().mean()
    chance = 5 / len(photographs)
    assert len(photographs) >= 25
    assert float(hits) > 0.6, "the card says about 0.7"
    assert float(hits) > 6 * chance


def test_case_frames_and_small_slips_hardly_move_a_text(model: Model) -> None:
    said = model.embed_texts(
        ["a golden retriever", "A Golden Retriever", "golden retrievers", "a golden retreiver"]
    )
    other = model.embed_texts(["a glass of red wine"])
    assert torch.equal(said[0], said[1])
    assert float((said[2:] @ said[0]).min()) > 0.4
    assert float((said[2:] @ said[0]).min()) > float(other @ said[0]) + 0.3


def test_both_languages_say_the_same(model: Model) -> None:
    english = ["a dog", "a red car", "sunset over the sea", "a bowl of noodles", "a mountain"]
    chinese = ["一只狗", "一辆红色的汽车", "海上日落", "一碗面条", "一座山"]
    similar = model.embed_texts(english) @ model.embed_texts(chinese).T
    assert similar.argmax(1).tolist() == list(range(5))
    assert similar.argmax(0).tolist() == list(range(5))


def test_bfloat16_gives_the_same_vectors_nearly(
    model: Model, photographs: list[dict[str, str]], vectors: torch.Tensor
) -> None:
    rounded = seesay.load("seesay/mini", dtype="bfloat16")
    some = rounded.embed_images([GALLERY / r["file"] for r in photographs[:8]])
    assert float((some * vectors[:8]).sum(1).min()) > 0.98


def test_drawings_and_photographs_are_classified(model: Model) -> None:
    cat = model.classify([GALLERY / "cat-face.jpg"], ["a cat", "a bus", "a pizza"])[0]
    assert cat.label == "a cat"
    dog = model.classify([GALLERY / "dog-drawing.jpg"], ["飞机", "狗", "香蕉"])[0]
    assert dog.label == "狗"


def test_a_picture_of_any_shape_has_a_vector(model: Model) -> None:
    shapes = [(1, 1), (2000, 3), (37, 400)]
    found = model.embed_images([Image.new("RGB", shape, "red") for shape in shapes])
    assert bool(found.isfinite().all())


def test_captions_name_drawings_and_some_photographs(model: Model) -> None:
    named = {
        "cat-drawing.jpg": "cat",
        "dog-drawing.jpg": "dog",
        "rocket-drawing.jpg": "rocket",
        "bicycle-drawing.jpg": "bicycle",
        "tabby-cat.jpg": "cat",
        "golden-retriever.jpg": "dog",
        "suspension-bridge.jpg": "bridge",
        "light-bulb.jpg": "light bulb",
    }
    said = [output.text for output in model.caption([GALLERY / name for name in named])]
    right = [word in text for word, text in zip(named.values(), said, strict=True)]
    assert sum(right) >= 6, said


def test_answers_tell_number_colour_and_kind_of_plain_shapes(model: Model) -> None:
    drawn = [
        composed.draw_shape(thing, colour, np.random.default_rng([i, j]))
        for i, thing in enumerate(composed.shapes())
        for j, colour in enumerate(composed.COLOURS)
    ]
    rows = []
    for i in range(60):
        rng = np.random.default_rng([77, i])
        scene, picture = composed.compose(drawn, rng)
        rows += [(picture, one) for one in asked.questions(scene, composed.shapes(), rng)]
    rows = [row for row in rows if row[1].kind in ("count all", "what", "colour")]
    said = model.answer([p for p, _ in rows], [one.question.english for _, one in rows])
    right: dict[str, list[bool]] = {}
    for answer, (_, one) in zip(said, rows, strict=True):
        right.setdefault(one.kind, []).append(answer.answer == one.answer.english)
    # the likeliest answer to the question alone is right about every fifth time, or never
    shares = {kind: float(np.mean(found)) for kind, found in right.items()}
    assert shares["count all"] > 0.5
    assert shares["what"] > 0.15
    assert shares["colour"] > 0.35
