"""A dataset as distinct pictures, distinct captions, and which belong together.

Records of one picture are one item of a gallery, and so are equal captions: a caption that was
written for three pictures is right for all three.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seesay.errors import InputError

if TYPE_CHECKING:
    from seesay.data.record import Dataset, Record

_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Scripts that put no spaces between words: each of their characters counts as a word."""

_WORD = re.compile(f"[{_ALONE}]|[^\\s{_ALONE}]+")
_PUNCTUATION = string.punctuation + "，。、；：！？…·“”‘’《》（）「」"


@dataclass
class Skipped:
    """What was left out and why.

    Attributes:
        items: Where each item stands, the reason, and what exactly was wrong with it or "".
    """

    items: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, where: str, why: str, what: str = "") -> None:
        """Note one item."""
        self.items.append((where, why, what))

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class Captioned:
    """Distinct pictures and captions.

    Attributes:
        rows: A row of the dataset for each picture.
        texts: The captions.
        pairs: int64 [P, 2], a picture and a caption of it, no pair twice; sorted by picture, its
            captions in their order in the data.
    """

    rows: list[int]
    texts: list[str]
    pairs: NDArray[np.int64]

    def keep(self, pictures: NDArray[np.bool_], texts: NDArray[np.bool_]) -> Captioned:
        """Return the part where both are kept, without what has lost its last partner."""
        pairs = self.pairs[pictures[self.pairs[:, 0]] & texts[self.pairs[:, 1]]]
        first, second = np.unique(pairs[:, 0]), np.unique(pairs[:, 1])
        renumbered = np.stack(
            [np.searchsorted(first, pairs[:, 0]), np.searchsorted(second, pairs[:, 1])], 1
        )
        return Captioned([self.rows[i] for i in first], [self.texts[i] for i in second], renumbered)

    def owners(self) -> NDArray[np.int64]:
        """Return the first picture of each caption, int64 [T]."""
        order = np.lexsort((self.pairs[:, 0], self.pairs[:, 1]))
        first = order[np.unique(self.pairs[order, 1], return_index=True)[1]]
        owners: NDArray[np.int64] = self.pairs[first, 0]
        return owners


def captioned(dataset: Dataset, skipped: Skipped, *, limit: int | None, seed: int) -> Captioned:
    """Collect pictures and captions.

    Args:
        dataset: Any with captions.
        skipped: Records without a caption are noted here.
        limit: At most so many pictures, drawn by the seed.
        seed: Decides the draw.

    Raises:
        InputError: No record has a caption.
    """
    chosen = draw(dataset, limit, seed, lambda record: bool(_texts(record)), skipped, "no caption")
    texts: dict[str, int] = {}
    pairs: dict[tuple[int, int], None] = {}
    for picture, rows in enumerate(chosen):
        for row in rows:
            for text in _texts(dataset[row]):
                pairs[picture, texts.setdefault(text, len(texts))] = None
    if not pairs:
        raise InputError(f"{dataset.name} has no captions", "--text-column names their column")
    return Captioned([rows[0] for rows in chosen], list(texts), np.array(list(pairs), np.int64))


def draw(
    dataset: Dataset,
    limit: int | None,
    seed: int,
    usable: Callable[[Record], bool],
    skipped: Skipped,
    why: str,
) -> list[list[int]]:
    """Return the usable rows of each picture; at most `limit` pictures, in the dataset's order."""
    rows: dict[str, list[int]] = {}
    for i, record in enumerate(dataset):
        if usable(record):
            rows.setdefault(record.image_id, []).append(i)
        else:
            skipped.add(record.where, why)
    pictures = list(rows.values())
    if limit is not None and limit < len(pictures):
        some = np.random.default_rng(seed).choice(len(pictures), limit, replace=False)
        pictures = [pictures[i] for i in np.sort(some)]
    return pictures


def words(text: str) -> list[str]:
    """Cut a text into lower-case words; a Chinese or Japanese character is one."""
    found = (word.strip(_PUNCTUATION) for word in _WORD.findall(text.lower()))
    return [word for word in found if any(char.isalnum() for char in word)]


def _texts(record: Record) -> Sequence[str]:
    """The captions of a record with single spaces, without empty ones."""
    return [text for text in (" ".join(text.split()) for text in record.texts) if text]
