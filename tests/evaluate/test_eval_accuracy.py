"""Answers are normalised and counted as the VQA challenge does."""

from __future__ import annotations

import pytest

from seesay.evaluate.text.accuracy import (
    direct_accuracy,
    exact_accuracy,
    normalised,
    vqa_accuracy,
)

# recorded from the evaluation program of visualqa.org
NORMALISED = {
    "The Dog.": "dog",
    "a": "",
    "Two dogs": "2 dogs",
    "none": "0",
    "ten": "10",
    "eleven": "eleven",
    "dont": "don't",
    "hes": "he's",
    "somebody'd": "somebodyd",
    "Im": "im",
    "yall'd've": "y'all'd've",
    "red/white": "red white",
    "red / white": "red white",
    "t-shirt": "t shirt",
    "t- shirt": "t shirt",
    "black,white": "black white",
    "black, white": "black white",
    "1,000": "1000",
    "1,000 t-shirts": "1000 tshirts",
    "2.5": "2.5",
    "3.": "3",
    ".5": ".5",
    "u.s.": "us",
    "a.b.c 1.5.": "abc 1.5",
    "what?!": "what",
    "$5": "$5",
    "50%": "50%",
    "(x)": "x",
    "the\ta\nan": "",
    "who's": "who's",
    "x_y;z": "x y z",
}


@pytest.mark.parametrize("answer", NORMALISED)
def test_normalisation_is_that_of_the_challenge(answer: str) -> None:
    assert normalised(answer) == NORMALISED[answer]


def test_full_stops_after_the_thirty_second_stay() -> None:
    """The reference passes a flag where the count belongs, and flags are numbers."""
    assert normalised("." * 40 + "x") == "." * 8 + "x"


@pytest.mark.parametrize(
    ("same", "accuracy"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (9, 1)]
)
def test_accuracy_leaves_out_one_annotator_at_a_time(same: int, accuracy: float) -> None:
    said = ["2"] * same + [f"other {i}" for i in range(10 - same)]
    assert vqa_accuracy("two", said) == pytest.approx(accuracy)


def test_where_all_agree_nothing_is_normalised() -> None:
    """As the challenge's program has it: an answer with a full stop is then wrong."""
    assert vqa_accuracy("yes", ["yes"] * 10) == 1
    assert vqa_accuracy("Yes", ["yes"] * 10) == 0
    assert vqa_accuracy("Yes", ["yes"] * 9 + ["no"]) == 1
    assert vqa_accuracy("yes\n", ["yes"] * 10) == 1


def test_other_measures() -> None:
    assert direct_accuracy("dog", ["dog", "dog", "cat"]) == pytest.approx(2 / 3)
    assert direct_accuracy("Dog", ["dog"] * 10) == 0
    assert direct_accuracy("dog", ["dog"] * 10) == 1
    assert exact_accuracy("The dog.", ["dog"]) == 1
    assert exact_accuracy("two", ["2", "3"]) == 1
    assert exact_accuracy("four", ["2", "3"]) == 0
