"""The loop learns, and a run that was killed ends where an undisturbed one does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.train.loop import TrainConfig, fit
from seesay.train.objectives import contrastive
from seesay.train.optim import adamw, warmup_cosine


class Pair(nn.Module):
    """Two linear towers with dropout, so that the random state matters."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(12, 8), nn.Linear(6, 8)
        self.drop = nn.Dropout(0.1)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        a, b = self.drop(self.image(batch[0])), self.text(batch[1])
        return contrastive(F.normalize(a, dim=-1), F.normalize(b, dim=-1), self.logit_scale)


def eight(step: int) -> tuple[Tensor, Tensor]:
    """The same eight pairs in every step, in another order."""
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(8, 12, generator=generator), torch.randn(8, 6, generator=generator)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(step))
    return images[order], texts[order]


def build() -> Pair:
    torch.manual_seed(1)
    return Pair()


CONFIG = TrainConfig(steps=120, lr=3e-2, warmup=5, save_every=50, weight_decay=0.0)


def test_eight_pairs_are_memorised(tmp_path: Path) -> None:
    model = build()
    log = fit(model, eight, model.loss, CONFIG, tmp_path)
    assert log[0]["loss"] > 1.5
    assert log[-1]["loss"] < 0.1
    assert json.loads((tmp_path / "config.json").read_text())["steps"] == 120


@pytest.mark.parametrize("killed_after", [1, 50, 73])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path, killed_after: int) -> None:
    whole = build()
    fit(whole, eight, whole.loss, CONFIG, tmp_path / "whole")
    first = build()
    fit(first, eight, first.loss, CONFIG, tmp_path / "cut", stop_after=killed_after)
    second = build()
    fit(second, eight, second.loss, CONFIG, tmp_path / "cut")
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    model = build()
    fit(model, eight, model.loss, CONFIG, tmp_path)
    again = build()

    def never(step: int) -> tuple[Tensor, Tensor]:
        raise AssertionError(f"step {step} was run again")

    fit(again, never, again.loss, CONFIG, tmp_path)
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_vectors_are_not_decayed_and_frozen_parameters_are_left_out() -> None:
    model = build()
    model.text.requires_grad_(False)
    matrices, vectors = adamw(model, lr=1e-3, weight_decay=0.3).param_groups
    assert [p.ndim for p in matrices["params"]] == [2]
    assert {p.ndim for p in vectors["params"]} == {0, 1}
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.3, 0.0)


def test_the_rate_rises_then_falls_to_its_floor() -> None:
    rates = [warmup_cosine(s, warmup=10, steps=100, floor=0.1) for s in range(101)]
    assert rates[:10] == sorted(rates[:10])
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert abs(rates[100] - 0.1) < 1e-9
