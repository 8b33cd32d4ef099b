"""Attention masks: boolean, True where a query (row) may attend to a key (column).

Masks combine with `&`. They broadcast against attention scores [B, H, L, S].
"""

from __future__ import annotations

import torch
from torch import Tensor


def causal(length: int, device: torch.device | str | None = None) -> Tensor:
    """Return [L, L]: each position sees itself and what came before it."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def padding(mask: Tensor) -> Tensor:
    """Return [B, 1, 1, S] from a token mask [B, S] that is True where a token counts."""
    return mask.bool()[:, None, None, :]


def added(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Return a mask as what is added to scores: 0 where a query may attend, else minus infinity."""
    if mask is None:
        return None
    zeros = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    return zeros.masked_fill_(~mask, -torch.inf)
