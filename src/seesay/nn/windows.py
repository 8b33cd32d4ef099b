"""Square windows over a map of tokens: cutting, joining, shifting, and who sees whom inside one.

Maps are channels last, [B, rows, columns, D], so that the tokens of a window lie in memory as
linear layers and norms read them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pad(x: Tensor, multiple: int) -> Tensor:
    """Return a map with zeros at the bottom and right, so that both sides are multiples.

    Args:
        x: [B, rows, columns, D]; returned itself when there is nothing to add.
        multiple: Side of a window.
    """
    below, right = -x.shape[1] % multiple, -x.shape[2] % multiple
    return F.pad(x, (0, 0, 0, right, 0, below)) if below or right else x


def partition(x: Tensor, size: int) -> Tensor:
    """Cut a map into windows: [B, rows, columns, D] -> [B * W, size * size, D].

    The W windows of one map follow each other row by row, as do the tokens of a window.

    Args:
        x: Its sides are multiples of `size`.
        size: Side of a window in tokens.
    """
    batch, rows, columns, width = x.shape
    cut = x.reshape(batch, rows // size, size, columns // size, size, width)
    return cut.transpose(2, 3).reshape(-1, size * size, width)


def merge(windows: Tensor, size: int, rows: int, columns: int) -> Tensor:
    """Join windows to the map they were cut from: the inverse of `partition`.

    Args:
        windows: [B * W, size * size, D].
        size: Side of a window in tokens.
        rows: Of the map.
        columns: Of the map.
    """
    width = windows.shape[-1]
    cut = windows.reshape(-1, rows // size, columns // size, size, size, width)
    return cut.transpose(2, 3).reshape(-1, rows, columns, width)


def shift(x: Tensor, by: int) -> Tensor:
    """Move a map [B, rows, columns, D] up and left, around the border; `by` < 0 moves it back."""
    return torch.roll(x, (-by, -by), (1, 2)) if by else x


def shifted_mask(
    rows: int, columns: int, size: int, by: int, device: torch.device | str | None = None
) -> Tensor:
    """Return who may attend to whom in the windows of a shifted map, [W, size * size, size * size].

    What came around the border lies beside strangers. Tokens see each other where they were
    neighbours before, which splits the last row and the last column of windows.

    Args:
        rows: Of the map, a multiple of `size`.
        columns: Of the map, a multiple of `size`.
        size: Side of a window in tokens.
        by: How far the map was shifted; less than `size`.
        device: Where to make it.
    """
    down = torch.arange(rows, device=device) >= rows - by
    right = torch.arange(columns, device=device) >= columns - by
    region = 2 * down[:, None] + right[None, :]  # [rows, columns], windows keep the rest apart
    region = partition(region[None, :, :, None], size)[..., 0]  # [W, size * size]
    return region[:, :, None] == region[:, None, :]


def relative_bias(table: Tensor, size: int) -> Tensor:
    """Return what the offset between two tokens of a window adds to their score, [H, L, L].

    Query (i, j) and key (k, l) read the row of the table for the offset (i - k, j - l). A window
    smaller than the one the table was made for reads its middle.

    Args:
        table: [(2 * trained - 1) ** 2, H], a row for each offset, the most negative ones first.
        size: Side of the window in tokens, at most the trained one; L = size * size.
    """
    side = round(len(table) ** 0.5)
    cut = (side + 1) // 2 - size
    offsets = table.view(side, side, -1)[cut : side - cut, cut : side - cut]  # [2 size - 1] twice
    # unfolded, (i, j, H, m, n) reads (i + m, j + n): the key's place counted from the far end
    places = offsets.unfold(0, size, 1).unfold(1, size, 1).flip(-2, -1)
    return places.permute(2, 0, 1, 3, 4).reshape(-1, size * size, size * size)
