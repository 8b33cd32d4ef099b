"""Which thing is where: what the vision tower is taught of scenes, besides what is written.

For every token of the last map inside a thing's box the head says what it is and how far the sides
of its box are, as detectors without anchors do (arXiv 1904.01355, section 3). It is dropped in the
end.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from seesay.recipes.made.cutouts import cutouts
from seesay.recipes.made.scenes import Thing

MOST = 40
"""Classes there is room for; 0 is none."""


class ThingHead(nn.Linear):
    """Features of a map [B, rows, columns, D] to classes and distances [..., classes + 4]."""

    def __init__(self, width: int) -> None:
        super().__init__(width, MOST + 4)


@cache
def numbers() -> dict[str, int]:
    """Return the class of each name."""
    return {name: i for i, name in enumerate(sorted({c.name for c in cutouts("train")}), 1)}


def boxes(things: Sequence[Thing], size: int, grid: int) -> NDArray[np.float32]:
    """Return class, box and number [grid, grid, 6] of the thing at each token.

    Boxes are in parts of the picture; numbers count from 1. Where nothing is all are 0.
    """
    found = np.zeros((grid, grid, 6), np.float32)
    for number, thing in enumerate(things, 1):
        x1, y1, x2, y2 = (side / size for side in thing.box)
        left, top = int(x1 * grid + 0.5), int(y1 * grid + 0.5)
        right, bottom = max(left + 1, int(x2 * grid + 0.5)), max(top + 1, int(y2 * grid + 0.5))
        found[top:bottom, left:right] = (numbers()[thing.name], x1, y1, x2, y2, number)
    return found


def thing_loss(told: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of the classes and the distance [] of the boxes' sides.

    Args:
        told: [B, rows, columns, classes + 4].
        targets: [B, rows, columns, 6].
    """
    rows, columns = told.shape[1:3]
    kind = targets[..., 0].long()
    named = F.cross_entropy(told[..., :MOST].flatten(0, -2), kind.flatten())
    x = (torch.arange(columns) + 0.5) / columns
    y = (torch.arange(rows) + 0.5) / rows
    middle = torch.stack([x.expand(rows, -1), y[:, None].expand(-1, columns)], -1).repeat(1, 1, 2)
    there = kind > 0
    if not bool(there.any()):
        return named
    sides = told[..., MOST:][there]
    wanted = (targets[..., 1:5] - middle)[there]
    return named + 2 * (sides - wanted).abs().mean()
