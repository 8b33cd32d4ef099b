"""What the text part is taught besides words: where an answer is seen, and what is there.

The heads of these losses are dropped in the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.recipes.page.samples import Batch
from seesay.recipes.page.trace import NOWHERE

NEAR = 8.0
"""Places so many bins beside the right one are nearly as right."""
MOST = 96
"""Tokens of things that are asked for their boxes, in a step."""


class Sights(NamedTuple):
    """Where each token of what is written is seen, among the tokens that were read.

    Attributes:
        seen: [B * n, L, S], True at all tokens that show it; nowhere for what is not known.
        slots: int64 [B * n, L], the place of a letter in its square, or `NOWHERE`.
        boxes: [B, kept, 4], of the thing that a token is part of, in parts of the picture.
        owned: [B, kept], which tokens are part of a thing.
    """

    seen: Tensor
    slots: Tensor
    boxes: Tensor
    owned: Tensor

    @classmethod
    def of(cls, batch: Batch, kept: Tensor, length: int) -> Sights:
        """Return it for image tokens `kept` [B, kept], which begin `length` tokens that were read.

        Token 0 is the mean of the picture.
        """
        things = F.pad(torch.from_numpy(batch.things).flatten(1, 2), (0, 0, 1, 0))
        things = things.gather(1, kept[..., None].expand(-1, -1, things.shape[-1]))
        owner = things[..., 5].long()
        spots = torch.from_numpy(batch.spots)
        each = len(spots) // len(kept)
        cells, owners = (x.repeat_interleave(each, 0)[:, None] for x in (kept, owner))
        seen = (spots[..., :1] == cells) | ((spots[..., 2:3] == owners) & (owners > 0))
        copied = spots[..., 3:] == torch.arange(length - kept.shape[1])
        seen = torch.cat([seen, copied], -1)
        return cls(seen, spots[..., 1], things[..., 1:5], owner > 0)


class Boxes(nn.Linear):
    """Features of a token to the four places of its thing's box: [..., D] -> [..., 4 * D].

    They are compared with the vectors that places are written by, so a writer that looks at any
    token of a thing finds its box spelled there.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, 4 * width)

    def loss(self, source: Tensor, sights: Sights, table: Tensor) -> Tensor:
        """Return how far off the boxes are [], in some tokens of things.

        Args:
            source: What was read [B * n, S, D].
            sights: Which of it belongs to what.
            table: The vectors of places [1000, D].
        """
        each = len(source) // len(sights.owned)
        owned = sights.owned.repeat_interleave(each, 0)
        rows, tokens = owned.nonzero(as_tuple=True)
        if not len(rows):
            return self.weight.sum() * 0
        drawn = torch.randperm(len(rows))[:MOST]
        rows, tokens = rows[drawn], tokens[drawn]
        told = self(source[rows, tokens]).unflatten(-1, (4, -1)) @ table.to(source.dtype).T
        right = (sights.boxes[rows // each, tokens] * 1000).long().clamp(0, 999)
        logged: Tensor = told.float().log_softmax(-1)
        return -(nearly(right) * logged).sum(-1).mean()


def nearly(places: Tensor) -> Tensor:
    """Return how right each of 1000 places is [..., 1000], in parts of 1; those near are, too."""
    near = torch.exp(-0.5 * ((torch.arange(1000) - places[..., None]) / NEAR).square())
    return near / near.sum(-1, keepdim=True)


def look_loss(
    looked: Mapping[int, Tensor], heads: Sequence[tuple[int, int, bool]], seen: Tensor
) -> Tensor:
    """Return how little the heads look at what shows the letters and things that they should [].

    Args:
        looked: By layer, scores [B * n, heads, L - 1, S] before the softmax.
        heads: Layer, head, and whether it should look at what is written next, or last.
        seen: [B * n, L, S], as in `Sights`.
    """
    losses = []
    for layer, head, following in heads:
        wanted = seen[:, 1:] if following else seen[:, :-1]
        known = wanted.any(-1)
        losses.append(missed(looked[layer][:, head][known].float(), wanted[known]))
    return torch.stack(losses).mean()


def missed(scores: Tensor, wanted: Tensor) -> Tensor:
    """Return -log of the share [] that falls on what is wanted, any of it.

    Args:
        scores: [N, S], before the softmax.
        wanted: bool [N, S], some in each row.
    """
    hit = scores.masked_fill(~wanted, -torch.inf).logsumexp(-1)
    return (scores.logsumexp(-1) - hit).sum() / max(1, len(scores))


def slot_loss(told: Tensor, slots: Tensor) -> Tensor:
    """Return the cross-entropy [] of the place of the next letter in its square.

    Args:
        told: [B * n, L - 1, places].
        slots: [B * n, L].
    """
    known = slots[:, 1:] != NOWHERE
    lost = F.cross_entropy(told[known], slots[:, 1:][known], reduction="sum")
    return lost / max(1, int(known.sum()))


def mark_loss(marks: Tensor, seen: Tensor) -> Tensor:
    """Return how badly what was read tells where the answer stands, and where it begins [].

    Args:
        marks: [B * n, S, 2], of image tokens and prompts: where it begins, and what belongs to it.
        seen: [B * n, L, S], as in `Sights`.
    """
    told = seen.any(-1)  # [B * n, L]
    known = told.any(1)
    if not bool(known.any()):
        return marks.sum() * 0
    marks, seen, told = marks[known], seen[known], told[known]
    first = seen[torch.arange(len(seen)), told.float().argmax(1)]
    wanted = seen.any(1)
    belongs = F.binary_cross_entropy_with_logits(marks[..., 1], wanted.float(), reduction="none")
    return missed(marks[..., 0], first) + belongs[wanted].mean() + belongs[~wanted].mean()
