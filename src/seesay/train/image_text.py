"""Objectives of models that look at a picture and a text together: pure functions, as `objectives`.

Pairs match where any of their keys is equal: [B, K] integers, such as the number of the picture and
that of the text, so that a picture shown twice, or two pictures called the same, are nobody's
mistake. The rules of `objectives` about groups and precision hold here too.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup

from seesay.errors import UsageError
from seesay.train.gather import gather, share_of


class Vectors(NamedTuple):
    """Pictures and texts that belong together, row by row.

    Attributes:
        images: Unit vectors [N, E].
        texts: Unit vectors [N, E].
        keys: int64 [N, K]; see `alike`.
    """

    images: Tensor
    texts: Tensor
    keys: Tensor


def alike(rows: Tensor, columns: Tensor) -> Tensor:
    """Return which pairs match, boolean [B, N], by their keys [B, K] and [N, K]."""
    return (rows[:, None] == columns).any(-1)


def momentum_contrast(
    own: Vectors,
    slow: Vectors,
    gallery: Vectors,
    logit_scale: Tensor,
    *,
    alpha: float,
    group: ProcessGroup | None = None,
) -> Tensor:
    """Return the contrast of images and texts with those that slow copies of the towers have seen.

    With s = exp(logit_scale), image i is to find the texts of the gallery that match it, by
    softmax_j(s u_i.t'_j). Its target is (1 - alpha) spread evenly over the matches, and alpha
    spread as the copies would: softmax_j(s u'_i.t'_j). Texts find images likewise; the loss is the
    mean cross entropy over both directions.

    Paper: arXiv 2107.07651, equations 1 and 6; arXiv 2201.12086, section 3.2.
    Reference: salesforce/BLIP, models/blip_pretrain.py and blip_retrieval.py.
    Differs: the gallery holds the batch of all ranks, not of this one; matches are known by picture
        and text in pre-training too.

    Args:
        own: What the towers make of this rank's pairs, B rows; the only ones with a gradient.
        slow: What their copies make of the same.
        gallery: What the copies made of this batch, all ranks, and of earlier ones.
        logit_scale: Logarithm of the factor s, a scalar.
        alpha: Weight of what the copies find, 0 to 1.
        group: Who shares the batch.

    Raises:
        UsageError: Shapes do not agree, or a pair is not in the gallery.
    """
    if own.images.shape != own.texts.shape or own.images.shape != slow.images.shape:
        raise UsageError(
            f"vectors are {[tuple(v.shape) for v in (own.images, own.texts, slow.images)]}",
            "all must be [B, E], one row for each pair",
        )
    among = share_of(own.images, group)
    matches = alike(own.keys, gallery.keys)
    if not matches.any(1).all():
        raise UsageError("a pair has no match in the gallery", "the batch itself must be in it")
    with torch.autocast(own.images.device.type, enabled=False):
        factor = _exact(logit_scale).exp()
        right = _exact(matches.to(own.images.dtype))
        right = right / right.sum(1, keepdim=True)

        def find(queries: Tensor, slow_queries: Tensor, keys: Tensor) -> Tensor:
            keys = _exact(keys)
            with torch.no_grad():
                found = (factor * _exact(slow_queries) @ keys.T).softmax(1)
                target = alpha * found + (1 - alpha) * right
            return F.cross_entropy(factor * _exact(queries) @ keys.T, target, reduction="sum")

        loss = find(own.images, slow.images, gallery.texts)
        loss = loss + find(own.texts, slow.texts, gallery.images)
    return loss * among.world / (2 * max(1, among.total))


@torch.no_grad()
def hard_negatives(
    similarity: Tensor, allowed: Tensor, draws: Tensor, *, floor: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Draw a column for each row, those that are mistaken for a match most easily most often.

    The probability of a column is its softmax, less what may not be drawn. That is taken over the
    allowed columns alone, so it can neither be zero everywhere nor NaN, however sure the softmax of
    the whole row is of the match. A row with NaN in it draws evenly.

    Paper: arXiv 2107.07651, section 3.2.
    Reference: salesforce/BLIP, models/blip_pretrain.py (floor 1e-4), models/blip_retrieval.py (0).
    Differs: a row where nothing is allowed draws nothing, where the reference stops with an error;
        all rows at once, from numbers that are given.

    Args:
        similarity: [B, N], multiplied by the factor already.
        allowed: Boolean [B, N], True where the column is no match of the row.
        draws: [B], evenly distributed in [0, 1): what each row draws is decided by its own.
        floor: Added to the probability of each allowed column among all columns.

    Returns:
        The columns [B], and whether there was one to draw [B]; where not, the column means nothing.
    """
    some = allowed.any(1)
    if not len(similarity) or not similarity.shape[1]:
        return torch.zeros_like(draws, dtype=torch.long), some
    logits = similarity.double().nan_to_num(nan=0.0)
    logits = torch.where(similarity.isnan().any(1, keepdim=True), 0.0, logits)
    inside = logits.masked_fill(~allowed, -torch.inf)
    weights = torch.where(some[:, None], inside.softmax(1), 0.0)
    if floor:  # as a part of the whole row, of which the allowed columns may have little
        share = (inside.logsumexp(1) - logits.logsumexp(1)).exp()
        weights = weights * share[:, None] + floor * allowed
    reached = weights.cumsum(1)
    point = draws.double()[:, None] * reached[:, -1:]
    column = torch.searchsorted(reached, point, right=True)[:, 0].clamp(max=allowed.shape[1] - 1)
    # rounding may reach past the last column that has any weight
    fine = allowed.gather(1, column[:, None])[:, 0]
    return torch.where(fine, column, weights.argmax(1)), some


def matching(
    logits: Tensor, target: Tensor, counted: Tensor, *, group: ProcessGroup | None = None
) -> tuple[Tensor, Tensor]:
    """Return the cross entropy of judging pairs, and the part of them that is judged right.

    Paper: arXiv 2107.07651, equation 4.
    Reference: salesforce/BLIP, models/blip_pretrain.py.

    Args:
        logits: [M, 2]: no match, match.
        target: int64 [M], 1 for a match.
        counted: Boolean [M]; the others have no part in the means, which are 0 where none has.
        group: Who shares the pairs.
    """
    own = counted.sum()[None]
    among = share_of(own, group)
    scale = among.world / gather(own, among).sum().clamp(min=1)
    with torch.autocast(logits.device.type, enabled=False):
        each = F.cross_entropy(_exact(logits), target, reduction="none")
    right = logits.detach().argmax(1) == target
    return (each * counted).sum() * scale, (right & counted).sum() * scale


def _exact(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
