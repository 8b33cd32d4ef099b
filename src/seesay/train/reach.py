"""Which weights a tower reads, whatever they are called: found by running it once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from seesay.evaluate.encode import at_rest
from seesay.train.freeze import matching

if TYPE_CHECKING:
    from seesay.model import Model

Tower = Literal["image", "text"]
TOWERS: tuple[Tower, ...] = ("image", "text")


def tower_weights(model: Model, tower: Tower) -> tuple[list[str], int]:
    """Return the names of the parameters and buffers that pooling reads, and the width D it gives.

    Args:
        model: Its module is a `PooledEncoder`.
        tower: Whose.

    Raises:
        InputError: The text tower cannot be run: the checkpoint came without a tokenizer.
    """
    module: Any = model.module
    pooled: list[Tensor] = []

    def pool() -> None:
        if tower == "image":
            blank = torch.zeros(1, 3, *model.processor.image.size, device=model.device)
            pooled.append(module.pool_image(blank.to(model.dtype)))
        else:
            ids, mask = model.processor.texts(["a"])
            pooled.append(module.pool_text(ids.to(model.device), mask.to(model.device)))

    with at_rest(model):
        names = read_by(module, pool)
    return names, pooled[0].shape[1]


def read_by(module: nn.Module, function: Callable[[], Any]) -> list[str]:
    """Return the names of the parameters and buffers that a function reads when it is called."""
    with _Watch() as watch, torch.no_grad():
        function()
    tensors = module.state_dict(keep_vars=True)
    return [name for name, tensor in tensors.items() if id(tensor) in watch.read]


def chosen(model: Model, patterns: Iterable[str]) -> list[str]:
    """Return the names of the parameters that patterns stand for.

    As `matching`, and "image" and "text" stand for the towers: all that pooling reads, which is
    everything below the projections, whatever its modules are called.

    Raises:
        UsageError: A pattern matches nothing.
    """
    names = {name for name, _ in model.module.named_parameters()}
    found: list[str] = []
    for pattern in patterns:
        if pattern in TOWERS and hasattr(model.module, f"pool_{pattern}"):
            found += [n for n in tower_weights(model, pattern)[0] if n in names]
        else:
            found += matching(model.module, [pattern])
    return found


class _Watch(TorchFunctionMode):
    """Notes which tensors are computed with; asking for a shape or a type is not computing."""

    def __init__(self) -> None:
        super().__init__()
        self.read: set[int] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") != "__get__":
            self._note(args)
            self._note(tuple((kwargs or {}).values()))
        return func(*args, **(kwargs or {}))

    def _note(self, values: Any) -> None:
        for value in values:
            if isinstance(value, Tensor):
                self.read.add(id(value))
            elif isinstance(value, (list, tuple)):
                self._note(value)
