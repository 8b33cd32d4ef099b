"""AdamW with the usual groups, and the usual schedule."""

from __future__ import annotations

import math

import torch
from torch import nn


def adamw(
    module: nn.Module,
    *,
    lr: float,
    weight_decay: float = 0.05,
    betas: tuple[float, float] = (0.9, 0.98),
) -> torch.optim.AdamW:
    """Return AdamW over the trainable parameters; vectors and scalars are not decayed."""
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, betas=betas)


def warmup_cosine(step: int, *, warmup: int, steps: int, floor: float = 0.02) -> float:
    """Return the factor on the learning rate: up in a line, then down to `floor` in a half wave."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
