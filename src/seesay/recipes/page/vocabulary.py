"""The model's tokens: single letters, places, the sentences of tasks, and what questions are of.

Whatever stands on a page is spelled letter by letter: no word of a held-out page is then harder to
write than another. What is only read (sentences that stand for tasks, the words of questions) and
the names of things are tokens of their own, which makes prompts short.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from seesay.families.florence2.processing import ADDED
from seesay.families.florence2.prompts import SENTENCES
from seesay.processing.bytelevel import BYTES, SPECIAL, ByteLevelTokenizer
from seesay.recipes.made.cutouts import cutouts
from seesay.recipes.made.pages import page

PAGES = 1500
"""Pages whose questions are counted."""
OFTEN = 40
"""How often a word must be asked with to be a token; values of pages are rarer."""
SHORTEST = 4
"""Letters of such a word at least: shorter ones hide in other words too often."""


def vocabulary() -> ByteLevelTokenizer:
    """Return the tokenizer; it depends on the made pages and scenes alone."""
    letters = sorted(BYTES)
    ids = {token: i for i, token in enumerate((*SPECIAL[:4], *letters))}
    whole = [*_sentences(), "<DocVQA>", "<VQA>", *_asked(), *_things()]
    return ByteLevelTokenizer(ids, []).with_tokens((*ADDED, *dict.fromkeys(whole)))


def write(folder: Path) -> ByteLevelTokenizer:
    """Write tokenizer.json into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    made = vocabulary()
    made.save(folder)
    return made


def _sentences() -> list[str]:
    """What stands before and behind the input in the sentences of tasks."""
    return [part for s in SENTENCES.values() for part in s.split("{}") if len(part) >= SHORTEST]


def _asked() -> list[str]:
    """Words of questions, with the space before them."""
    counts: Counter[str] = Counter()
    for index in range(PAGES):
        for question in page(0, index).questions:
            first, *others = question.text.rstrip("?").split(" ")
            counts.update([first, *(" " + word for word in others)])
    return sorted(w for w, n in counts.items() if n >= OFTEN and len(w.strip()) >= SHORTEST)


def _things() -> list[str]:
    """Names of things, one and several."""
    names = {name for c in cutouts("train") for name in (c.name, c.plural)}
    return sorted(name for name in names if len(name) > SHORTEST)
