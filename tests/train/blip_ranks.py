"""Three processes that pre-train together, started once: what each has in the end lies in files."""

from __future__ import annotations

import dataclasses
import os
import socket
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from seesay.train.parallel import World, full
from train import blip_steps as made

SECONDS = 120
ROWS = [*made.ROWS, [3, 6], [6, 5, 2]]
"""Of five rows the processes have two, two and one; of two rows one process has none."""


def start(folder: Path) -> list[dict[str, Any]]:
    """Run the three processes and return what each found."""
    context = mp.spawn(_work, (str(folder),), nprocs=3, join=False)
    ends = time.monotonic() + SECONDS
    try:
        while not context.join(ends - time.monotonic()):
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
    world = World(rank, 3, torch.device("cpu"), dist.group.WORLD)
    found = {
        "ddp": train(world),
        "fsdp2": train(world, strategy="fsdp2"),
        "local": train(world, negatives="local"),
    }
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def train(world: World, strategy: Any = "ddp", negatives: Any = "all") -> dict[str, Any]:
    """Take some steps; return the losses of each, and all that training changed."""
    module = made.module()
    config = dataclasses.replace(made.changed(negatives=negatives), strategy=strategy)
    steps = made.steps(module, world, config)
    losses: list[dict[str, float]] = []
    gradients: list[dict[str, Tensor]] = []
    for step, rows in enumerate(ROWS):
        told = steps.learn(made.shown(step, rows[world.rank :: world.size]))
        losses.append(world.mean(told))
        gradients.append({n: whole(p.grad) for n, p in module.named_parameters()})
        made.descend(module)
        steps.after()
    return {
        "losses": losses,
        "gradients": gradients,
        "momentum": steps.momentum.state_dict(),
        "queue": made.held(steps.queue)._asdict(),
    }


def whole(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return full(tensor).clone()
