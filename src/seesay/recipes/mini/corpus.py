"""The text the tower learns from: English with, where there is one, its Chinese translation.

Authored for this project and part of this folder: `words_*.tsv`, `captions_*.tsv`,
`imagenet.tsv`, and `grammar.tsv`, whose rows are put together into any number of short photo
captions that say the same in both languages. From packages: CLDR names and keywords, clip art
titles, WordNet glosses and examples (English alone). Strings of held-out concepts are left out.
"""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from seesay.recipes.mini import drawings
from seesay.recipes.mini.sources import WORDNET

HERE = Path(__file__).parent


class Pair(NamedTuple):
    """One meaning: English, and Chinese or nothing."""

    english: str
    chinese: str


def rows(name: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a table of this folder."""
    with open(HERE / name, encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)


def _crossed(english: str, chinese: str) -> list[Pair]:
    """Every English synonym with every Chinese one."""
    return [
        Pair(e.strip(), z.strip())
        for e in english.split(";")
        for z in chinese.split(";")
        if e.strip()
    ]


def words() -> list[Pair]:
    """The visual vocabulary."""
    tables = (rows("words_a.tsv"), rows("words_b.tsv"))
    return [p for table in tables for r in table for p in _crossed(r["english"], r["chinese"])]


def captions() -> list[Pair]:
    """Photo captions written by hand."""
    tables = (rows("captions_a.tsv"), rows("captions_b.tsv"))
    return [Pair(r["english"], r["chinese"]) for table in tables for r in table]


def class_names() -> list[tuple[list[str], list[str]]]:
    """English and Chinese names of the trunk's 1000 classes, by index."""
    named = [(r["english"].split(";"), r["chinese"].split(";")) for r in rows("imagenet.tsv")]
    return [([e.strip() for e in en], [z.strip() for z in zh]) for en, zh in named]


def class_pairs() -> list[Pair]:
    """Names of classes as pairs; the later names of a class are wider, so only two are crossed."""
    return [Pair(e, z) for en, zh in class_names() for e in en[:2] for z in zh[:2]]


def emoji_pairs(packages: Path) -> list[Pair]:
    """CLDR names and keyword lists of the concepts that are not held out."""
    pairs = []
    for emoji in drawings.emojis(packages).values():
        if drawings.held_out(emoji.concept):
            continue
        pairs += [Pair(e, z) for e, z in zip(emoji.english, emoji.chinese, strict=False)]
    return pairs


def clipart_pairs(packages: Path) -> list[Pair]:
    """Titles, keywords and descriptions of clip art that is not held out."""
    found = drawings.clipart_drawings(packages)
    return [Pair(text, "") for d in found if not d.held_out for text in d.english]


_VISIBLE = {"05", "06", "08", "13", "15", "17", "18", "20", "04", "11", "19"}
"""WordNet's noun files of animals, artefacts, body, food, places, objects, people, plants,
acts, events and phenomena."""


def wordnet_pairs(packages: Path) -> list[Pair]:
    """Nouns of things one can see, glosses, and example sentences of every part of speech."""
    pairs = []
    for part in ("noun", "verb", "adj"):
        path = packages / WORDNET.folder / f"usr/share/wordnet/data.{part}"
        for line in path.read_text(encoding="latin-1").splitlines():
            if line.startswith(" "):
                continue
            data, _, gloss = line.partition("|")
            fields = data.split()
            pairs += [Pair(e, "") for e in re.findall(r'"([^"]{10,120})"', gloss)]
            if part != "noun" or fields[1] not in _VISIBLE:
                continue
            meaning = re.sub(r"\([^)]*\)", "", gloss.split('"')[0]).strip(" ;")
            if len(meaning) > 8:
                pairs.append(Pair(meaning[:140], ""))
            names = [fields[4 + 2 * i].replace("_", " ") for i in range(int(fields[3], 16))]
            pairs += [Pair(name, "") for name in names[:3]]
    return pairs


@dataclass(frozen=True)
class Entry:
    """One row of the grammar."""

    english: str
    chinese: str
    measure: str


def a(words_: str) -> str:
    """Put the indefinite article before English words that have no article."""
    if words_.startswith(("a ", "an ", "the ", "two ")):
        return words_
    return ("an " if words_[0] in "aeiou" else "a ") + words_


class Grammar:
    """Draws short bilingual captions; equal seeds draw equal captions."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.entries: dict[str, list[Entry]] = {}
        for row in rows("grammar.tsv"):
            entry = Entry(row["english"], row["chinese"], row["measure"] or "")
            self.entries.setdefault(row["kind"], []).append(entry)
        self.nouns = [p for p in [*words(), *class_pairs()] if len(p.english) < 24]

    def draw(self) -> Pair:
        """Return one caption in both languages."""
        shape = self.random.choices(self._shapes, self._shares)[0]
        pair = shape(self)
        if self.random.random() < 0.15:
            pair = Pair("a photo of " + pair.english, pair.chinese + "的照片")
        return pair

    def _pick(self, kind: str) -> Entry:
        return self.random.choice(self.entries[kind])

    def _person(self) -> Pair:
        if self.random.random() < 0.2:
            who = self._pick("people")
            return Pair("a group of " + who.english, "一" + who.measure + who.chinese)
        who = self._pick("person")
        if self.random.random() < 0.1:
            return Pair("two people", "两个人")
        return Pair(a(who.english), "一" + who.measure + who.chinese)

    def _animal(self) -> Pair:
        animal = self._pick("animal")
        if self.random.random() < 0.5:
            quality = self._pick("size")
            chinese = f"一{animal.measure}{quality.chinese}{animal.chinese}"
            return Pair(a(f"{quality.english} {animal.english}"), chinese)
        return Pair(a(animal.english), f"一{animal.measure}{animal.chinese}")

    def _thing(self) -> Pair:
        thing = self._pick("thing")
        if self.random.random() < 0.5:
            quality = self._pick("colour")
            chinese = f"一{thing.measure}{quality.chinese}{thing.chinese}"
            return Pair(a(f"{quality.english} {thing.english}"), chinese)
        return Pair(a(thing.english), f"一{thing.measure}{thing.chinese}")

    def _acting(self) -> Pair:
        who, act = self._person(), self._pick("act")
        if self.random.random() < 0.4:
            place = self._pick("place")
            return Pair(
                f"{who.english} {act.english} {place.english}",
                f"{who.chinese}{place.chinese}{act.chinese}",
            )
        return Pair(f"{who.english} {act.english}", f"{who.chinese}正在{act.chinese}")

    def _doing(self) -> Pair:
        animal, doing, place = self._animal(), self._pick("doing"), self._pick("place")
        return Pair(
            f"{animal.english} {doing.english} {place.english}",
            f"{animal.chinese}{place.chinese}{doing.chinese}",
        )

    def _placed(self) -> Pair:
        thing, place = self._thing(), self._pick("place")
        where = place.chinese.removeprefix("在")
        noun = thing.chinese
        return Pair(f"{thing.english} {place.english}", f"{where}的{noun}")

    def _beside(self) -> Pair:
        first, second = self._any(), self._any()
        english, chinese = self.random.choice(
            [("next to", "旁边的"), ("and", ""), ("with", ""), ("in front of", "前面的")]
        )
        if not chinese:
            return Pair(
                f"{first.english} {english} {second.english}", f"{first.chinese}和{second.chinese}"
            )
        return Pair(
            f"{first.english} {english} {second.english}",
            f"{second.chinese}{chinese}{first.chinese}",
        )

    def _any(self) -> Pair:
        return self.random.choice((self._person, self._animal, self._thing))()

    def _holding(self) -> Pair:
        who, thing = self._person(), self._thing()
        return Pair(f"{who.english} with {thing.english}", f"{who.chinese}和{thing.chinese}")

    def _word(self) -> Pair:
        """A word of the vocabulary in a plain frame; nouns need not fit, the meaning carries."""
        noun = self.random.choice(self.nouns)
        place, other = self._pick("place"), self.random.choice(self.nouns)
        colour = self._pick("colour")
        where = place.chinese.removeprefix("在")
        return self.random.choice(
            [
                Pair(f"a photo of {a(noun.english)}", f"{noun.chinese}的照片"),
                Pair(f"a close-up of {a(noun.english)}", f"{noun.chinese}的特写"),
                Pair(f"a drawing of {a(noun.english)}", f"{noun.chinese}的图画"),
                Pair(f"{a(noun.english)} {place.english}", f"{where}的{noun.chinese}"),
                Pair(f"{noun.english} and {other.english}", f"{noun.chinese}和{other.chinese}"),
                Pair(a(f"{colour.english} {noun.english}"), f"{colour.chinese}{noun.chinese}"),
                Pair(f"{noun.english}, {other.english}", f"{noun.chinese}，{other.chinese}"),
            ]
        )

    _shapes: tuple[Callable[[Grammar], Pair], ...] = (
        _acting,
        _doing,
        _placed,
        _beside,
        _holding,
        _word,
    )
    _shares = (5, 3, 4, 1, 1, 8)


def drawn(count: int, seed: int) -> list[Pair]:
    """Return that many captions of the grammar."""
    grammar = Grammar(seed)
    return [grammar.draw() for _ in range(count)]


SHARES = {
    "words": 0.14,
    "captions": 0.14,
    "classes": 0.08,
    "emoji": 0.08,
    "clipart": 0.03,
    "wordnet": 0.18,
    "grammar": 0.35,
}
"""How often each part is drawn in training, whatever its size."""


def parts(packages: Path, *, drawn_count: int = 150_000) -> dict[str, list[Pair]]:
    """Return the whole corpus by part, without repetitions."""
    found = {
        "words": words(),
        "captions": captions(),
        "classes": class_pairs(),
        "emoji": emoji_pairs(packages),
        "clipart": clipart_pairs(packages),
        "wordnet": wordnet_pairs(packages),
        "grammar": drawn(drawn_count, seed=0),
    }
    return {name: list(dict.fromkeys(pairs)) for name, pairs in found.items()}
