"""The recipe's parts that need no downloads: tables, splits, batches and figures."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from seesay.families.mini.configs import TextConfig
from seesay.families.mini.processing import SHIPPED, TOKENIZER
from seesay.networks.texttower import TextTower
from seesay.recipes.mini import corpus, distil, drawings
from seesay.recipes.mini.evaluate import recall
from seesay.recipes.mini.sources import PACKAGES, UNSEEN_VENDOR, VENDORS


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(SHIPPED / TOKENIZER))


def test_about_twelve_percent_of_concepts_are_held_out_for_ever() -> None:
    held = [drawings.held_out(f"concept {i}") for i in range(4000)]
    assert 0.10 < sum(held) / len(held) < 0.14
    # a fixed function: these two must never change sides
    assert [drawings.held_out(c) for c in ("cat", "red apple")] == [False, False]


def test_nothing_share_alike_is_trained_on_and_every_package_names_its_licence() -> None:
    assert all(package.licence for package in PACKAGES)
    assert "SA" in UNSEEN_VENDOR.licence
    assert UNSEEN_VENDOR not in VENDORS.values()
    for package in PACKAGES:
        if package is not UNSEEN_VENDOR:
            assert "SA" not in package.licence.split("-")
            assert "GPL" not in package.licence


def test_the_tables_are_whole() -> None:
    classes = corpus.class_names()
    assert len(classes) == 1000
    assert all(english and all(english) for english, _ in classes)
    assert sum(bool(chinese) for _, chinese in classes) == 1000
    assert len(corpus.words()) > 5000
    assert len(corpus.captions()) > 2000
    for pair in [*corpus.words(), *corpus.captions()]:
        assert pair.english.isascii() or "é" in pair.english or "ñ" in pair.english, pair
        assert any("\u4e00" <= c <= "\u9fff" for c in pair.chinese) or pair.chinese.isascii(), pair
    for row in corpus.rows("scenes.tsv"):
        assert 0 <= int(row["index"]) < 1000
        assert row["english"]


def test_the_grammar_is_a_function_of_its_seed_and_speaks_both_languages() -> None:
    first, again, other = (corpus.drawn(200, seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other
    assert all(pair.english and pair.chinese for pair in first)
    assert len(set(first)) > 190


def test_articles_fit_their_words() -> None:
    assert corpus.a("owl") == "an owl"
    assert corpus.a("cat") == "a cat"
    assert corpus.a("a row of cars") == "a row of cars"


def test_tokens_are_words_whatever_their_case_and_ideographs_in_words(
    tokenizer: Tokenizer,
) -> None:
    assert tokenizer.encode("A DOG").tokens == ["a", "dog"]
    assert tokenizer.encode("长颈鹿").tokens == ["长颈鹿"]
    assert tokenizer.encode("ＤＯＧ").tokens == ["dog"]
    assert tokenizer.get_vocab_size() <= TextConfig().vocab_size


def test_encoded_texts_are_padded_on_the_right_and_never_empty(tokenizer: Tokenizer) -> None:
    encoded = distil.Encoded(tokenizer, ["a dog", "", "one two three four"], max_length=3)
    ids, mask = encoded[np.array([0, 1, 2])]
    assert mask.tolist() == [[True, True, False], [True, False, False], [True, True, True]]
    assert ids[0, :2].tolist() == tokenizer.encode("a dog").ids
    assert encoded[np.array([1])][0].shape == (1, 1)


def test_misspelling_changes_one_place_and_keeps_short_words() -> None:
    rng = random.Random(0)
    assert distil.misspelt("cat", rng) == "cat"
    for _ in range(50):
        slip = distil.misspelt("elephant", rng)
        assert abs(len(slip) - 8) <= 1
        assert set(slip) <= set("elephant")


def test_a_deepened_tower_is_the_same_function_at_first() -> None:
    sizes = {
        "vocab_size": 50,
        "token_width": 6,
        "width": 12,
        "num_heads": 3,
        "mlp_width": 20,
        "max_length": 9,
        "embed_width": 7,
    }
    torch.manual_seed(0)
    shallow, deep = TextTower(depth=0, **sizes), TextTower(depth=2, **sizes)
    distil.deepen(shallow.state_dict(), deep)
    ids = torch.randint(0, 50, (4, 5))
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [True] + [False] * 4, [True] * 5])
    with torch.inference_mode():
        torch.testing.assert_close(deep(ids, mask), shallow(ids, mask))


def test_recall_counts_any_relevant_image_and_knows_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, images = (
        F.normalize(torch.randn(n, 6, generator=generator), dim=-1) for n in (40, 25)
    )
    relevant = torch.rand(40, 25, generator=generator) < 0.1
    relevant[:, 0] = True
    found = recall(queries, images, relevant)
    for k in (1, 5, 10):
        hits = 0
        for query, truth in zip(queries, relevant, strict=True):
            order = sorted(range(25), key=lambda i: -float(query @ images[i]))
            hits += any(bool(truth[i]) for i in order[:k])
        assert found[f"R@{k}"] == round(100 * hits / 40, 1)
    assert found["chance@1"] == round(100 * float(relevant.float().mean()), 2)
