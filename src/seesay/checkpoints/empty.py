"""Modules without memory for their weights, to be filled from a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from seesay.errors import CheckpointError

if TYPE_CHECKING:
    from seesay.family import Family

_DRAWING = {nn.init.normal_, nn.init.trunc_normal_, torch.Tensor.normal_}


class _Undrawn(TorchFunctionMode):
    """Draws no random values: without memory for them there is nothing to draw.

    torch would import its compiler to find that out, which takes longer than reading most
    checkpoints.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in _DRAWING:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def build_empty(
    family: Family, config: Any, path: Path, count: int
) -> tuple[nn.Module, dict[str, Tensor]]:
    """Return a module without memory for its weights, and what its state dict must look like.

    Args:
        family: Whose module it is.
        config: Its configuration.
        path: What to blame when the configuration cannot be built.
        count: The number of tensors there are to fill it.

    Raises:
        CheckpointError: The configuration describes nothing that can be built.
    """
    _check_depth(config, count, path)
    try:
        with torch.device("meta"), _Undrawn():
            module = family.build(config)
    except (
        TypeError,
        ValueError,
        AttributeError,
        LookupError,
        ArithmeticError,
        RuntimeError,
    ) as error:
        raise CheckpointError(f"{path}: the configuration cannot be built ({error})") from None
    return module, module.state_dict()


def _check_depth(config: Any, count: int, path: Path) -> None:
    """Refuse more blocks than there are tensors: building them all would take for ever."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            _check_depth(value, count, path)
        elif "depth" in field.name:
            for depth in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(depth, (int, float)) and depth > count:
                    raise CheckpointError(
                        f"{path}: the configuration has {field.name} {depth}, for {count} tensors"
                    )
