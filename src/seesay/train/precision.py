"""In which precision a training step computes. Weights and the optimiser stay in fp32."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from seesay.device import pick_dtype
from seesay.train.config import LoopConfig


def halved(config: LoopConfig, device: torch.device) -> bool:
    """Whether a forward pass computes in bfloat16 where that is safe."""
    auto = config.precision == "auto" and pick_dtype("auto", device) == torch.bfloat16
    return auto or config.precision == "bf16"


def autocast(config: LoopConfig, device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """Return what a forward pass runs in.

    The backward pass must not run in it: it finds the precision of each step by itself.
    """
    if halved(config, device):
        return lambda: torch.autocast(device.type, torch.bfloat16)
    return nullcontext
