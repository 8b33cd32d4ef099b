"""Token ids: OpenAI's published rules by default, transformers' when they are asked for."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import bpe
from seesay.errors import CheckpointError, InputError
from seesay.processing.bytepairs import published_vocabulary
from seesay.processing.tokens import BytePairTokenizer, Vocabulary, clean

TEXTS = [
    "a photo of a cat",
    "A Photo of a CAT.",
    "",
    "   \t\n ",
    "it's the dogs' 12345 bones, 3.14!",
    "we'll they've I'd 'S 'RE rock'n'roll",
    "naïve café — “quotes” … ½ ² ⅷ ٣٤ 一二三",
    "schÃ¶n cafÃ© â€œquoteâ€\x9d â€™",
    "&amp;lt;b&amp;gt; fish &amp; chips &eacute;",
    "&lt;p&gt;tag&lt;/p&gt; &amp;amp; &#128512; <b>a & b</b>",
    "看图说话 红色自行车",
    "😀👩‍👩‍👧‍👦🇫🇷 emoji❤️",
    "Привет мир αβγ עברית हिन्दी ไทย",
    "ﬁne ﬂour ①②③ ｆｕｌｌ",
    "the <|startoftext|> and <|endoftext|> and <|ENDOFTEXT|>",
    "\u00a0non\u2003breaking\u3000spaces\u200b",
    "x" * 300,
    "1 " * 100,
    "a very " * 60 + "long text",
    "ſtrange K İstanbul ẞ",
    "e\u0301 decomposed vs \u00e9",
    "\x00nul \x1b[31mred\x1b[0m",
]
GOLDEN = {
    # printed in openai/CLIP's notebook and in transformers' documentation
    "a photo of a cat": [49406, 320, 1125, 539, 320, 2368, 49407],
    "a photo of a dog": [49406, 320, 1125, 539, 320, 1929, 49407],
    "a diagram": [49406, 320, 22697, 49407],
    "hello world!": [49406, 3306, 1002, 256, 49407],
}


@pytest.fixture(scope="module")
def tokenizer() -> BytePairTokenizer:
    return BytePairTokenizer(published_vocabulary(), 77)


@pytest.fixture(scope="module")
def like_hf() -> BytePairTokenizer:
    return BytePairTokenizer(published_vocabulary(), 77, compat="hf")


def test_published_ids(tokenizer: BytePairTokenizer, like_hf: BytePairTokenizer) -> None:
    assert tokenizer.ids(list(GOLDEN)) == list(GOLDEN.values())
    assert like_hf.ids(list(GOLDEN)) == list(GOLDEN.values())


@pytest.mark.parametrize("text", TEXTS)
def test_published_rules(tokenizer: BytePairTokenizer, text: str) -> None:
    assert tokenizer.ids([text]) == [bpe.encode(text)]


# without characters newer than one of the two expression engines, and one that only counts as a
# letter when case is ignored
KNOWN = st.characters(
    max_codepoint=0x2FFF, exclude_categories=["Cs", "Cn"], exclude_characters="\u0345"
)


@settings(max_examples=300, deadline=None)
@given(st.text(KNOWN, max_size=40))
def test_published_rules_on_any_text(tokenizer: BytePairTokenizer, text: str) -> None:
    assert tokenizer.ids([text]) == [bpe.encode(text)]


def test_the_shortcut_for_plain_ascii_changes_nothing() -> None:
    import ftfy

    generator = random.Random(0)
    for _ in range(2000):
        text = "".join(chr(generator.randrange(32, 127)) for _ in range(20)).replace("&", "")
        assert ftfy.fix_text(text) == text
        assert clean(text) == " ".join(text.split()).lower()


def test_transformers_rules(like_hf: BytePairTokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    like_hf.save(tmp_path)
    theirs = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        wanted = theirs(text, truncation=True, max_length=77)["input_ids"]
        assert like_hf.ids([text]) == [wanted], text
    batch = theirs(TEXTS[:6], padding=True, return_tensors="pt")
    ids, mask = like_hf(TEXTS[:6])
    assert torch.equal(ids, batch["input_ids"])
    assert torch.equal(mask.long(), batch["attention_mask"])


def test_the_two_rules_differ_where_text_needs_repair(
    tokenizer: BytePairTokenizer, like_hf: BytePairTokenizer
) -> None:
    for text in ("schÃ¶n", "fish &amp; chips", "ﬁne"):
        assert tokenizer.ids([text]) != like_hf.ids([text])


def test_rows_are_padded_to_the_longest_and_masked(
    tokenizer: BytePairTokenizer, like_hf: BytePairTokenizer
) -> None:
    for tokens, pad in ((tokenizer, 0), (like_hf, 49407)):
        ids, mask = tokens(["a cat", "a very long photo of a cat", ""])
        assert ids.shape == mask.shape == (3, 9)
        assert ids.dtype is torch.long
        assert mask.sum(1).tolist() == [4, 9, 2]
        assert all(row[m].tolist()[-1] == 49407 for row, m in zip(ids, mask, strict=True))
        assert set(ids[~mask].tolist()) == {pad}
    assert tokenizer([]).ids.shape == (0, 0)


def test_too_long_a_text_is_cut_or_refused(tokenizer: BytePairTokenizer) -> None:
    text = " ".join(["cat"] * 76)
    row = tokenizer.ids([text])[0]
    assert len(row) == 77
    assert row[-1] == 49407
    strict = BytePairTokenizer(published_vocabulary(), 77, overflow="error")
    assert len(strict.ids([" ".join(["cat"] * 75)])[0]) == 77
    with pytest.raises(InputError, match="78 tokens, more than 77"):
        strict.ids([text])


def test_half_a_surrogate_pair_is_replaced(
    tokenizer: BytePairTokenizer, like_hf: BytePairTokenizer
) -> None:
    assert tokenizer.ids(["a \ud83d cat"]) == tokenizer.ids(["a \ufffd cat"])
    assert like_hf.ids(["a \ud83d\ude00 cat"]) == like_hf.ids(["a 😀 cat"])


def test_every_form_on_disk_is_the_same_vocabulary(
    tokenizer: BytePairTokenizer, tmp_path: Path
) -> None:
    import json

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    tokenizer.save(whole)
    vocabulary = published_vocabulary()
    (parts / "vocab.json").write_text(json.dumps(vocabulary.ids), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in vocabulary.merges), ""]
    (parts / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    for folder in (whole, parts):
        found = Vocabulary.from_folder(folder)
        assert found is not None
        assert dict(found.ids) == dict(vocabulary.ids)
        assert BytePairTokenizer(found, 77).ids(TEXTS) == tokenizer.ids(TEXTS)
    assert Vocabulary.from_folder(tmp_path) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"model": {"type": "WordPiece", "vocab": {"a": 0}}}',
        '{"model": {"end_of_word_suffix": "</w>", "vocab": {"a": 0}, "merges": []}}',
        '{"model": {"end_of_word_suffix": "</w>", "vocab": {"a": "0"}, "merges": [["a"]]}}',
    ],
)
def test_a_damaged_or_foreign_tokenizer_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not a tokenizer"):
        Vocabulary.from_folder(tmp_path)
