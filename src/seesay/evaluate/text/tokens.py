"""Captions to tokens, as caption metrics count them: Penn Treebank rules, lower case, no commas.

Published caption scores are of tokens that a Java program made: `PTBTokenizer` of Stanford CoreNLP
3.4.1 with `-preserveLines -lowerCase`, without the marks of `PUNCTUATION`. The rules here were
found by asking that program about all characters and millions of short strings, and are checked
against it.

Reference: tylin/coco-caption, pycocoevalcap/tokenizer/ptbtokenizer.py, with its jar.
Differs: the tokens of a caption depend on that caption alone. The program looks at the next line
too: "vitamin c." keeps its full stop unless that begins with one of 46 words such as "A", and "no."
before a line "3 dogs" does too. It also takes a carriage return for the end of a caption.
"""

from __future__ import annotations

import re
from functools import lru_cache

from seesay.evaluate.text.rules import SPLIT, Rule, rules

PUNCTUATION = frozenset(("''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"))
"""Tokens that do not count. Brackets do ("-lrb-"), and "!!" too: so it has always been done."""

_WORD = re.compile("[A-Za-z]+(?= )")
_NOT_READ = re.compile("[\n\r\v\f\x85\u2028\u2029\U00010000-\U0010ffff]")
"""Ends of lines, and what the program cannot read: emoji."""


def tokens(text: str) -> list[str]:
    """Return the tokens of a caption, such as ["a", "dog", "'s", "bone"]."""
    text = _NOT_READ.sub(" ", text) + "\n"
    found: list[str] = []
    place, end = 0, len(text) - 1
    while place < end:
        word = _WORD.match(text, place)
        if word is not None:  # most of a caption
            lower = word[0].lower()
            found += SPLIT.get(lower, (lower,))
            place = word.end()
        else:
            token, place = _longest(text, place)
            # some tokens have spaces inside, which every metric takes for two
            found += token.lower().split()
    return [token for token in found if token not in PUNCTUATION]


def _longest(text: str, place: int) -> tuple[str, int]:
    """Return the longest token at a place and where it ends; "" where there is none.

    What must follow a token counts for its length, and is not taken. Of rules that take as much,
    the first decides.
    """
    longest, token, after = 0, "", place + 1
    for pattern, written in _beginning(text[place]):
        match = pattern.match(text, place)
        if match is not None and match.end() - place > longest:
            longest, token, after = match.end() - place, written(match[1]), match.end(1)
    return token, after


@lru_cache(maxsize=4096)
def _beginning(char: str) -> list[Rule]:
    """The rules for tokens that can begin with a character."""
    return [(pattern, written) for first, pattern, written in rules() if first.match(char)]
