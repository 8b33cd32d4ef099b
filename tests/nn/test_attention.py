"""Attention is the textbook formula, and a mask says who may attend to whom."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from seesay.nn.attention import MultiHeadAttention, attention
from seesay.nn.masks import causal, padding


def textbook(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(-1) @ value


@pytest.fixture
def heads() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 3, 5, 8, generator=generator)
    return query, *torch.randn(2, 2, 3, 7, 8, generator=generator).unbind(0)


@pytest.mark.parametrize("masked", [False, True])
def test_it_is_softmax_of_scaled_products(
    heads: tuple[Tensor, Tensor, Tensor], masked: bool
) -> None:
    mask = padding(torch.arange(7) < torch.tensor([[7], [3]])) if masked else None
    torch.testing.assert_close(attention(*heads, mask), textbook(*heads, mask))


def test_what_is_masked_has_no_influence() -> None:
    torch.manual_seed(0)
    layer, tokens = MultiHeadAttention(24, 3), torch.randn(2, 6, 24)
    visible = torch.arange(6) < torch.tensor([[6], [4]])
    changed = torch.where(visible[..., None], tokens, torch.randn(2, 6, 24))
    before, after = (layer(x, padding(visible)) for x in (tokens, changed))
    torch.testing.assert_close(before[1, :4], after[1, :4])


def test_the_past_does_not_see_the_future() -> None:
    torch.manual_seed(0)
    layer, tokens = MultiHeadAttention(24, 4), torch.randn(1, 6, 24)
    changed = torch.cat([tokens[:, :3], torch.randn(1, 3, 24)], 1)
    before, after = (layer(x, causal(6)) for x in (tokens, changed))
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])


def test_masks_combine_to_what_both_allow() -> None:
    both = causal(3) & padding(torch.tensor([[True, True, False]]))
    assert both.tolist() == [[[[True, False, False], [True, True, False], [True, True, False]]]]


def test_it_reads_from_a_source_of_another_length() -> None:
    torch.manual_seed(0)
    layer = MultiHeadAttention(24, 3, out_width=10)
    x, source = torch.randn(2, 1, 24), torch.randn(2, 9, 24)
    found = layer(x, source=source)
    assert found.shape == (2, 1, 10)
    torch.testing.assert_close(found, layer(x, source=source[:, torch.randperm(9)]))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="width 10 is not a multiple of num_heads 3"):
        MultiHeadAttention(10, 3)
