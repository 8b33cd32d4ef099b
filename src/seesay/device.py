"""Where a model runs, in which precision, and how: "auto" and its alternatives."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from seesay.errors import UsageError


def pick_device(device: str | torch.device) -> torch.device:
    """Resolve "auto" to the GPU when there is one.

    Raises:
        UsageError: There is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).cpu()
    except (RuntimeError, AssertionError):
        raise UsageError(f"there is no device {str(device)!r} here", "auto, cpu, cuda") from None
    return found


def pick_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """Resolve "auto" to bfloat16 where it is multiplied natively, else float32."""
    if isinstance(dtype, torch.dtype):
        return dtype
    names: Mapping[str, torch.dtype] = {
        "float32": torch.float32,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
    }
    if dtype in names:
        return names[dtype]
    if dtype != "auto":
        raise UsageError(f"dtype={dtype!r} is not one of auto, {', '.join(names)}")
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    native = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if native else torch.float32


def without_gradient(module: nn.Module) -> AbstractContextManager[Any]:
    """Return inference mode, but for a module in training: what it gathers must stay writable."""
    trained = any(p.requires_grad for p in module.parameters())
    return torch.no_grad() if trained else torch.inference_mode()


def onednn_takes_bf16() -> bool:
    """Whether oneDNN multiplies bfloat16 here; not where torch was built without it."""
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return supported is not None and bool(supported())
