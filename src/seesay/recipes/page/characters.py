"""Which letters stand where: what the vision tower is taught before anything is written.

Every token of the last map stands for a square of pixels. The head says of eight places in each
square, two rows of four, which letter has its middle there, if any. That tells the tower a hundred
things a page, where a written answer would tell it a dozen. The head is dropped in the end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from seesay.recipes.made.sheet import Character

ROWS, COLUMNS = 2, 4
"""Places in a square."""
LETTERS = "".join(map(chr, range(33, 127))) + "£€"
CLASSES = 1 + len(LETTERS)
"""None, or one of these."""
NONE = 0.05
"""Weight of a place where no letter is: there are forty times as many as others."""

_NUMBERS = {letter: i for i, letter in enumerate(LETTERS, 1)}


class CharacterHead(nn.Linear):
    """Features of a map to a letter for each place: [B, rows, columns, D] -> [..., 8, classes]."""

    def __init__(self, width: int) -> None:
        super().__init__(width, ROWS * COLUMNS * CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        return super().forward(x).view(*x.shape[:-1], ROWS * COLUMNS, CLASSES)


def places(characters: Sequence[Character], size: int, grid: int) -> NDArray[np.uint8]:
    """Return which letter is where, [grid, grid, 8], 0 for none."""
    found = np.zeros((grid * ROWS, grid * COLUMNS), np.uint8)
    for letter in characters:
        row = int((letter.y1 + letter.y2) / 2 / size * grid * ROWS)
        column = int((letter.x1 + letter.x2) / 2 / size * grid * COLUMNS)
        if 0 <= row < len(found) and 0 <= column < found.shape[1]:
            found[row, column] = _NUMBERS.get(letter.char, 0)
    cut = found.reshape(grid, ROWS, grid, COLUMNS).transpose(0, 2, 1, 3)
    return cut.reshape(grid, grid, ROWS * COLUMNS)


def character_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy [] over all places, those without a letter counting less.

    Args:
        logits: [B, rows, columns, 8, classes].
        targets: int64 [B, rows, columns, 8].
    """
    if not bool(targets.any()):
        return logits.sum() * 0
    weights = logits.new_ones(CLASSES)
    weights[0] = NONE
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), weights)


def right(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the part of the letters [] that are found in their place."""
    there = targets > 0
    return (logits.argmax(-1) == targets)[there].float().mean()
