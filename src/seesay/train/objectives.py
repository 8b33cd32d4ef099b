"""Training objectives: pure functions, tensors in, losses out. docs/objectives.md compares them.

Three things hold for all that compare the rows of a batch with each other.

- `logit_scale` is the logarithm of the factor on the similarities, as the modules keep it.
- With `group`, a process group, each rank passes its own rows, as many as it has, and gets a
  scalar. The average of the scalars over the ranks is the loss of the whole batch, and so is, for
  every parameter, the average of the gradients, which is what data-parallel training takes.
- With `chunk`, so many rows are compared with the others at a time and compared again in the
  backward pass, so that memory grows linearly with the batch and not with its square.

They compute in float32 under autocast too, and in float64 when given that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.utils.checkpoint import checkpoint

from seesay.errors import UsageError
from seesay.train.gather import Share, gather, ring_sum, share_of

Targets = Callable[[Tensor], Tensor]
"""Numbers of rows [B] -> what each matches: one column [B], or True at any of them [B, N]."""


def info_nce(
    images: Tensor,
    texts: Tensor,
    logit_scale: Tensor,
    *,
    positives: Tensor | None = None,
    image_ids: Tensor | None = None,
    label_smoothing: float = 0.0,
    group: ProcessGroup | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Return the symmetric InfoNCE loss, CLIP's: each image finds its text and the other way round.

    With z = exp(logit_scale) I T' over all N pairs, the loss is the mean of the cross entropies of
    softmax(z) along rows and along columns. The target of row i is pair i alone. Where several
    texts match one image, `image_ids` or `positives` say so, and the target is spread evenly over
    the matches. Label smoothing e makes it (1 - e) target + e/N, over all pairs, the matches too.

    Paper: arXiv 2103.00020, figure 3.
    Reference: open_clip, src/open_clip/loss.py, ClipLoss with local_loss and gather_with_grad;
        targets by image id: LAVIS, lavis/models/blip2_models/blip2_qformer.py.
    Differs: several matches, ranks of different sizes, linear memory.

    Args:
        images: Unit vectors [B, E].
        texts: Unit vectors [B, E].
        logit_scale: Logarithm of the factor, a scalar.
        positives: Boolean [B, B], True where image i and text j match; at least one in every
            row and column. For one process.
        image_ids: Integers [B], equal where pairs show the same image, on whatever rank.
        label_smoothing: Weight of the even distribution, 0 to 1.
        group: Who shares the batch; None compares the rows of this process only.
        chunk: Rows compared at a time; None for all.

    Raises:
        UsageError: Shapes do not agree, there are no pairs, or a row of `positives` has no match.
    """
    among = _pairs(images, texts, group, chunk)
    if positives is not None and image_ids is not None:
        raise UsageError("positives and image_ids both say what matches", "give one of them")
    if positives is None:
        rows = columns = _by_id(image_ids, among)
    elif among.group is not None:
        raise UsageError("positives are known to one process only", "give image_ids")
    else:
        rows, columns = _by_matrix(positives, among)
    loss = _both_ways(images, texts, logit_scale, rows, columns, label_smoothing, among, chunk)
    return loss * among.world / (2 * among.total)


def unicl(
    images: Tensor,
    texts: Tensor,
    logit_scale: Tensor,
    labels: Tensor,
    *,
    reduction: Literal["mean", "sum"] = "mean",
    group: ProcessGroup | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Return the UniCL loss: pairs of one label match each other, unlabelled pairs themselves.

    With P(i) = the pairs with the label of i, image to text is
    - sum_i 1/|P(i)| sum_{k in P(i)} log softmax_j(exp(logit_scale) u_i.v_j)[k], text to image the
    same with the two exchanged. When all labels differ, or none is known, this is `info_nce`.

    Paper: arXiv 2204.03610, equations 3 to 5, and the unlabelled pairs of its algorithm 1.
    Reference: microsoft/UniCL publishes the models and not the loss.
    Differs: unlabelled pairs are told apart on all ranks, not only within one.

    Args:
        images: Unit vectors [B, E].
        texts: Unit vectors [B, E].
        logit_scale: Logarithm of the factor, a scalar.
        labels: Integers [B]; negative where a pair has none.
        reduction: "mean" over pairs and both directions, or "sum" over them as in the equations,
            which is 2N times as much.
        group: Who shares the batch; None compares the rows of this process only.
        chunk: Rows compared at a time; None for all.

    Raises:
        UsageError: Shapes do not agree, there are no pairs, or the reduction is another word.
    """
    if reduction not in ("mean", "sum"):
        raise UsageError(f"reduction is {reduction!r}", "it can be 'mean' or 'sum'")
    among = _pairs(images, texts, group, chunk)
    _check_ids("labels", labels, among)
    # a number below zero that no other pair of any rank has
    alone = -1 - among.start - torch.arange(len(labels), device=labels.device)
    targets = _by_id(torch.where(labels < 0, alone, labels), among)
    loss = _both_ways(images, texts, logit_scale, targets, targets, 0.0, among, chunk)
    return loss * among.world / (2 * among.total if reduction == "mean" else 1)


def sigmoid(
    images: Tensor,
    texts: Tensor,
    logit_scale: Tensor,
    logit_bias: Tensor,
    *,
    image_ids: Tensor | None = None,
    group: ProcessGroup | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Return the sigmoid loss of SigLIP: every image and every text match or do not, alone.

    - 1/N sum_ij log sigmoid(y_ij (exp(logit_scale) u_i.v_j + logit_bias)), where y_ij is 1 for a
    match and -1 otherwise. No row needs to know the others, so with a group the texts travel from
    rank to rank: none ever has more of them than its own, one visiting block and its successor.

    Paper: arXiv 2303.15343, sections 3.2 and 3.3.
    Reference: google-research/big_vision, trainers/proj/image_text/siglip.py.
    Differs: several matches by image id, ranks of different sizes; the gradients of the texts
        travel with them.

    Args:
        images: Unit vectors [B, E].
        texts: Unit vectors [B, E].
        logit_scale: Logarithm of the factor, a scalar; the paper starts at log 10.
        logit_bias: What is added, a scalar; the paper starts at -10.
        image_ids: Integers [B], equal where pairs show the same image; None when all differ.
        group: Who shares the batch; None compares the rows of this process only.
        chunk: Rows compared at a time; None for all.

    Raises:
        UsageError: Shapes do not agree, or there are no pairs.
    """
    among = _pairs(images, texts, group, chunk)
    if image_ids is None:
        ids = torch.arange(among.total, device=images.device)
    else:
        _check_ids("image_ids", image_ids, among)
        ids = gather(image_ids, among)

    def against(block: Tensor, source: int, own: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        theirs = ids[among.of(source)]

        def loss(some: Tensor, some_ids: Tensor) -> Tensor:
            logits = scale.exp() * some @ block.T + bias
            match = some_ids[:, None] == theirs
            return -F.logsigmoid(torch.where(match, logits, -logits)).sum()

        return _in_chunks(loss, own, ids[among.of(among.rank)], chunk)

    with torch.autocast(images.device.type, enabled=False):
        own = [_exact(tensor) for tensor in (images, logit_scale, logit_bias)]
        loss = ring_sum(against, _exact(texts), own, among)
    return loss * among.world / among.total


def nt_xent(
    first: Tensor,
    second: Tensor,
    temperature: float = 0.1,
    *,
    group: ProcessGroup | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Return SimCLR's loss between two views of each picture; SLIP adds it to `info_nce`.

    Each of the 2N views is to find the other view of its picture among the 2N - 1 others, by
    softmax(cosine / temperature); the loss is the mean cross entropy. It needs no text, so in
    SLIP, which is `info_nce(...) + weight * nt_xent(...)`, pictures without one learn from it.

    Paper: arXiv 2002.05709, equation 1; arXiv 2112.12750, section 3 (weight 1, temperature 0.1).
    Reference: facebookresearch/SLIP, losses.py, SIMCLRLoss.
    Differs: ranks of different sizes, linear memory.

    Args:
        first: Projections of one view of each picture [B, E]; they need not be unit vectors.
        second: Projections of the other view [B, E].
        temperature: What cosines are divided by.
        group: Who shares the batch; None compares the rows of this process only.
        chunk: Views compared at a time; None for all.

    Raises:
        UsageError: Shapes do not agree, there are no pictures, or the temperature is not positive.
    """
    if not temperature > 0:
        raise UsageError(f"temperature is {temperature}", "it must be positive")
    among = _pairs(first, second, group, chunk)
    own = among.start + torch.arange(len(first), device=first.device)
    itself = torch.cat([own, own + among.total])
    other = torch.cat([own + among.total, own])
    with torch.autocast(first.device.type, enabled=False):
        views = [F.normalize(_exact(view), dim=-1) for view in (first, second)]
        everyone = torch.cat([gather(view, among) for view in views])

        def loss(some: Tensor, rows: Tensor) -> Tensor:
            logits = some @ everyone.T / temperature
            logits = logits.scatter(1, itself[rows, None], float("-inf"))
            return F.cross_entropy(logits, other[rows], reduction="sum")

        numbers = torch.arange(len(itself), device=first.device)
        summed = _in_chunks(loss, torch.cat(views), numbers, chunk)
    return summed * among.world / (2 * among.total)


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


def _both_ways(
    images: Tensor,
    texts: Tensor,
    logit_scale: Tensor,
    rows: Targets,
    columns: Targets,
    smoothing: float,
    among: Share,
    chunk: int | None,
) -> Tensor:
    """Sum the cross entropies of this rank's images over all texts and of its texts over images."""

    def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
        if target.dtype == torch.bool:  # spread evenly over the matches
            target = target.to(logits.dtype) / target.sum(1, keepdim=True)
        return F.cross_entropy(logits, target, label_smoothing=smoothing, reduction="sum")

    numbers = torch.arange(len(images), device=images.device)
    with torch.autocast(images.device.type, enabled=False):
        images, texts, factor = _exact(images), _exact(texts), _exact(logit_scale).exp()
        if among.group is None and chunk is None:  # one product serves both directions
            logits = factor * images @ texts.T
            return cross_entropy(logits, rows(numbers)) + cross_entropy(logits.T, columns(numbers))

        def find(queries: Tensor, keys: Tensor, targets: Targets) -> Tensor:
            def loss(some: Tensor, which: Tensor) -> Tensor:
                return cross_entropy(factor * some @ keys.T, targets(which))

            return _in_chunks(loss, queries, numbers, chunk)

        return find(images, gather(texts, among), rows) + find(
            texts, gather(images, among), columns
        )


def _in_chunks(
    loss: Callable[[Tensor, Tensor], Tensor], rows: Tensor, which: Tensor, chunk: int | None
) -> Tensor:
    """Return the sum of a loss over runs of rows; what it computes is forgotten in between."""
    if chunk is None or len(rows) <= chunk:
        return loss(rows, which)
    runs = zip(torch.split(rows, chunk), torch.split(which, chunk), strict=True)
    losses = [checkpoint(loss, *run, use_reentrant=False, preserve_rng_state=False) for run in runs]
    return torch.stack(losses).sum()


def _by_id(ids: Tensor | None, among: Share) -> Targets:
    """Pairs with equal ids match each other; without ids, each pair matches itself."""
    if ids is None:
        return lambda rows: rows + among.start
    _check_ids("image_ids", ids, among)
    everyone = gather(ids, among)
    return lambda rows: everyone[rows + among.start, None] == everyone


def _by_matrix(positives: Tensor, among: Share) -> tuple[Targets, Targets]:
    if positives.shape != (among.total, among.total) or positives.dtype != torch.bool:
        raise UsageError(
            f"positives are {positives.dtype} {tuple(positives.shape)} for {among.total} pairs",
            "they must be boolean [B, B]",
        )
    if not (positives.any(0) & positives.any(1)).all():
        raise UsageError("a row or a column of positives has no match", "leave the pair out")
    return lambda rows: positives[rows], lambda rows: positives.T[rows]


def _exact(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _pairs(images: Tensor, texts: Tensor, group: ProcessGroup | None, chunk: int | None) -> Share:
    """Check that rows pair up, and tell which of the whole batch they are."""
    if images.ndim != 2 or images.shape != texts.shape:
        raise UsageError(
            f"vectors are {tuple(images.shape)} and {tuple(texts.shape)}",
            "both must be [B, E], one row for each pair",
        )
    if chunk is not None and chunk < 1:
        raise UsageError(f"chunk is {chunk}", "give the number of rows to compare at a time")
    among = share_of(images, group)
    if not among.total:
        raise UsageError("the batch is empty", "a loss needs at least one pair")
    return among


def _check_ids(name: str, ids: Tensor, among: Share) -> None:
    count = among.counts[among.rank]
    if ids.shape != (count,) or ids.is_floating_point():
        raise UsageError(
            f"{name} are {ids.dtype} {tuple(ids.shape)} for {count} pairs",
            "they must be integers [B]",
        )
