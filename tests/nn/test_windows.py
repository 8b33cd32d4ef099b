"""Windows against loops over every pair of tokens, and stochastic depth against its definition."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from seesay.nn import windows
from seesay.nn.droppath import DropPath, set_drop_path

SIZES = pytest.mark.parametrize(("rows", "columns", "size"), [(6, 9, 3), (8, 4, 2), (5, 10, 5)])


def counted(batch: int, rows: int, columns: int, width: int = 2) -> Tensor:
    """A map whose every entry is another number."""
    return torch.arange(batch * rows * columns * width).view(batch, rows, columns, width)


@SIZES
def test_windows_follow_each_other_row_by_row(rows: int, columns: int, size: int) -> None:
    x = counted(2, rows, columns)
    cut = windows.partition(x, size)
    each = [
        x[image, top : top + size, left : left + size].flatten(0, 1)
        for image in range(2)
        for top in range(0, rows, size)
        for left in range(0, columns, size)
    ]
    assert torch.equal(cut, torch.stack(each))
    assert torch.equal(windows.merge(cut, size, rows, columns), x)


def test_padding_is_zeros_at_the_bottom_and_right() -> None:
    x = counted(2, 5, 7) + 1
    padded = windows.pad(x, 4)
    assert padded.shape == (2, 8, 8, 2)
    assert torch.equal(padded[:, :5, :7], x)
    assert padded.sum() == x.sum()
    assert windows.pad(x, 1) is x
    assert windows.pad(x[:, :4, :4], 4).data_ptr() == x.data_ptr()


def test_a_shift_goes_around_the_border_and_back() -> None:
    x = counted(2, 5, 7)
    moved = windows.shift(x, 2)
    assert torch.equal(moved[:, 0, 0], x[:, 2, 2])
    assert torch.equal(moved[:, -1, -1], x[:, 1, 1])
    assert torch.equal(windows.shift(moved, -2), x)
    assert windows.shift(x, 0) is x


@SIZES
@pytest.mark.parametrize("by", [0, 1])
def test_tokens_see_those_they_stood_beside_before_the_shift(
    rows: int, columns: int, size: int, by: int
) -> None:
    """Two tokens know each other when they are as far apart in the window as in the map."""
    places = windows.shift(counted(1, rows, columns, 1), by)  # where each token stood
    cut = windows.partition(places, size)[..., 0]
    allowed = windows.shifted_mask(rows, columns, size, by)
    assert allowed.shape == (len(cut), size * size, size * size)
    for window, mask in zip(cut.tolist(), allowed, strict=True):
        for a, query in enumerate(window):
            for b, key in enumerate(window):
                down = query // columns - key // columns == a // size - b // size
                right = query % columns - key % columns == a % size - b % size
                assert bool(mask[a, b]) == (down and right)


@pytest.mark.parametrize("size", [4, 3, 1])
def test_the_bias_of_two_tokens_is_that_of_their_offset(size: int) -> None:
    trained, heads = 4, 3
    table = torch.randn((2 * trained - 1) ** 2, heads)
    bias = windows.relative_bias(table, size)
    assert bias.shape == (heads, size * size, size * size)
    for query in range(size * size):
        for key in range(size * size):
            down, right = query // size - key // size, query % size - key % size
            row = (down + trained - 1) * (2 * trained - 1) + right + trained - 1
            assert torch.equal(bias[:, query, key], table[row])


def test_gradients_of_the_bias_reach_each_offset_as_often_as_it_occurs() -> None:
    table = torch.zeros(25, 2, requires_grad=True)
    windows.relative_bias(table, 3).sum().backward()
    assert table.grad is not None
    times = [(3 - abs(down)) * (3 - abs(right)) for down in range(-2, 3) for right in range(-2, 3)]
    assert table.grad[:, 1].tolist() == times


# -- stochastic depth -----------------------------------------------------------------------------


def dropping(rate: float) -> DropPath:
    layer = DropPath()
    layer.rate = rate
    return layer


def test_a_branch_is_kept_or_left_out_for_a_whole_sample_and_its_mean_stays() -> None:
    torch.manual_seed(0)
    out = dropping(0.25).train()(torch.ones(4000, 2, 3))
    assert set(out.unique().tolist()) == {0.0, float(torch.tensor(1.0) / 0.75)}
    assert torch.equal(out, out[:, :1, :1].expand_as(out))
    assert math.isclose(float(out.mean()), 1.0, abs_tol=0.04)


def test_outside_training_it_is_not_there() -> None:
    x = torch.ones(3, 2)
    assert dropping(0.9).eval()(x) is x
    assert DropPath().train()(x) is x


def test_rates_grow_from_nothing_to_the_last_block() -> None:
    blocks = nn.Sequential(*(DropPath() for _ in range(5)))
    assert set_drop_path(blocks, 0.2) == 5
    assert [block.rate for block in blocks] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert set_drop_path(nn.Linear(2, 2), 0.2) == 0


@pytest.mark.parametrize("rate", [1.0, -0.1, float("nan")])
def test_impossible_rates_are_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="drop path"):
        set_drop_path(DropPath(), rate)
