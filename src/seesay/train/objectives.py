"""Training objectives: pure functions, tensors in, losses out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive(
    images: Tensor, texts: Tensor, logit_scale: Tensor, positives: Tensor | None = None
) -> Tensor:
    """Return the symmetric InfoNCE loss of a batch, with any number of positives a row.

    With targets T = the positives of each row, normalised to sum to one, the loss is the mean of
    the cross entropies of softmax(s I T^t) over rows and over columns. Without `positives` pair i
    is the only match of i, and this is CLIP's loss; with groups of equal labels it is UniCL's.

    Paper: arXiv 2103.00020, figure 3; arXiv 2204.03610, equations 3 to 5.
    Reference: open_clip, src/open_clip/loss.py, ClipLoss.
    Differs: multiple positives; the mean of the two directions.

    Args:
        images: Unit vectors [B, E].
        texts: Unit vectors [B, E].
        logit_scale: Logarithm of the factor on the similarities.
        positives: Boolean [B, B], True where image i and text j match; at least one in every
            row and column.
    """
    with torch.autocast(images.device.type, enabled=False):
        logits = logit_scale.float().exp() * images.float() @ texts.float().T
    if positives is None:
        target = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    rows = positives.float() / positives.sum(1, keepdim=True)
    columns = positives.T.float() / positives.sum(0)[:, None]
    return (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, columns)) / 2


def distillation(student: Tensor, teacher: Tensor, temperature: float = 0.05) -> Tensor:
    """Return how far the student's unit vectors are from the teacher's.

    The mean of 1 - cosine pulls each vector to its target; the cross entropy of telling the
    right target among those of the batch keeps apart what lies close together.

    Paper: arXiv 2004.09813 (one teacher, several languages), with the contrastive term of
    arXiv 1910.10699.

    Args:
        student: Unit vectors [B, E].
        teacher: Unit vectors [B, E]; equal rows count as one target.
        temperature: Of the softmax over targets.
    """
    with torch.autocast(student.device.type, enabled=False):
        goal = F.normalize(teacher.float(), dim=-1)
        cosine = student.float() @ goal.T
        same = goal @ goal.T > 0.9999
        target = same.float() / same.sum(1, keepdim=True)
        told_apart = F.cross_entropy(cosine / temperature, target)
    return (1 - cosine.diagonal()).mean() + 0.1 * told_apart
