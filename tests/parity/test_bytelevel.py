"""Byte pairs are those of transformers' RobertaTokenizer; but what is typed is always text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seesay.errors import CheckpointError
from seesay.families.florence2.processing import ADDED
from seesay.processing.bytelevel import SPECIAL, ByteLevelTokenizer

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tokenizer of transformers, from the two files of older releases."""
    folder = tmp_path_factory.mktemp("tokenizer")
    two_files(ByteLevelTokenizer.published(), folder)
    return transformers.RobertaTokenizer.from_pretrained(folder)


def two_files(tokenizer: ByteLevelTokenizer, folder: Path) -> None:
    (folder / "vocab.json").write_text(json.dumps(dict(tokenizer.vocabulary)), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in tokenizer.merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_the_shipped_vocabulary_is_that_of_bart() -> None:
    ours = ByteLevelTokenizer.published()
    assert (ours.size, len(ours.vocabulary), len(ours.merges)) == (50265, 50265, 50000)
    assert [ours.vocabulary[token] for token in SPECIAL] == [0, 1, 2, 3, 50264]
    objects = "Locate the objects with category name in the image."
    golden = {
        objects: "574 22486 5 8720 19 4120 766 11 5 2274 4",
        "Locate the region proposals in the image.": "574 22486 5 976 5327 11 5 2274 4",
        "Locate wheels in the image.": "574 22486 10562 11 5 2274 4",
        "Hello world": "31414 232",
        " Hello world": "20920 232",
        "": "",
    }
    found = ours.ids(list(golden))
    assert found == [[int(i) for i in ids.split()] for ids in golden.values()]
    assert len(set(ours.vocabulary.values())) == 50265
    assert all(left + right in ours.vocabulary for left, right in ours.merges)


TRICKY = [
    "Crème BRÛLÉE naïve ÅNGSTRÖM İstanbul ß ﬁ",
    "图片说话 a图b 𠀀 日本語カタカナ 한국어",
    "don't rock-n-roll, it's 3.14 (or so)! #1 @home $5 ~ ` ^ | © ™ … WE'LL they'VE",
    "zero\u200bwidth \u00a0nbsp\u3000ideographic \x00nul \x01\x02\x03 \x07bell",
    "\ufffd soft\u00adhyphen",
    "  two  spaces   three\n\nlines\t\ttabs \r\n end ",
    "👩‍👩‍👧 flags 🇩🇪 e\u0301 o\u0308\u0323",
    "x" * 200,
    "²³¼ ٣٤ Ⅻ ①",
]


@pytest.mark.parametrize("text", TRICKY)
def test_tricky_texts(text: str, theirs: Any) -> None:
    ours = ByteLevelTokenizer.published()
    (found,) = ours.ids([text])
    assert found == theirs.encode(text, add_special_tokens=False)
    assert ours.decode([found]) == [text]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_ids_of_any_text_and_back(theirs: Any, text: str) -> None:
    if any(token in text for token in SPECIAL):
        return
    ours = ByteLevelTokenizer.published()
    (found,) = ours.ids([text])
    assert found == theirs.encode(text, add_special_tokens=False)
    assert ours.decode([found]) == [text]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(4, 50260), max_size=12))
def test_texts_of_any_ids(theirs: Any, ids: list[int]) -> None:
    ours = ByteLevelTokenizer.published()
    (text,) = ours.decode([ids])
    assert text == theirs.decode(ids, clean_up_tokenization_spaces=False)
    pieces = ours.pieces(ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == text


def test_a_letter_spread_over_tokens_belongs_to_the_last_of_them() -> None:
    ours = ByteLevelTokenizer.published()
    (ids,) = ours.ids(["車x"])
    assert ours.pieces(ids) == [*[""] * (len(ids) - 2), "車", "x"]
    # one that is never finished is shown by the token that breaks it off
    assert ours.pieces([*ids[:-2], *ours.ids(["x"])[0]])[-1] == "\ufffdx"
    assert ours.pieces(ids[:1])[-1] == "\ufffd"
    assert ours.pieces([]) == []


def test_special_tokens_in_a_text_are_text() -> None:
    ours = ByteLevelTokenizer.published()
    for token in SPECIAL:
        (ids,) = ours.ids([f"a {token} b"])
        assert not {*ids} & {ours.vocabulary[token] for token in SPECIAL}
        assert ours.decode([ids]) == [f"a {token} b"]
    # what starts, ends and fills up is not shown, wherever it stands
    (ids,) = ours.ids(["a b"])
    assert ours.decode([[2, 0, 0, ids[0], 0, *ids[1:], 2, 1, 1]]) == ["a b"]
    assert ours.decode([[*ids, 60000]]) == ["a b"]


def test_added_tokens_are_found_whole_and_in_the_published_order(theirs: Any) -> None:
    ours = ByteLevelTokenizer.published().with_tokens(ADDED)
    assert ours.size == 51289
    ids = {token: ours.vocabulary[token] for token in ADDED}
    placed = {"<od>": 50265, "</ocr>": 50268, "<loc_0>": 50269, "<loc_999>": 51268, "<cap>": 51269}
    placed |= {"<sep>": 51279, "<poly>": 51286, "</poly>": 51287, "<and>": 51288}
    assert placed.items() <= ids.items()
    text = "car<loc_53><loc_333> door<poly><loc_0></poly> a<and>b <loc_1000> <loc_x>"
    theirs.add_tokens(list(ADDED), special_tokens=True)
    (found,) = ours.ids([text])
    assert found == theirs.encode(text, add_special_tokens=False)
    assert ours.decode([found]) == [text]
    assert "<loc_333>" in ours.pieces(found)


def test_files_give_the_same_tokenizer(tmp_path: Path) -> None:
    ours = ByteLevelTokenizer.published().with_tokens(ADDED)
    assert ByteLevelTokenizer.from_folder(tmp_path) is None
    ours.save(tmp_path)
    back = ByteLevelTokenizer.from_folder(tmp_path)
    assert back is not None
    assert back.digest == ours.digest
    text = "car <loc_53></s> 图"
    assert back.ids([text]) == ours.ids([text])
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    assert fast.encode("car<loc_53>") == [0, *ours.ids(["car<loc_53>"])[0], 2]
    older = tmp_path / "older"
    older.mkdir()
    two_files(ByteLevelTokenizer.published(), older)
    added = {token: ours.vocabulary[token] for token in ADDED}
    (older / "added_tokens.json").write_text(json.dumps(added))
    again = ByteLevelTokenizer.from_folder(older)
    assert again is not None
    assert again.digest == ours.digest


def test_tokens_beyond_the_rows_of_a_table_are_left_out() -> None:
    ours = ByteLevelTokenizer.published().with_tokens(ADDED)
    more = ours.with_tokens(["<image>"], 51289)
    assert more.vocabulary["<image>"] == 51289
    assert more.below(51289).digest == ours.digest
    assert ours.below(51289) is ours


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data["model"].update(type="WordPiece"),
        lambda data: data.update(pre_tokenizer={"type": "Whitespace"}),
        lambda data: data.update(pre_tokenizer=None),
        lambda data: data["pre_tokenizer"].update(add_prefix_space=True),
        lambda data: data["pre_tokenizer"].update(use_regex=False),
        lambda data: data.update(normalizer={"type": "NFC"}),
        lambda data: data["model"]["vocab"].update({"a": "zero"}),
        lambda data: data["model"].update(merges=[["a", "b", "c"]]),
        lambda data: data["model"].update(merges=["a zz"]),
        lambda data: data.pop("model"),
        lambda data: (data["model"]["vocab"].pop("</s>"), data.update(added_tokens=[])),
    ],
)
def test_another_kind_of_tokenizer_is_refused(damage: Any, tmp_path: Path) -> None:
    letters = [chr(c) for c in range(33, 127)]
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *letters])}
    ByteLevelTokenizer(vocabulary, [("a", "b")] if "ab" in vocabulary else []).save(tmp_path)
    data = json.loads((tmp_path / "tokenizer.json").read_text())
    damage(data)
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not a tokenizer"):
        ByteLevelTokenizer.from_folder(tmp_path)


def test_a_small_vocabulary_reads_what_it_lacks_as_unknown(tmp_path: Path) -> None:
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, "a", "b", "ab", "<loc_0>"])}
    ours = ByteLevelTokenizer(vocabulary, [("a", "b")], ["<loc_0>"])
    assert ours.ids(["ab<loc_0>ba", "ac"]) == [[7, 8, 6, 5], [5, 3]]
    assert ours.decode([[7, 8, 3]]) == ["ab<loc_0><unk>"]
    with pytest.raises(ValueError, match="no token <loc_1>"):
        ByteLevelTokenizer(vocabulary, [], ["<loc_1>"])
