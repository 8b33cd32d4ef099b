"""In chunks, memory grows with the batch and not with its square, forward and backward."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seesay.train.objectives import info_nce, nt_xent, sigmoid, unicl
from train.memory import peak

SCALE, BIAS = torch.tensor(2.0), torch.tensor(-3.0)
LOSSES: dict[str, Callable[..., Tensor]] = {
    "info_nce": lambda a, b, **k: info_nce(a, b, SCALE, **k),
    "info_nce, image ids": lambda a, b, **k: info_nce(
        a, b, SCALE, image_ids=torch.arange(len(a)) // 2, label_smoothing=0.1, **k
    ),
    "unicl": lambda a, b, **k: unicl(a, b, SCALE, torch.arange(len(a)) % 9 - 1, **k),
    "sigmoid": lambda a, b, **k: sigmoid(a, b, SCALE, BIAS, **k),
    "nt_xent": lambda a, b, **k: nt_xent(a, b, **k),
}


def needed(name: str, batch: int, chunk: int | None) -> tuple[int, int]:
    """Bytes of the forward pass alone, and with the backward pass."""
    generator = torch.Generator().manual_seed(0)
    images, texts = (
        F.normalize(torch.randn(batch, 8, generator=generator), dim=-1).requires_grad_()
        for _ in range(2)
    )
    held: list[Tensor] = []
    forward = peak(lambda: held.append(LOSSES[name](images, texts, chunk=chunk)))
    held.clear()
    return forward, peak(lambda: LOSSES[name](images, texts, chunk=chunk).backward())


@pytest.mark.parametrize("name", LOSSES)
def test_memory_is_linear_in_chunks_and_quadratic_without(name: str) -> None:
    for small, large in zip(needed(name, 128, 16), needed(name, 512, 16), strict=True):
        assert large < 4.2 * small
    for small, large in zip(needed(name, 128, None), needed(name, 512, None), strict=True):
        assert large > 11 * small
    assert needed(name, 512, 16)[1] * 10 < needed(name, 512, None)[1]


def test_the_count_sees_what_is_alive_at_once() -> None:
    def work() -> None:
        first = torch.ones(100)
        del first
        second = torch.ones(50)
        second.add_(1).view(5, 10)
        torch.ones(30)

    assert peak(work) == 400
