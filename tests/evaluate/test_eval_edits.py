"""Edits between texts, and the figures made of them, against other programs and by hand."""

from __future__ import annotations

import random

import pytest

from seesay.evaluate.text.edits import (
    anls,
    character_errors,
    distance,
    document_accuracy,
    word_errors,
    words_in_common,
)

COLA = ["Coca Cola", "Coca Cola Company"]


def slow_distance(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            last, row[j] = row[j], min(last + (a != b), row[j] + 1, row[j - 1] + 1)
    return row[-1]


def drawn(count: int, longest: int) -> list[tuple[str, str]]:
    rng = random.Random(0)

    def text() -> str:
        return "".join(rng.choice("ab é") for _ in range(rng.randint(0, longest)))

    return [(text(), text()) for _ in range(count)]


def test_distance_is_that_of_the_plain_table() -> None:
    assert all(distance(a, b) == slow_distance(a, b) for a, b in drawn(400, 24))
    # longer than any machine word
    assert all(distance(a, b) == slow_distance(a, b) for a, b in drawn(20, 200))
    assert distance("kitten", "sitting") == 3
    assert distance(["a", "red", "dog"], ["a", "dog"]) == 1
    assert distance("", "abc") == distance("abc", "") == 3


def test_distance_is_that_of_rapidfuzz() -> None:
    oracle = pytest.importorskip("rapidfuzz.distance").Levenshtein
    assert all(distance(a, b) == oracle.distance(a, b) for a, b in drawn(2000, 90))


@pytest.mark.parametrize(
    ("answer", "answers", "score"),
    [
        ("CocaCola", COLA, 8 / 9),
        ("The Coca", COLA, 0.0),
        ("Cola", COLA, 0.0),
        ("coca  COLA \n", COLA, 1.0),
        ("coca cola company", COLA, 1.0),
        ("ab", ["ac"], 0.0),  # half of it is wrong: that is too much
        ("abc", ["abd"], 2 / 3),
        ("", [""], 1.0),
        ("", ["a"], 0.0),
        ("a", [], 0.0),
    ],
)
def test_anls_by_hand(answer: str, answers: list[str], score: float) -> None:
    assert anls(answer, answers) == pytest.approx(score)


def test_accuracy_of_documents_puts_case_and_spaces_aside() -> None:
    assert document_accuracy(" coca  cola", COLA) == 1
    assert document_accuracy("coca-cola", COLA) == 0


def test_character_and_word_errors_are_those_of_jiwer() -> None:
    jiwer = pytest.importorskip("jiwer")
    pairs = [(a, b) for a, b in drawn(300, 40) if b.strip()]
    for read, wanted in pairs:
        letters, words = character_errors(read, wanted), word_errors(read, wanted)
        read, wanted = " ".join(read.split()), " ".join(wanted.split())
        assert letters.edits / letters.length == pytest.approx(jiwer.cer(wanted, read))
        assert words.edits / words.length == pytest.approx(jiwer.wer(wanted, read))


def test_lines_and_the_form_of_accents_are_no_errors() -> None:
    assert character_errors("cafe\u0301\nau lait", "café au lait").edits == 0
    assert word_errors("one\ntwo", "one two three") == (1, 3)
    assert character_errors("", "abc") == (3, 3)


def test_words_in_common_have_no_order() -> None:
    assert words_in_common("b a a", "a b c") == (2, 3, 3)
    assert words_in_common("", "") == (0, 0, 0)
