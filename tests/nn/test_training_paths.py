"""What layers compute otherwise while they train, for speed, has the same values and gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.nn.attention import SHORT, attention
from seesay.nn.blocks import PreNormBlock
from seesay.nn.masks import causal, padding
from seesay.nn.mlp import quick_gelu
from seesay.nn.norm import LayerNorm
from seesay.nn.patches import PatchEmbedding


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gradients(result: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(result, inputs, noise(*result.shape, seed=9).to(result.dtype))


def near(found: Tensor, wanted: Tensor, within: float) -> None:
    assert (found.float() - wanted).norm() <= within * wanted.norm()


def ragged(length: int) -> Tensor:
    """What a causal text tower allows texts of different lengths."""
    lengths = torch.tensor([[length], [3], [1]])
    return causal(length) & padding(torch.arange(length) < lengths)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("length", [7, SHORT, SHORT + 1])
def test_attention_that_trains_in_bfloat16(length: int, masked: bool) -> None:
    heads = noise(3, 3, 2, length, 16)
    mask = ragged(length) if masked else None
    exact = heads.clone().requires_grad_()
    wanted = F.scaled_dot_product_attention(*exact, attn_mask=mask)
    rounded = heads.bfloat16().requires_grad_()
    found = attention(*rounded, mask)
    near(found, wanted, 0.01)
    near(gradients(found, rounded)[0], gradients(wanted, exact)[0], 0.01)
    with torch.no_grad():
        near(attention(*rounded, mask), wanted, 0.01)


def test_attention_of_a_frozen_query_trains_its_keys() -> None:
    query, key = noise(1, 2, 4, 8).bfloat16(), noise(1, 2, 5, 8).bfloat16().requires_grad_()
    found = gradients(attention(query, key, key), key)[0]
    exact = key.detach().float().requires_grad_()
    near(found, gradients(attention(query.float(), exact, exact), exact)[0], 0.02)


def test_a_query_that_may_see_nothing_leaves_no_gradient_infinite() -> None:
    heads = noise(3, 1, 1, 4, 8).bfloat16().requires_grad_()
    found = attention(*heads, torch.zeros(4, 4, dtype=torch.bool))
    assert found.isfinite().all()
    assert gradients(found, heads)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_norm_in_single_precision_of_a_half_precision_stream(dtype: torch.dtype) -> None:
    norm = LayerNorm(24)
    norm.weight.data, norm.bias.data = noise(24, seed=1), noise(24, seed=2)
    x = (noise(2, 5, 24, seed=3) * 4 + 2).to(dtype).requires_grad_()
    found = norm(x)
    exact = x.detach().float().requires_grad_()
    wanted = F.layer_norm(exact, (24,), norm.weight, norm.bias)
    assert found.dtype == dtype
    near(found, wanted, 0.005)
    got, expected = (
        gradients(y, i, norm.weight, norm.bias) for y, i in ((found, x), (wanted, exact))
    )
    assert got[1].dtype == torch.float32  # what the optimiser keeps stays exact
    for a, b in zip(got, expected, strict=True):
        near(a, b, 0.005)


def test_quick_gelu_is_its_formula() -> None:
    x = (noise(1000) * 5).double().requires_grad_()
    wanted = x * torch.sigmoid(1.702 * x)
    torch.testing.assert_close(quick_gelu(x), wanted)
    torch.testing.assert_close(gradients(quick_gelu(x), x), gradients(wanted, x))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_patches_are_a_convolution(bias: bool, layout: torch.memory_format) -> None:
    patches = PatchEmbedding(3, 20, 4, bias)
    pixels = noise(2, 3, 19, 22).contiguous(memory_format=layout).requires_grad_()
    found = patches(pixels)
    wanted = F.conv2d(pixels, patches.weight, patches.bias, stride=4)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    inputs = (pixels, *patches.parameters())
    for a, b in zip(gradients(found, *inputs), gradients(wanted, *inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_block_under_autocast_has_the_gradients_of_full_precision() -> None:
    torch.manual_seed(0)
    block = PreNormBlock(32, 4, 96, "quick_gelu")
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.2)
    x = noise(3, 9, 32)
    wanted = gradients(block(x, ragged(9)), *block.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        found = block(x.bfloat16(), ragged(9))
    got = gradients(found, *block.parameters())
    for (name, _), a, b in zip(block.named_parameters(), got, wanted, strict=True):
        if name == "attention.k_proj.bias":  # moves all scores of a query alike: nothing
            continue
        assert F.cosine_similarity(a.flatten(), b.flatten(), dim=0) > 0.999, name
