"""Training in bfloat16 takes the way that training in full precision takes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seesay.families.clip.configs import ClipConfig
from seesay.families.clip.model import Clip
from seesay.networks.causaltext import CausalTextConfig
from seesay.networks.vit import VitConfig
from seesay.train.config import OptimConfig
from seesay.train.objectives import info_nce
from seesay.train.optim import adamw
from seesay.train.towers import Inputs, Towers


def small() -> Clip:
    """CLIP with the proportions of the published ones, every parameter drawn anew."""
    tower: dict[str, Any] = {"width": 128, "depth": 4, "num_heads": 2, "mlp_width": 512}
    image = VitConfig(
        image_size=(32, 32), patch_size=8, activation="quick_gelu", pre_norm=True, **tower
    )
    text = CausalTextConfig(
        vocab_size=300, max_length=16, activation="quick_gelu", end_id=299, **tower
    )
    torch.manual_seed(0)
    module = Clip(ClipConfig(embed_width=64, image=image, text=text))
    for parameter in module.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return module.train()


def pairs(seed: int) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 17, (16, 1), generator=generator)
    place = torch.arange(16)
    ids = torch.randint(1, 299, (16, 16), generator=generator)
    ids = torch.where(place < lengths - 1, ids, 299)
    # each caption's pixels have a mean of their own, so that there is something to learn
    pixels = torch.randn(16, 3, 32, 32, generator=generator) + ids[:, :3, None, None] / 100 - 1.5
    return Inputs(pixels, ids, place < lengths)


def losses(module: Clip, inputs: Inputs, *, bf16: bool) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return info_nce(*Towers(module)(inputs), module.logit_scale)


def gradient(module: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    named = dict(module.named_parameters())
    return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))


def cosine(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    x, y = (torch.cat([g.flatten().double() for g in found.values()]) for found in (a, b))
    return float(x @ y / (x.norm() * y.norm()))


def test_the_gradient_in_bfloat16_points_where_that_in_full_precision_does() -> None:
    module, inputs = small(), pairs(0)
    exact, rounded = losses(module, inputs, bf16=False), losses(module, inputs, bf16=True)
    assert math.isclose(rounded.item(), exact.item(), rel_tol=2e-3)
    full, half = gradient(module, exact), gradient(module, rounded)
    assert cosine(half, full) > 0.999
    assert {g.dtype for g in half.values()} == {torch.float32}


@pytest.mark.parametrize("part", ["image.", "text.", "image_projection", "text_projection"])
def test_so_does_the_part_of_every_tower(part: str) -> None:
    module, inputs = small(), pairs(1)
    full, half = (
        {n: g for n, g in gradient(module, losses(module, inputs, bf16=b)).items() if part in n}
        for b in (False, True)
    )
    assert full
    assert cosine(half, full) > 0.999


def test_the_losses_of_a_run_are_those_of_full_precision() -> None:
    found: dict[bool, list[float]] = {}
    for bf16 in (False, True):
        module = small()
        optimiser = adamw(module, OptimConfig(lr=1e-3))
        found[bf16] = []
        for step in range(20):
            loss = losses(module, pairs(step % 2), bf16=bf16)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            found[bf16].append(loss.item())
    exact, rounded = torch.tensor(found[False]), torch.tensor(found[True])
    assert exact[-3:].mean() < 0.7 * exact[:3].mean()  # something was learned
    assert (rounded - exact).abs().max() < 0.03 * exact.max()
