"""Wrong captions for pictures: any, or those that share the most words with a right one.

They depend on the captions and the seed alone, never on the model, so that two models are asked
the same questions.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from seesay.errors import InputError
from seesay.evaluate.captioned import Captioned, words
from seesay.evaluate.ranking import Ints, nearest

WIDTH = 256
"""Of the vectors of captions as bags of words."""

NEAR = 32
"""Captions looked at for one that is hard and wrong; when none of them is, any wrong one."""


def random_negatives(data: Captioned, seed: int) -> Ints:
    """Give each right pair a wrong one with the same picture: int64 [P, 2].

    Raises:
        InputError: All captions are right for some picture.
    """
    rng = np.random.default_rng(seed)
    right = _right(data)
    return np.array([(i, _any(rng, right[i], len(data.texts))) for i, _ in data.pairs.tolist()])


def hard_negatives(data: Captioned, seed: int) -> Ints:
    """Give each right pair the wrong caption that is most like its own: int64 [P, 2].

    Captions are alike when they share words; the rarer the words, the more.

    Raises:
        InputError: All captions are right for some picture.
    """
    rng = np.random.default_rng(seed)
    right = _right(data)
    vectors = bags_of_words(data.texts)
    alike = nearest(vectors, vectors, NEAR)
    found = []
    for picture, text in data.pairs.tolist():
        wrong = (t for t in alike[text].tolist() if t not in right[picture])
        chosen = next(wrong, None)
        if chosen is None:
            chosen = _any(rng, right[picture], len(data.texts))
        found.append((picture, chosen))
    return np.array(found)


def bags_of_words(texts: Sequence[str]) -> Tensor:
    """Return unit vectors [N, WIDTH] whose cosine is high where texts share rare words.

    Each word has a random direction that follows from its letters, and the length log(1 + N / n)
    for a word in n of N texts (inverse document frequency).
    """
    bags = [sorted(set(words(text))) for text in texts]
    seen = Counter(word for bag in bags for word in bag)
    vectors = {word: _direction(word) * np.log1p(len(texts) / n) for word, n in seen.items()}
    none = np.full(WIDTH, 1e-12, np.float32)
    sums = np.stack([np.sum([vectors[w] for w in bag], axis=0) if bag else none for bag in bags])
    return torch.nn.functional.normalize(torch.from_numpy(sums.astype(np.float32)), dim=-1)


def _direction(word: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """A vector of WIDTH signs, the same on every machine."""
    bits = hashlib.shake_128(word.encode("utf-8", "surrogatepass")).digest(WIDTH // 8)
    signs = np.unpackbits(np.frombuffer(bits, np.uint8)).astype(np.float32)
    return signs * 2 - 1


def _right(data: Captioned) -> list[set[int]]:
    """The right captions of each picture."""
    right: list[set[int]] = [set() for _ in data.rows]
    for picture, text in data.pairs.tolist():
        right[picture].add(text)
    if any(len(own) == len(data.texts) for own in right):
        raise InputError(
            "no caption is wrong for every picture to be asked about",
            "give pairs that do not belong together, with a label column of 0 and 1",
        )
    return right


def _any(rng: np.random.Generator, right: set[int], count: int) -> int:
    while True:
        text = int(rng.integers(count))
        if text not in right:
            return text
