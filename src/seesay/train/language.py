"""Losses of what is written: each token from those before it.

With a group, as in `objectives`, each rank passes its own texts and the average of the losses over
the ranks is that of all texts. Computed in float32 under autocast, and in float64 when given that.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup

from seesay.errors import UsageError
from seesay.train.gather import gather, share_of


def text_losses(
    logits: Tensor,
    ids: Tensor,
    mask: Tensor,
    starts: Tensor | None = None,
    *,
    label_smoothing: float = 0.1,
) -> tuple[Tensor, Tensor]:
    """Return the loss of each text, a sum over its learnt tokens, and how many those are; [N] each.

    The logits of a position are for the token after it. Padding is not learnt, nor is what stands
    before `starts`: a prompt. The first token of a text follows nothing and is never learnt.

    Paper: arXiv 2201.12086, section 3.2 (label smoothing 0.1).
    Reference: salesforce/BLIP, models/med.py, BertLMHeadModel.forward.

    Args:
        logits: [N, L, V] of a generator that was given `ids`.
        ids: What was written [N, L], its start token included.
        mask: Boolean [N, L], True where a token counts.
        starts: int64 [N], position of the first token that is learnt; None where only the start
            token is not.
        label_smoothing: Part of the target that is spread over the whole vocabulary.

    Raises:
        UsageError: Shapes do not agree.
    """
    if logits.ndim != 3 or logits.shape[:2] != ids.shape or mask.shape != ids.shape:
        raise UsageError(
            f"logits are {tuple(logits.shape)} for ids {tuple(ids.shape)} and mask "
            f"{tuple(mask.shape)}",
            "they must be [N, L, V], [N, L] and [N, L]",
        )
    learnt = mask[:, 1:].bool()
    if starts is not None:
        places = torch.arange(1, ids.shape[1], device=ids.device)
        learnt = learnt & (places >= starts[:, None])
    with torch.autocast(logits.device.type, enabled=False):
        # only what is learnt leaves half precision: a vocabulary is wide
        found = logits[:, :-1][learnt]
        found = found.to(torch.promote_types(found.dtype, torch.float32))
        each = F.cross_entropy(
            found, ids[:, 1:][learnt], label_smoothing=label_smoothing, reduction="none"
        )
        rows = learnt.nonzero()[:, 0]
        sums = each.new_zeros(len(ids)).index_add(0, rows, each)
    return sums, learnt.sum(1)


def language_modelling(
    logits: Tensor,
    ids: Tensor,
    mask: Tensor,
    starts: Tensor | None = None,
    *,
    label_smoothing: float = 0.1,
    group: ProcessGroup | None = None,
) -> Tensor:
    """Return the mean loss of all learnt tokens, those of other ranks included.

    See `text_losses`, of which this is the sum of the first over the sum of the second. Where
    nothing is to be learnt, the loss is 0 and so is its gradient.

    Differs: long texts count for more, as in the reference, but over all ranks and not in each.
    """
    sums, counts = text_losses(logits, ids, mask, starts, label_smoothing=label_smoothing)
    among = share_of(counts, group)
    total = gather(counts, among).sum().clamp(min=1)
    return sums.sum() * among.world / total
