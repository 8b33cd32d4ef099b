"""How much memory a computation needs at most, counted and not measured: equal on every machine."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Ledger(TorchDispatchMode):
    """Counts the bytes of tensors that are alive, in forward and backward passes.

    Attributes:
        live: Bytes of what was made inside and is still there.
        peak: The most there were.
        rows: The most rows of one matrix of floating point numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = self.rows = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._enter(tensor.untyped_storage())
                if tensor.ndim == 2 and tensor.is_floating_point():
                    self.rows = max(self.rows, len(tensor))
        return made

    def _enter(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)

        def leave(_: object) -> None:
            self.live -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, leave)


def peak(work: Callable[[], object]) -> int:
    """Return the most bytes that were alive at once of all that `work` made."""
    with Ledger() as ledger:
        work()
    return ledger.peak
