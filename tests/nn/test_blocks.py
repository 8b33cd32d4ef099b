"""Norms, feed-forward networks and blocks against their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from seesay.nn.blocks import PreNormBlock, initialise
from seesay.nn.mlp import ACTIVATIONS, Mlp, quick_gelu
from seesay.nn.norm import LayerNorm


def test_activations_are_their_published_formulas() -> None:
    x = torch.linspace(-6, 6, 101, dtype=torch.float64)
    exact = x * (1 + torch.erf(x / math.sqrt(2))) / 2
    torch.testing.assert_close(ACTIVATIONS["gelu"](x), exact)
    torch.testing.assert_close(quick_gelu(x), x / (1 + torch.exp(-1.702 * x)))
    assert float((exact - quick_gelu(x)).abs().max()) > 0.01  # mixing them up would be seen


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_layer_norm_has_fp32_statistics_in_half_precision(weights: torch.dtype) -> None:
    torch.manual_seed(0)
    norm = LayerNorm(512).to(weights)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = (torch.randn(4, 512) + 30).bfloat16()
    exact = x.double()
    exact = (exact - exact.mean(-1, keepdim=True)) / exact.var(
        -1, keepdim=True, correction=0
    ).sqrt()
    exact = exact * norm.weight.double() + norm.bias.double()
    found = norm(x)
    assert found.dtype is torch.bfloat16
    # one rounding to 8 bits at the end, and none on the way
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=2**-8)


def test_a_block_is_two_residual_steps() -> None:
    torch.manual_seed(0)
    block = PreNormBlock(24, 3, 50, "quick_gelu", eps=1e-3)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(2, 5, 24)
    middle = x + block.attention(
        torch.nn.functional.layer_norm(
            x, (24,), block.attention_norm.weight, block.attention_norm.bias, 1e-3
        )
    )
    hidden = torch.nn.functional.layer_norm(
        middle, (24,), block.mlp_norm.weight, block.mlp_norm.bias, 1e-3
    )
    hidden = quick_gelu(hidden @ block.mlp.fc1.weight.T + block.mlp.fc1.bias)
    wanted = middle + hidden @ block.mlp.fc2.weight.T + block.mlp.fc2.bias
    torch.testing.assert_close(block(x), wanted)


def test_deep_stacks_start_with_a_stream_that_does_not_swell() -> None:
    torch.manual_seed(0)
    spreads = []
    for depth in (2, 24):
        blocks = [PreNormBlock(64, 4, 256, "gelu") for _ in range(depth)]
        initialise(blocks)
        x = torch.randn(2, 16, 64)
        for block in blocks:
            x = block(x)
        spreads.append(x.std().item())
    assert all(1 <= spread < 2 for spread in spreads)


def test_the_feed_forward_names_its_activation() -> None:
    assert Mlp(4, 8, "quick_gelu").activation == "quick_gelu"
