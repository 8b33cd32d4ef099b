"""AdamW with the groups that published recipes use, and the learning rate of a step."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from seesay.train.config import OptimConfig, ScheduleConfig

_LAYER = re.compile(r"(?:^|.*\.)\d+(?=\.)")
"""The part of a parameter's name up to the last number in it: the layer it belongs to."""


def adamw(module: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """Return AdamW over the trainable parameters, grouped by decay and by layer.

    Vectors are not decayed unless the configuration says so, and scalars never: towards zero, the
    logarithm of a factor would pull the factor towards one. Each group carries `scale`, its factor
    on the learning rate, which `set_lr` honours.

    Paper: arXiv 1711.05101; layer-wise decay as in arXiv 2003.10555, section 3.1.
    """
    scales = layer_scales(module, config.layer_decay)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            decayed = parameter.ndim >= (1 if config.decay_vectors else 2)
            decay = config.weight_decay if decayed else 0.0
            groups.setdefault((decay, scales[name]), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": p, "weight_decay": d, "scale": s} for (d, s), p in groups.items()],
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        fused=all(p.device.type in ("cpu", "cuda") for p in module.parameters()),
    )


def layer_scales(module: nn.Module, decay: float) -> dict[str, float]:
    """Return the factor on the learning rate of each parameter, by its name.

    The last layer of a tower has `decay`, the one below it its square, and so on down to what
    comes before the first layer. What follows the last layer, and whatever is in no tower (the
    projections, the logit scale), has 1. A tower is a direct child of the module; its layers are
    the numbered parts of its parameters' names, in the order in which they are declared.
    """
    depth: dict[str, int] = {}
    heights: dict[str, int] = {}
    layers: dict[str, str | None] = {}
    for name, _ in module.named_parameters():
        tower = name.split(".")[0]
        found = _LAYER.match(name)
        layer = found.group() if found else None
        if layer != layers.get(tower) and (layer is not None or layers.get(tower) is not None):
            heights[tower] = heights.get(tower, 0) + 1
        layers[tower] = layer
        depth[name] = heights.get(tower, 0)
    top = {}
    for name in depth:
        tower = name.split(".")[0]
        # a tower that ends in a numbered layer has nothing above it to be its top
        top[tower] = heights.get(tower, 0) + (layers[tower] is not None)
    return {name: decay ** (top[name.split(".")[0]] - depth[name]) for name in depth}


def factor(step: int, steps: int, config: ScheduleConfig) -> float:
    """Return the learning rate of a step as a part of the highest.

    A line from `start` over `warmup` steps, then the schedule down to `end` at step `steps`.
    """
    warmup = math.ceil(config.warmup * (steps if config.warmup < 1 else 1))
    if step < warmup:
        return config.start + (1 - config.start) * (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    if config.kind == "cosine":
        return config.end + (1 - config.end) * 0.5 * (1 + math.cos(math.pi * done))
    if config.kind == "linear":
        return config.end + (1 - config.end) * (1 - done)
    if config.kind == "exponential":
        return math.exp(done * math.log(config.end))
    return 1.0


def set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Give every group its learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group["scale"]


class Ema:
    """A running mean of the trained weights, kept in fp32 beside them.

    Paper: arXiv 1703.01780, equation 1.
    Differs: early on the mean forgets faster, or it would hold random weights for long: after
        `step` steps at most (1 + step) / (10 + step) of it remains.

    Args:
        module: Its trainable parameters are followed.
        decay: What remains of the mean after a step.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.followed = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self.means = {n: p.detach().float().clone() for n, p in self.followed.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the mean towards the weights as they are now, after so many steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in self.followed.items():
            self.means[name].lerp_(parameter.detach().float(), 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange weights and means. Done twice, all is as it was, to the bit."""
        for name, parameter in self.followed.items():
            weights = parameter.detach().float().clone()
            parameter.copy_(self.means[name])
            self.means[name].copy_(weights)


def finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no number is infinite or NaN."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
