"""Rows of every rank: gathered, or passed around a ring, with exact gradients.

Ranks may hold different numbers of rows, or none. Whatever a rank's loss does to rows of another
rank comes back to their owner in the backward pass, summed over ranks. So if the losses of the
ranks average to the loss of the whole batch, the gradients of the parameters do, too, and that
average is what data-parallel training takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class Share:
    """Which rows of the whole batch this process holds; ranks follow each other.

    Attributes:
        counts: Rows of every rank.
        rank: The place of this process among them.
        group: Who shares the batch; None when this process has all of it.
    """

    counts: tuple[int, ...]
    rank: int = 0
    group: dist.ProcessGroup | None = None

    @property
    def world(self) -> int:
        """How many processes share the batch."""
        return len(self.counts)

    @property
    def total(self) -> int:
        """Rows of the whole batch."""
        return sum(self.counts)

    @property
    def start(self) -> int:
        """Where in the whole batch the rows of this process begin."""
        return sum(self.counts[: self.rank])

    def of(self, rank: int) -> slice:
        """Return where in the whole batch the rows of a rank are."""
        start = sum(self.counts[:rank])
        return slice(start, start + self.counts[rank])


def share_of(rows: Tensor, group: dist.ProcessGroup | None) -> Share:
    """Ask every rank how many rows it has; all ranks of the group must call this.

    Args:
        rows: This rank's rows [B, ...]; tells where the group's collectives find their tensors.
        group: Who shares the batch, or None for this process alone.
    """
    if group is None or dist.get_world_size(group) == 1:
        return Share((len(rows),))
    own = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    dist.all_gather(counts, own, group=group)
    return Share(tuple(torch.cat(counts).tolist()), dist.get_rank(group), group)


def gather(rows: Tensor, among: Share) -> Tensor:
    """Return the rows of all ranks in their order [N, ...], of any type.

    The gradient that each rank has for them is summed and goes to the owners. A rank must take
    part in the backward pass even if it has no rows.

    Args:
        rows: This rank's rows [B, ...]; what follows B is equal on all ranks.
        among: From `share_of`.
    """
    if among.group is None:
        return rows
    return cast("Tensor", _Gather.apply(rows, among))  # type: ignore[no-untyped-call]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, among: Share) -> Tensor:
        ctx.among = among
        # collectives want equal sizes: the shorter ones are filled up and cut again
        own = rows.new_zeros((max(among.counts), *rows.shape[1:]))
        own[: len(rows)] = rows
        every = [torch.empty_like(own) for _ in among.counts]
        dist.all_gather(every, own, group=among.group)
        return torch.cat([part[:n] for part, n in zip(every, among.counts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        among: Share = ctx.among
        summed = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed, group=among.group)
        return summed[among.of(among.rank)], None


BlockLoss = Callable[..., Tensor]
"""(block [B', E], rank that it comes from, *own) -> scalar."""


def ring_sum(loss: BlockLoss, block: Tensor, own: Sequence[Tensor], among: Share) -> Tensor:
    """Return the sum of a loss over the blocks of all ranks, which travel from rank to rank.

    Each rank hands the block it has to the next and receives one from the one before, until all
    have been everywhere. So a rank holds one block of another at a time, and while they change
    hands a second one. The gradient of a block is gathered on the way: gradients are taken in the
    forward pass, and the backward pass, which talks to nobody, multiplies them by what comes in.

    Args:
        loss: Called as `loss(block, source, *own)`, where `source` is the rank that `block` is
            from; must return a scalar. What it reads must be in its arguments to get a gradient.
        block: What this rank sends around [B, ...]; B may differ between ranks.
        own: What stays here and gets a gradient.
        among: From `share_of(block, group)`.
    """
    if among.group is None:
        return loss(block, 0, *own)
    learning = torch.is_grad_enabled()
    total = _RingSum.apply(loss, among, learning, block, *own)  # type: ignore[no-untyped-call]
    return cast("Tensor", total)


class _RingSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, loss: BlockLoss, among: Share, learning: bool, block: Tensor, *own: Tensor
    ) -> Tensor:
        needed = ctx.needs_input_grad[3:]
        learning = learning and any(needed)
        leaves = [
            tensor.detach().requires_grad_(learning and needs)
            for tensor, needs in zip(own, needed[1:], strict=True)
        ]
        block, gradient = block.detach(), torch.zeros_like(block)
        total = torch.zeros((), dtype=block.dtype, device=block.device)
        for hop in range(among.world):
            source = (among.rank - hop) % among.world
            visitor = block.detach().requires_grad_(learning)
            with torch.set_grad_enabled(learning):
                value = loss(visitor, source, *leaves)
            total += value.detach()
            if learning:
                value.backward()  # type: ignore[no-untyped-call]
                assert visitor.grad is not None
                # after the last hop the gradient, now complete, goes home
                gradient = _pass_on(gradient + visitor.grad, source, among)
            if hop + 1 < among.world:
                block = _pass_on(block, source, among)
        gradients = [gradient, *(leaf.grad for leaf in leaves)]
        ctx.save_for_backward(
            *(g if needs else None for g, needs in zip(gradients, needed, strict=True))
        )
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        gradients = (None if g is None else upstream * g for g in ctx.saved_tensors)
        return None, None, None, *gradients


def _pass_on(block: Tensor, source: int, among: Share) -> Tensor:
    """Send a block that came from `source` to the next rank; return the one of the rank before."""
    incoming = block.new_empty((among.counts[source - 1], *block.shape[1:]))
    moves = [
        dist.P2POp(move, tensor, _peer(among, step), among.group)
        for move, tensor, step in (
            (dist.isend, block.contiguous(), 1),
            (dist.irecv, incoming, -1),
        )
        if tensor.numel()  # both sides know the counts, and nothing is not sent
    ]
    for request in dist.batch_isend_irecv(moves) if moves else ():
        request.wait()
    return incoming


def _peer(among: Share, step: int) -> int:
    assert among.group is not None
    return dist.get_global_rank(among.group, (among.rank + step) % among.world)
