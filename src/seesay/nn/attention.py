"""Scaled dot-product attention and the multi-head layer around it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHORT = 512
"""Up to so many keys, the scores take no more memory than the rest of what a block keeps."""


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return softmax(query key^T / sqrt(d)) value.

    Args:
        query: [B, H, L, d].
        key: [B, H, S, d].
        value: [B, H, S, d].
        mask: Broadcastable to [B, H, L, S]. Boolean: True where the query may attend to the key;
            else numbers that are added to the scores.
    """
    if _trains_slowly(query, key):
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)  # [B, H, L, S]
        if mask is not None and mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        elif mask is not None:
            scores = scores + mask
        return scores.softmax(-1) @ value  # type: ignore[no-any-return]
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def _trains_slowly(query: Tensor, key: Tensor) -> bool:
    """Whether torch's fused kernel takes longer than its parts: 1.5 to 5 times, measured.

    That is its backward pass in bfloat16 on processors; elsewhere the fused kernel is as fast or
    faster, and needs less memory.
    """
    return (
        torch.is_grad_enabled()
        and (query.requires_grad or key.requires_grad)
        and query.device.type == "cpu"
        and query.dtype == torch.bfloat16
        and key.shape[-2] <= SHORT
    )


def as_autocast(x: Tensor) -> Tensor:
    """Return x as autocast gives it to products, so that the three that read it share one copy."""
    if not torch.is_autocast_enabled(x.device.type):
        return x
    return x.to(torch.get_autocast_dtype(x.device.type))


class MultiHeadAttention(nn.Module):
    """Multi-head attention of tokens on themselves or on a source.

    The projections are separate modules, so that adapters, key maps and packing address each of
    them by the same name in every network.

    Paper: arXiv 1706.03762, section 3.2.2.  Reference: torch, nn.MultiheadAttention.
    Differs: separate query, key and value projections; boolean masks mean "may attend".
    Shapes: x [B, L, D], source [B, S, D] -> [B, L, out_width].

    Args:
        width: D; divisible by `num_heads`.
        num_heads: H.
        out_width: Width of the result, D when None.
    """

    def __init__(self, width: int, num_heads: int, out_width: int | None = None) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"width {width} is not a multiple of num_heads {num_heads}")
        self.num_heads = num_heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, out_width or width)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, source: Tensor | None = None
    ) -> Tensor:
        """Attend from `x` to `source`, or to `x` itself.

        Args:
            x: [B, L, D].
            mask: As in `attention`.
            source: [B, S, D]; `x` when None.
        """
        source = x if source is None else source
        query = self._split(self.q_proj(x))  # [B, H, L, d]
        key = self._split(self.k_proj(source))  # [B, H, S, d]
        value = self._split(self.v_proj(source))
        mixed = attention(query, key, value, mask)  # [B, H, L, d]
        return self.out_proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        shape = (*x.shape[:2], self.num_heads, x.shape[-1] // self.num_heads)  # B may be 0
        return x.reshape(shape).transpose(1, 2)
