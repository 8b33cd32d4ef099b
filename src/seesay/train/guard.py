"""What surrounds a run: signals held back until a step is over, and random numbers put back."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


def seed(number: int, step: int, rank: int) -> None:
    """Make everything random in a step depend on the step, and differ between processes."""
    drawn = np.random.SeedSequence([number, step, rank]).generate_state(3)
    torch.manual_seed(int(drawn[0]))
    random.seed(int(drawn[1]))
    np.random.seed(int(drawn[2]))


@contextmanager
def same_afterwards(module: nn.Module) -> Iterator[None]:
    """Leave the module's mode and the global random numbers as they were."""
    modes = {child: child.training for child in module.modules()}
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            for child, mode in modes.items():
                child.training = mode
            random.setstate(python)
            np.random.set_state(numpy)


class Interrupt:
    """Holds SIGTERM and the first Ctrl-C back until the step is over, then passes them on."""

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.received and raised[0] is None:
            signal.raise_signal(self.received)

    def _note(self, number: int, frame: Any) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
