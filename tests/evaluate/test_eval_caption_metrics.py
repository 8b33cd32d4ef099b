"""BLEU, ROUGE-L and CIDEr-D are those of the reference program."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from seesay.evaluate import caption_scores
from seesay.evaluate.text.bleu import bleu, overlap
from seesay.evaluate.text.cider import cider_d
from seesay.evaluate.text.rouge import common_length, rouge_l
from seesay.evaluate.text.tokens import tokens

CAPTIONS: list[tuple[str, list[str]]] = [
    (
        "a man riding a wave on a surfboard",
        [
            "A man riding a wave on top of a surfboard.",
            "A surfer rides a large wave in the ocean.",
            "The man's surfboard isn't touching the water.",
            "A person surfing, near the shore.",
            "Surfer on a blue-green wave",
        ],
    ),
    (
        "two dogs are playing with a ball in the grass.",
        [
            "Two dogs play with a ball.",
            "A pair of dogs chasing a ball in the grass",
            "Dogs running after a red ball on the lawn.",
        ],
    ),
    (
        "A plate of food on a table.",
        [
            "A white plate topped with meat and vegetables.",
            "There's a plate of food on the table",
            "Dinner: meat, rice & beans on a plate",
            "A plate of food on a table.",
        ],
    ),
    ("a a a a a cat", ["A cat sleeping on a couch.", "A cat is lying on the sofa"]),
    ("", ["A red double-decker bus driving down the street.", "The bus is red."]),
    (
        'a stop sign that says "STOP" at the corner of 5th Ave.',
        [
            "A stop sign at the corner of 5th Ave. and Main St.",
            'Red sign says "STOP" (in white letters)',
            "It's a stop sign!!",
        ],
    ),
    ("a train", ["A train traveling down tracks next to a forest."]),
    (
        "many zebras stand together in a field of tall grass looking at the camera man "
        "who is far away",
        [
            "Zebras standing in the grass",
            "A herd of zebras in a field",
            "Three zebras stand in tall grass.",
            "zebras",
        ],
    ),
]

# recorded from pycocoevalcap 1.2 with its Java tokeniser
BLEU = [0.7343749999770508, 0.6520463738545149, 0.5446450006772567, 0.45816011969867904]
ROUGE = [0.8714285714285713, 0.7187745483110761, 1.0, 0.3333333333333333, 0.0, 0.75,
         0.3262032085561497, 0.4656488549618321]  # fmt: skip
CIDER = [1.788899838648047, 2.3884890784912494, 4.381873355326665, 1.6618194357575415, 0.0,
         2.4510140013293564, 0.9461801124993554, 0.1051114881770459]  # fmt: skip


def corpus() -> tuple[list[list[str]], list[list[list[str]]]]:
    captions = [tokens(caption) for caption, _ in CAPTIONS]
    return captions, [[tokens(text) for text in several] for _, several in CAPTIONS]


def test_scores_are_those_recorded_from_the_reference() -> None:
    captions, references = corpus()
    pairs = list(zip(captions, references, strict=True))
    assert bleu(sum(overlap(*pair) for pair in pairs)) == pytest.approx(BLEU, abs=1e-9)
    assert [rouge_l(*pair) for pair in pairs] == pytest.approx(ROUGE, abs=1e-9)
    assert cider_d(captions, references) == pytest.approx(CIDER, abs=1e-9)
    figures = caption_scores([text for text, _ in CAPTIONS], [several for _, several in CAPTIONS])
    assert figures["cider_d"] == pytest.approx(np.mean(CIDER), abs=1e-9)
    assert figures["rouge_l"] == pytest.approx(np.mean(ROUGE), abs=1e-9)
    assert [figures[f"bleu_{n}"] for n in (1, 2, 3, 4)] == pytest.approx(BLEU, abs=1e-9)


def test_scores_are_those_of_the_reference_program() -> None:
    """On a made corpus with captions of all lengths; the scorers need no Java."""
    scorers: Any = [
        pytest.importorskip("pycocoevalcap.bleu.bleu").Bleu(4),
        pytest.importorskip("pycocoevalcap.rouge.rouge").Rouge(),
        pytest.importorskip("pycocoevalcap.cider.cider").Cider(),
    ]
    rng = random.Random(0)
    words = [f"w{i * i // 30}" for i in range(60)]
    references, captions = [], []
    for _ in range(200):
        base = [rng.choice(words) for _ in range(rng.randint(1, 14))]
        several = [
            [word for word in base if rng.random() < 0.8] + [rng.choice(words)]
            for _ in range(rng.randint(1, 5))
        ]
        references.append(several)
        captions.append([word for word in base if rng.random() < 0.7])
    given = {i: [" ".join(words) for words in several] for i, several in enumerate(references)}
    asked = {i: [" ".join(words)] for i, words in enumerate(captions)}
    (told_bleu, _), (_, told_rouge), (_, told_cider) = (
        scorer.compute_score(given, asked, **({"verbose": 0} if i == 0 else {}))
        for i, scorer in enumerate(scorers)
    )
    pairs = list(zip(captions, references, strict=True))
    assert bleu(sum(overlap(*pair) for pair in pairs)) == pytest.approx(told_bleu, abs=1e-9)
    assert [rouge_l(*pair) for pair in pairs] == pytest.approx(told_rouge, abs=1e-9)
    assert cider_d(captions, references) == pytest.approx(told_cider, abs=1e-9)


def test_the_longest_common_subsequence_is_that_of_the_table() -> None:
    rng = random.Random(0)
    for _ in range(200):
        first = [rng.choice("abcd") for _ in range(rng.randint(0, 12))]
        second = [rng.choice("abcd") for _ in range(rng.randint(0, 12))]
        table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
        for i, a in enumerate(first, 1):
            for j, b in enumerate(second, 1):
                most = max(table[i - 1][j], table[i][j - 1])
                table[i][j] = table[i - 1][j - 1] + 1 if a == b else most
        assert common_length(first, second) == table[-1][-1]


def test_a_caption_that_is_a_reference_scores_the_most() -> None:
    _, references = corpus()
    words = references[0][0]
    assert bleu(overlap(words, references[0])) == pytest.approx([1, 1, 1, 1])
    assert rouge_l(words, references[0]) == 1
    single = [[several[0]] for several in references]
    # "It's a stop sign" and the others have runs of four words; each is like itself alone
    assert cider_d([several[0] for several in single][:3], single[:3]) == pytest.approx([10] * 3)
