"""Word pieces are those of transformers' BertTokenizer; but what is typed is always text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seesay.errors import CheckpointError
from seesay.processing.wordpiece import SPECIAL, WordPieceTokenizer

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    WordPieceTokenizer.published().save(folder)
    return transformers.BertTokenizer.from_pretrained(folder)


def test_the_shipped_vocabulary_is_that_of_bert_base_uncased() -> None:
    ours = WordPieceTokenizer.published()
    assert (ours.size, len(ours.vocabulary)) == (30522, 30522)
    assert [ours.vocabulary[token] for token in SPECIAL] == [0, 100, 101, 102, 103]
    golden = {
        "a picture of ": [1037, 3861, 1997],
        "Hello, world!": [7592, 1010, 2088, 999],
        "unaffable": [14477, 20961, 3468],
        "two dogs": [2048, 6077],
        "": [],
        "   \n\t ": [],
    }
    assert ours.ids(list(golden)) == list(golden.values())


TRICKY = [
    "Crème BRÛLÉE naïve ÅNGSTRÖM İstanbul ß ﬁ",
    "图片说话 a图b 𠀀 日本語カタカナ 한국어",
    "don't rock-n-roll, it's 3.14 (or so)! #1 @home $5 ~ ` ^ | © ™ …",
    "zero\u200bwidth \u00a0nbsp\u3000ideographic \x00nul \x07bell \ufffd soft\u00adhyphen",
    "x" * 100 + " " + "x" * 101,
    "👩‍👩‍👧 flags 🇩🇪 e\u0301 o\u0308\u0323",
    "##ing [unused1] ##",
]


@pytest.mark.parametrize("text", TRICKY)
def test_tricky_texts(text: str, theirs: Any) -> None:
    assert WordPieceTokenizer.published().ids([text])[0] == theirs.encode(
        text, add_special_tokens=False
    )


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_ids_of_any_text(theirs: Any, text: str) -> None:
    if any(token in text for token in SPECIAL) or not text.isprintable():
        return
    found = WordPieceTokenizer.published().ids([text])[0]
    assert found == theirs.encode(text, add_special_tokens=False)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 30523), max_size=12))
def test_texts_of_any_ids(theirs: Any, ids: list[int]) -> None:
    plain = [i for i in ids if i < 30522]  # it lacks what BLIP adds
    assert WordPieceTokenizer.published().decode([ids])[0] == theirs.decode(
        plain, skip_special_tokens=True
    )


def test_special_tokens_in_a_text_are_text() -> None:
    ours = WordPieceTokenizer.published()
    for token in (*SPECIAL, "[DEC]", "[ENC]"):
        (ids,) = ours.ids([f"a {token} b {token.lower()}"])
        assert not {0, 101, 102, 103, 30522, 30523} & set(ids)
    lone = ours.ids(["a\ud800b", "\udfff"])
    assert all(0 < i < 30522 for row in lone for i in row)


def test_a_vocabulary_from_each_kind_of_file(tmp_path: Path) -> None:
    ours = WordPieceTokenizer.published()
    listed = tmp_path / "listed"
    listed.mkdir()
    (listed / "vocab.txt").write_text("\n".join(ours.vocabulary) + "\n", encoding="utf-8")
    read = WordPieceTokenizer.from_folder(listed)
    assert read is not None
    assert read.digest == ours.digest
    (listed / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    cased = WordPieceTokenizer.from_folder(listed)
    assert cased is not None
    assert cased.digest != ours.digest
    assert cased.ids(["Two"]) == [[100]]  # unknown: the vocabulary has no capitals
    ours.save(tmp_path)
    saved = WordPieceTokenizer.from_folder(tmp_path)
    assert saved is not None
    assert saved.digest == ours.digest
    assert WordPieceTokenizer.from_folder(tmp_path / "listed" / "none") is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vocab.txt", "a\nb\n"),
        ("tokenizer.json", "{"),
        ("tokenizer.json", "[]"),
        ("tokenizer.json", json.dumps({"model": {"type": "BPE", "vocab": {}}, "normalizer": {}})),
        ("tokenizer.json", json.dumps({"model": {"vocab": {}}, "normalizer": {"type": "NFC"}})),
        ("tokenizer.json", json.dumps({"model": {"vocab": {}}, "normalizer": None})),
    ],
)
def test_what_is_no_word_piece_vocabulary_is_refused(
    name: str, content: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CheckpointError, match=name):
        WordPieceTokenizer.from_folder(tmp_path)
