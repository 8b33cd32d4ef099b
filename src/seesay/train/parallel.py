"""Several processes as one: who is here, how the model is spread, and what all must agree on.

Start them with torchrun. One process needs nothing of this, and no process group.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from seesay.device import pick_device

T = TypeVar("T")
_NEW = "forward_sync_buffers"
_SYNC = _NEW if _NEW in signature(DistributedDataParallel).parameters else "broadcast_buffers"
"""What torch calls the sending around of running statistics, by its version."""


@dataclass(frozen=True)
class World:
    """The processes that train together.

    Attributes:
        rank: The number of this one.
        size: How many there are.
        device: Where this one computes.
        group: The process group, or None when this process is alone.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    group: dist.ProcessGroup | None = None

    def agree(self, value: float) -> float:
        """Return the largest value that any process has."""
        if self.group is None:
            return value
        held = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(held, dist.ReduceOp.MAX, group=self.group)
        return float(held)

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the means of scalars over the processes."""
        if not values:
            return {}
        held = torch.stack([v.detach().double().to(self.device) for v in values.values()])
        if self.group is not None:
            dist.all_reduce(held, group=self.group)
        return dict(zip(values, (held / self.size).tolist(), strict=True))

    def told(self, value: Any) -> Any:
        """Return what the first process has."""
        if self.group is None:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0, group=self.group)
        return held[0]


@contextmanager
def joined(device: str = "auto") -> Iterator[World]:
    """Join the processes that torchrun started, for as long as the block lasts."""
    if "WORLD_SIZE" not in os.environ:
        yield World(device=pick_device(device))
        return
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    found = pick_device(device)
    if found.type == "cuda":
        found = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(found)
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if found.type == "cuda" else "gloo")
    try:
        yield World(rank, size, found, dist.group.WORLD)
    finally:
        if ours:
            dist.destroy_process_group()


def spread(forward: nn.Module, module: nn.Module, world: World, strategy: str) -> nn.Module:
    """Return what to call in place of `forward` so that gradients are averaged over processes.

    Args:
        forward: Computes everything that is differentiated; a thin layer around `module`. For
            "fsdp2" it has a method `within`, which calls a function; see `whole`.
        module: What is trained.
        world: The processes.
        strategy: "ddp", or "fsdp2", which shards the parameters of `module` where they are.
    """
    if world.group is None or not any(p.requires_grad for p in module.parameters()):
        return forward
    if strategy == "ddp":
        # running statistics stay each process's own: sending them around would cost every step
        told: dict[str, Any] = {_SYNC: False}
        return DistributedDataParallel(forward, process_group=world.group, **told)
    mesh = init_device_mesh(world.device.type, (world.size,))
    scalars = {p for p in module.parameters() if p.ndim == 0}  # which cannot be sharded
    for scalar in (p for p in scalars if p.requires_grad):
        hooked: Any = scalar
        hooked.register_post_accumulate_grad_hook(_averaging(world))
    for block in _blocks(module):
        fully_shard(block, mesh=mesh, ignored_params=scalars)
        if hasattr(block, "look"):  # at what a text is about, before the block itself runs
            register_fsdp_forward_method(block, "look")
    fully_shard(forward, mesh=mesh, ignored_params=scalars)
    register_fsdp_forward_method(forward, "within")
    return forward


def whole(forward: nn.Module, function: Callable[[], T]) -> T:
    """Return what a function returns that calls parts of what `spread` returned by themselves.

    All processes call it together.
    """
    if not isinstance(forward, FSDPModule):
        return function()
    try:
        return cast("T", cast("Any", forward).within(function))
    finally:
        forward.reshard()  # or the next step would begin with the weights of this moment


def _averaging(world: World) -> Callable[[Tensor], None]:
    def hook(parameter: Tensor) -> None:
        assert parameter.grad is not None
        dist.all_reduce(parameter.grad, group=world.group)
        parameter.grad /= world.size

    return hook


def _blocks(module: nn.Module) -> list[nn.Module]:
    """Return the repeated layers: what stands in lists of modules, innermost lists only."""
    lists = [m for m in module.modules() if isinstance(m, nn.ModuleList)]
    inner = [
        m for m in lists if not any(isinstance(c, nn.ModuleList) for c in m.modules() if c is not m)
    ]
    return [block for each in inner for block in each]


def full(tensor: Tensor) -> Tensor:
    """Return a tensor whole, whatever it is sharded over; all processes must ask together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, whole: Tensor) -> Tensor:
    """Return a whole tensor as `tensor` is held: on its device, sharded as it is."""
    whole = whole.to(tensor.device, tensor.dtype)
    if isinstance(tensor, DTensor):
        return distribute_tensor(whole, tensor.device_mesh, tensor.placements)
    return whole


@contextmanager
def unsynchronised(module: nn.Module) -> Iterator[None]:
    """Let gradients add up in each process, to be averaged by a later backward pass."""
    if isinstance(module, DistributedDataParallel):
        with module.no_sync():
            yield
    elif isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            module.set_requires_gradient_sync(True)
    else:
        yield
