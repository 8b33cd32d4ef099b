"""What the writer learns to say about each kind of picture, and the vocabulary it says it with."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from seesay.families.mini.processing import ASK, END, PAD, START, UNKNOWN_TOKEN
from seesay.recipes.mini import asked, composed, corpus
from seesay.recipes.mini.asked import Asked
from seesay.recipes.mini.composed import Placed, Scene, Thing
from seesay.recipes.mini.corpus import Pair, a

SPECIAL = (PAD, UNKNOWN_TOKEN, START, ASK, END)


def drawing(row: Mapping[str, Any], called: Mapping[str, Thing]) -> Pair:
    """Say what a drawing shows; `called` names things by their emoji."""
    name = row["english"][0].lower()
    if name in called:
        thing = called[name]
        return Pair(a(thing.english), f"一{thing.measure}{thing.chinese}")
    chinese = row["chinese"][0] if row["chinese"] else ""
    if row["flag"] and name.startswith("flag: "):
        country = re.split("[:：]", chinese)[-1].strip()
        return Pair("the flag of " + name.removeprefix("flag: "), country + "国旗")
    return Pair(name, chinese)


def called() -> dict[str, Thing]:
    """Things by the names of their emoji."""
    return {thing.concept: thing for thing in composed.things()}


def scene(row: Mapping[str, Any]) -> Scene:
    """Read back a scene."""
    placed = [
        Placed(Thing(**p["thing"]), p["colour"], (p["box"][0], p["box"][1], *p["box"][2:]))
        for p in row["placed"]
    ]
    return Scene(tuple(placed), row["ground"])


def scene_questions(scenes: Sequence[Scene], seed: int) -> list[list[Asked]]:
    """Return the questions of each scene; what is not there is drawn from what others show."""
    others = [p.thing for s in scenes for p in s.placed if p.thing.kind != "shape"]
    return [
        asked.questions(s, others, np.random.default_rng([seed, i])) for i, s in enumerate(scenes)
    ]


def photographs() -> list[tuple[list[Pair], list[Pair]]]:
    """For each class of the trunk: how a photograph of it is captioned, and its names."""
    scenes = {int(r["index"]): r["english"].split(";") for r in corpus.rows("scenes.tsv")}
    found = []
    for index, (english, chinese) in enumerate(corpus.class_names()):
        names = [Pair(a(e), chinese[min(i, len(chinese) - 1)]) for i, e in enumerate(english)]
        captions = names[:1] * 2 + names[:2] + [Pair(s, "") for s in scenes.get(index, [])]
        found.append((captions, names))
    return found


def told() -> dict[str, list[Pair]]:
    """Texts that are said of pictures nobody has: by kind, without repetitions."""
    words = [Pair(a(p.english), p.chinese) for p in corpus.words() if len(p.english) < 24]
    scenes = [Pair(s, "") for r in corpus.rows("scenes.tsv") for s in r["english"].split(";")]
    parts = {
        "captions": corpus.captions(),
        "words": words,
        "scenes": scenes,
        "grammar": [
            Pair(p.english.removeprefix("a photo of "), p.chinese.removesuffix("的照片"))
            for p in corpus.drawn(20_000, seed=5)
        ],
    }
    return {name: list(dict.fromkeys(pairs)) for name, pairs in parts.items()}


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Return a lower-casing BPE whose pieces remember the spaces, so that ids become text again."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN_TOKEN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(),
            pre_tokenizers.Punctuation("isolated"),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        min_frequency=2,
        limit_alphabet=2600,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def vocabulary(path: Path, pairs: Callable[[], Iterable[Pair]], vocab_size: int) -> Tokenizer:
    """Return the writer's tokenizer, trained once."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        texts = (text for pair in pairs() for text in pair if text)
        train_tokenizer(texts, vocab_size).save(str(path))
    return Tokenizer.from_file(str(path))
