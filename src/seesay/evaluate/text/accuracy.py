"""Answers to questions, compared as the VQA challenge compares them.

Paper: arXiv 1505.00468 (Antol et al.), section 3, and the evaluation page of visualqa.org.
Reference: GT-Vision-Lab/VQA, PythonEvaluationTools/vqaEvaluation/vqaEval.py. Kept as it is there,
because published figures are of it: a hyphen becomes a space, or nothing where one stands beside a
space; every mark vanishes where a comma stands between digits; full stops go unless a digit
follows, also in "3.", and 32 at most; "none" is 0; "somebody'd" loses its apostrophe; nothing is
changed where all annotators said the same.
Differs: an annotator is left out by place, where the reference leaves out all that are equal to it
in every field.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_BETWEEN_DIGITS = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
_MOST_STOPS = 32
_ARTICLES = frozenset(("a", "an", "the"))
_COUNTED = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {"none": "0"} | {word: str(number) for number, word in enumerate(_COUNTED)}

_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
    haven't he'd've he'd he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't
    mightn't've must've mustn't needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
    shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
    someone's something'd something'd've something'll that's there'd there'd've there're there's
    they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're
    what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're
    why's won't would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're
    you've
"""


def _mended() -> dict[str, str]:
    """From contractions without one of their apostrophes to those with it."""
    found = {"somebody'd": "somebodyd"}
    for word in _CONTRACTIONS.split():
        places = (i for i, char in enumerate(word) if char == "'")
        found |= {word[:i] + word[i + 1 :]: word for i in places}
    return found


_MENDED = _mended()


@lru_cache(maxsize=65536)
def normalised(answer: str) -> str:
    """Return an answer without marks and articles, numbers as digits, contractions mended."""
    answer = trimmed(answer)
    everywhere = _BETWEEN_DIGITS.search(answer) is not None
    text = answer
    for mark in _MARKS:
        apart = everywhere or f"{mark} " in answer or f" {mark}" in answer
        text = text.replace(mark, "" if apart else " ")
    text = _FULL_STOP.sub("", text, count=_MOST_STOPS)
    words = (_NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(_MENDED.get(word, word) for word in words if word not in _ARTICLES)


def trimmed(answer: str) -> str:
    """Return an answer with line ends and tabs made spaces, and none around it."""
    return answer.replace("\n", " ").replace("\t", " ").strip()


def vqa_accuracy(answer: str, said: Sequence[str]) -> float:
    """Return how right an answer is: a third for each annotator who said it, 1 at most.

    It is the mean over leaving out each of the annotators in turn.
    """
    said = [trimmed(one) for one in said]
    answer = trimmed(answer)
    if len(set(said)) > 1:
        said, answer = [normalised(one) for one in said], normalised(answer)
    same = said.count(answer)
    others = len(said) - same
    return (same * min(1.0, (same - 1) / 3) + others * min(1.0, same / 3)) / len(said)


def direct_accuracy(answer: str, said: Sequence[str]) -> float:
    """Return the accuracy of A-OKVQA: a third for each annotator who said exactly this.

    Paper: arXiv 2206.01718, section 3.
    Reference: allenai/aokvqa, evaluation/eval_predictions.py.
    """
    return min(1.0, list(said).count(answer) / 3)


def exact_accuracy(answer: str, said: Sequence[str]) -> float:
    """Return 1 for an answer that one of the annotators gave, both normalised, else 0."""
    return float(normalised(answer) in {normalised(one) for one in said})
