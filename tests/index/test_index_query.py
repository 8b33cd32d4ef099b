"""The language of queries."""

from __future__ import annotations

import os

import pytest
import torch
from fakemodel import FakeModel, vector
from hypothesis import given
from hypothesis import strategies as st

from seesay.errors import UsageError
from seesay.index.query import Term, encode, parse


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("a red bicycle", [("a red bicycle", 1)]),
        ("beach + sunset - people", [("beach", 1), ("sunset", 1), ("people", -1)]),
        ("beach -people", [("beach", 1), ("people", -1)]),
        ("- people", [("people", -1)]),
        ("+ a  +b", [("a", 1), ("b", 1)]),
        ("2:dog + 0.5:cat", [("dog", 2), ("cat", 0.5)]),
        ("dog - .5:wet cat", [("dog", 1), ("wet cat", -0.5)]),
        ("t-shirt, C++, black-and-white", [("t-shirt, C++, black-and-white", 1)]),
        ("at 12:30 o'clock", [("at 12:30 o'clock", 1)]),
        ('"salt + pepper - 12:30"', [("salt + pepper - 12:30", 1)]),
        ('2:"3:4" + x', [("3:4", 2), ("x", 1)]),
        ('he said "a + b" - c', [('he said "a + b"', 1), ("c", -1)]),
        ('an inch" + foot', [('an inch"', 1), ("foot", 1)]),
        ('"beach.jpg"', [("beach.jpg", 1)]),
        ("海滩 + 日落 - 人", [("海滩", 1), ("日落", 1), ("人", -1)]),
    ],
)
def test_terms_of_words(query: str, terms: list[tuple[str, float]]) -> None:
    assert parse(query) == [Term(text, weight) for text, weight in terms]


def test_files_are_images_unless_forbidden() -> None:
    assert parse("./a b.jpg + 2:x.PNG - night") == [
        Term("./a b.jpg", 1, True),
        Term("x.PNG", 2, True),
        Term("night", -1, False),
    ]
    assert parse("~/a.jpg")[0].content == os.path.expanduser("~/a.jpg")
    assert not any(term.is_image for term in parse("/etc/secret.jpg", files=False))


@pytest.mark.parametrize("query", ["", "  ", "+", "a +", "a + - b", "+ +", '""', "2:", 'a - ""'])
def test_empty_terms_are_errors(query: str) -> None:
    if query == "2:":
        assert parse(query) == [Term("2:", 1)]
        return
    with pytest.raises(UsageError, match="empty term"):
        parse(query)


def test_weight_of_nothing_is_an_error() -> None:
    with pytest.raises(UsageError, match="weighs nothing"):
        parse("0:cat")


@given(st.text())
def test_any_text_parses_or_is_a_usage_error(query: str) -> None:
    try:
        terms = parse(query)
    except UsageError:
        return
    assert terms
    assert all(term.content and term.weight for term in terms)


def test_the_vector_is_the_scaled_sum() -> None:
    found = encode(parse("2:dog - cat"), FakeModel())  # type: ignore[arg-type]
    expected = 2 * vector(b"dog") - vector(b"cat")
    assert torch.allclose(found, expected / expected.norm(), atol=1e-6)
    mixed = encode([Term("dog"), Term(b"cat", 1.0, True)], FakeModel())  # type: ignore[arg-type]
    expected = vector(b"dog") + vector(b"cat")
    assert torch.allclose(mixed, expected / expected.norm(), atol=1e-6)
