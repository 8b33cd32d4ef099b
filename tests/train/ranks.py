"""Three processes that share a batch, started once: what each computes is left in files.

`Towers`, `pairs` and `CASES` are what the single process computes, too, for comparison.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from seesay.train import gradcache
from seesay.train.gather import gather, ring_sum, share_of
from seesay.train.objectives import info_nce, nt_xent, sigmoid, unicl
from train.memory import Ledger

SECONDS = 120
ALL, TWO = (4, 0, 3), (5, 2)
"""Rows of the three ranks, one of which has none; and of the last two alone."""


class Towers(nn.Module):
    """Two towers and a projection of views, as DistributedDataParallel wants them: one forward."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text, self.view = nn.Linear(6, 5), nn.Linear(4, 5), nn.Linear(5, 3)
        self.logit_scale = nn.Parameter(torch.tensor(1.5))
        self.logit_bias = nn.Parameter(torch.tensor(-2.0))

    def forward(self, batch: Pairs) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        images, texts = self.image(batch.pictures), self.text(batch.captions)
        second = self.image(batch.pictures.flip(1))
        unit = [F.normalize(x, dim=-1) for x in (images, texts)]
        return unit[0], unit[1], self.view(images), self.view(second)


class Pairs(NamedTuple):
    """Some rows of the batch."""

    pictures: Tensor
    captions: Tensor
    labels: Tensor

    def rows(self, start: int, stop: int) -> Pairs:
        return Pairs(*(column[start:stop] for column in self))


def pairs() -> Pairs:
    generator = torch.Generator().manual_seed(0)
    pictures, captions = (torch.randn(7, width, generator=generator) for width in (6, 4))
    return Pairs(pictures, captions, torch.tensor([2, -1, 0, -1, 2, -1, 2]))


Case = Callable[..., Tensor]
"""(towers, their four outputs, labels, **group and chunk) -> loss."""

CASES: dict[str, Case] = {
    "info_nce": lambda m, f, y, **k: info_nce(f[0], f[1], m.logit_scale, **k),
    "info_nce, smooth, by id": lambda m, f, y, **k: info_nce(
        f[0], f[1], m.logit_scale, image_ids=y, label_smoothing=0.1, **k
    ),
    "unicl": lambda m, f, y, **k: unicl(f[0], f[1], m.logit_scale, y, **k),
    "unicl, sum": lambda m, f, y, **k: unicl(f[0], f[1], m.logit_scale, y, reduction="sum", **k),
    "sigmoid": lambda m, f, y, **k: sigmoid(f[0], f[1], m.logit_scale, m.logit_bias, **k),
    "sigmoid, by id": lambda m, f, y, **k: sigmoid(
        f[0], f[1], m.logit_scale, m.logit_bias, image_ids=y, **k
    ),
    "nt_xent": lambda m, f, y, **k: nt_xent(f[2], f[3], **k),
    "slip": lambda m, f, y, **k: (
        info_nce(f[0], f[1], m.logit_scale, **k) + nt_xent(f[2], f[3], **k)
    ),
}


def start(folder: Path) -> list[dict[str, Any]]:
    """Run the three processes and return what each found."""
    context = mp.spawn(_work, (str(folder),), nprocs=3, join=False)
    ends = time.monotonic() + SECONDS
    try:
        while not context.join(ends - time.monotonic()):  # comes back whenever one has ended
            assert time.monotonic() < ends, "a rank did not come to an end"
    finally:
        for process in context.processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(3)]


def _work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    loopback = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
    os.environ["GLOO_SOCKET_IFNAME"] = loopback[0]
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=3,
        timeout=timedelta(seconds=SECONDS // 2),
    )
    found: dict[str, Any] = {}
    two = dist.new_group([1, 2])
    for name, case in CASES.items():
        found[name] = _gradients(case, ALL, rank, dist.group.WORLD)
        found[f"{name}, in chunks"] = _gradients(case, ALL, rank, dist.group.WORLD, chunk=2)
        if rank > 0:
            found[f"{name}, two ranks"] = _gradients(case, TWO, rank - 1, two)
    found["ddp and gradcache"] = _with_ddp(rank)
    found["primitives"] = _primitives(rank)
    found["ring rows"] = _ring_rows(rank)
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def own_rows(counts: tuple[int, ...], rank: int) -> Pairs:
    return pairs().rows(sum(counts[:rank]), sum(counts[: rank + 1]))


def towers() -> Towers:
    torch.manual_seed(7)
    return Towers()


def _gradients(
    case: Case, counts: tuple[int, ...], rank: int, group: Any, **options: Any
) -> dict[str, Tensor]:
    """The loss and, not yet averaged, the gradient of every parameter."""
    module, batch = towers(), own_rows(counts, rank)
    loss = case(module, module(batch), batch.labels, group=group, **options)
    loss.backward()
    return {"loss": loss.detach(), **grads(module)}


def grads(module: nn.Module) -> dict[str, Tensor]:
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in module.named_parameters()
    }


def _with_ddp(rank: int) -> list[dict[str, Tensor]]:
    """Two steps in chunks, as many as each rank likes; gradients averaged by torch, once a step."""
    module = towers()
    module.logit_bias.requires_grad_(False)  # InfoNCE has none, and torch wants all used
    parallel, group = DistributedDataParallel(module), dist.group.WORLD
    batch, found = own_rows(ALL, rank), []
    chunks = [batch.rows(0, 2), batch.rows(2, 4)] if rank != 1 else [batch]

    def loss(*features: Tensor) -> Tensor:
        return CASES["slip"](module, features, batch.labels, group=group)

    for _ in range(2):
        module.zero_grad()
        value = gradcache.backward(parallel, chunks, loss, no_sync=parallel.no_sync)
        found.append({"loss": value, **{n: g.clone() for n, g in grads(module).items()}})
    return found


def _primitives(rank: int) -> dict[str, Tensor]:
    """Rows of every type gathered; a ring whose loss weighs each block by where it comes from."""
    rows = torch.arange(2.0 * ALL[rank]).view(-1, 2).add(10 * rank).requires_grad_()
    among = share_of(rows, dist.group.WORLD)
    gathered = gather(rows, among)
    (gathered.sum(1) @ torch.arange(7.0) * (rank + 1)).backward()
    weight = torch.tensor(2.0, requires_grad=True)
    block = rows.detach().requires_grad_()

    def loss(visitor: Tensor, source: int, weight: Tensor) -> Tensor:
        return weight * (source + 1) * (rank + 1) * visitor.square().sum()

    total = ring_sum(loss, block, [weight], among)
    with torch.no_grad():
        unlearned = ring_sum(loss, block, [weight], among)
    (3 * total).backward()
    numbers = gather(torch.full((ALL[rank],), rank), among)
    return {
        "gathered": gathered.detach(), "gathered.grad": rows.grad, "numbers": numbers,
        "flags": gather(torch.full((ALL[rank],), rank == 2), among),
        "counts": torch.tensor(among.counts),
        "total": total.detach(), "unlearned": unlearned,
        "block.grad": block.grad, "weight.grad": weight.grad,
    }  # fmt: skip


def _ring_rows(rank: int) -> int:
    """The most rows of any matrix in the sigmoid loss of 3 x 16 pairs, forward and backward."""
    generator = torch.Generator().manual_seed(rank)
    images, texts = (torch.randn(16, 5, generator=generator).requires_grad_() for _ in range(2))
    with Ledger() as ledger:
        scale, bias = torch.tensor(1.0), torch.tensor(-2.0)
        sigmoid(images, texts, scale, bias, group=dist.group.WORLD).backward()
    return ledger.rows
