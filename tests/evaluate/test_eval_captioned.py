"""A dataset as a gallery: equal pictures and captions once, and who belongs to whom."""

from __future__ import annotations

import numpy as np
import pytest

from seesay.data.record import Dataset, Record
from seesay.errors import InputError
from seesay.evaluate.captioned import Captioned, Skipped, captioned, words
from seesay.evaluate.negatives import bags_of_words, hard_negatives, random_negatives


def collect(rows: list[tuple[str, list[str]]], limit: int | None = None, seed: int = 0) -> tuple:
    records = [
        Record(f"/x/{name}", tuple(texts), None, name, f"row:{i}")
        for i, (name, texts) in enumerate(rows)
    ]
    skipped = Skipped()
    data = captioned(Dataset("rows", records, form="csv"), skipped, limit=limit, seed=seed)
    return data, skipped


ROWS = [
    ("a", ["a dog", "a  brown dog"]),
    ("b", ["a cat"]),
    ("a", ["a dog", "a puppy"]),
    ("c", []),
    ("d", ["a dog"]),
]


def test_equal_pictures_and_captions_are_one_item_each() -> None:
    data, skipped = collect(ROWS)
    assert data.rows == [0, 1, 4]
    assert data.texts == ["a dog", "a brown dog", "a puppy", "a cat"]
    assert data.pairs.tolist() == [[0, 0], [0, 1], [0, 2], [1, 3], [2, 0]]
    assert data.owners().tolist() == [0, 0, 0, 1]
    assert skipped.items == [("row:3", "no caption", "")]


def test_captions_keep_the_order_of_their_picture() -> None:
    data, _ = collect([("a", ["one", "two"]), ("b", ["three", "one"])])
    assert [data.texts[t] for p, t in data.pairs.tolist() if p == 1] == ["three", "one"]


def test_a_picture_that_goes_takes_along_what_only_it_had() -> None:
    data, _ = collect(ROWS)
    left = data.keep(np.array([False, True, True]), np.ones(4, bool))
    assert left.rows == [1, 4]
    assert left.texts == ["a dog", "a cat"]
    assert left.pairs.tolist() == [[0, 1], [1, 0]]


def test_a_limit_draws_pictures_by_the_seed_and_keeps_their_order() -> None:
    rows = [(f"p{i:02}", [f"text {i}"]) for i in range(40)]
    drawn = [collect(rows, 10, seed)[0].rows for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] == sorted(drawn[0])
    assert drawn[0] != drawn[2]
    assert len(drawn[0]) == 10
    assert collect(rows, 100)[0].rows == list(range(40))


def test_data_without_captions_is_one_clear_error() -> None:
    with pytest.raises(InputError, match="rows has no captions"):
        collect([("a", []), ("b", ["  "])])


def test_words_are_counted_in_any_language() -> None:
    assert words("A dog, and 2 cats!") == ["a", "dog", "and", "2", "cats"]
    assert words("一只猫，坐着。") == ["一", "只", "猫", "坐", "着"]
    assert words("Hund läuft über die Straße") == ["hund", "läuft", "über", "die", "straße"]
    assert words("кот и собака") == ["кот", "и", "собака"]
    assert words("एक काली बिल्ली") == ["एक", "काली", "बिल्ली"]
    assert words("犬が走る mit CLIP") == ["犬", "が", "走", "る", "mit", "clip"]
    assert words("… — !") == []


def gallery() -> Captioned:
    return collect(
        [
            ("a", ["a red bus in the street", "a bus"]),
            ("b", ["a red bus in the city"]),
            ("c", ["two dogs on a beach"]),
            ("d", ["a plate of sushi"]),
        ]
    )[0]


@pytest.mark.parametrize("draw", [random_negatives, hard_negatives])
def test_negatives_are_wrong_and_repeatable(draw: object) -> None:
    data = gallery()
    wrong = draw(data, 5)  # type: ignore[operator]
    assert (wrong == draw(data, 5)).all()  # type: ignore[operator]
    assert wrong[:, 0].tolist() == data.pairs[:, 0].tolist()
    right = set(map(tuple, data.pairs.tolist()))
    assert not right & set(map(tuple, wrong.tolist()))


def test_hard_negatives_share_the_rare_words() -> None:
    data = gallery()
    chosen = {data.texts[t]: data.texts[n] for (_, t), (_, n) in
              zip(data.pairs.tolist(), hard_negatives(data, 0).tolist(), strict=True)}  # fmt: skip
    assert chosen["a red bus in the street"] == "a red bus in the city"
    assert chosen["a red bus in the city"] == "a red bus in the street"
    assert chosen["a bus"] == "a red bus in the city"


def test_bags_of_words_are_alike_where_rare_words_are_shared() -> None:
    vectors = bags_of_words(["a red bus", "a red car", "a bus red", "a dog", "…"])
    alike = vectors @ vectors.T
    assert alike[0, 2] == pytest.approx(1, abs=1e-5)
    assert alike[0, 1] > alike[0, 3]
    assert bool(vectors.isfinite().all())


def test_pictures_that_every_caption_fits_have_no_negatives() -> None:
    data, _ = collect([("a", ["x", "y"]), ("b", ["x"])])
    with pytest.raises(InputError, match="wrong"):
        random_negatives(data, 0)
