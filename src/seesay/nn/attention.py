"""Scaled dot-product attention and the multi-head layer around it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHORT = 1024
"""Up to so many keys, the scores take no more memory than the rest of what a block keeps."""


def attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """Return softmax(query key^T / sqrt(d)) value.

    Args:
        query: [B, H, L, d].
        key: [B, H, S, d].
        value: [B, H, S, d].
        mask: Broadcastable to [B, H, L, S]. Boolean: True where the query may attend to the key;
            else numbers that are added to the scores.
        dropout: Part of the weights that is left out, the others being scaled up.
    """
    if _trains_slowly(query, key):
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)  # [B, H, L, S]
        if mask is not None and mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        elif mask is not None:
            scores = scores + mask
        return F.dropout(scores.softmax(-1), dropout) @ value
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)


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
        dropout: Part of the attention weights that is left out in training.
    """

    def __init__(
        self, width: int, num_heads: int, out_width: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        check_heads(width, num_heads)
        self.num_heads = num_heads
        self.dropout = dropout
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
        return self.mix(*self.project(x, source), mask)

    def project(self, x: Tensor, source: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries [B, H, L, d] of x, and keys and values [B, H, S, d] of its source."""
        source = x if source is None else source
        return (
            heads(self.q_proj(x), self.num_heads),
            heads(self.k_proj(source), self.num_heads),
            heads(self.v_proj(source), self.num_heads),
        )

    def mix(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Return what the queries find [B, L, D]."""
        mixed = attention(query, key, value, mask, self.dropout if self.training else 0.0)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


KeysValues = tuple[Tensor, Tensor]
"""Keys and values [B, H, S, d] of a source, computed once however often they are asked."""


class SourceAttention(nn.Module):
    """Multi-head attention of tokens on a source of another width, which is read once.

    Several rows of tokens may ask the same source: n texts about one image, or n beams of its
    caption, are n times as many queries of one row.

    Paper: arXiv 1706.03762, section 3.2.3.  Reference: salesforce/BLIP, models/med.py.
    Differs: nothing known.
    Shapes: x [B * n, L, D], source [B, S, D'] -> [B * n, L, D].

    Args:
        width: D; divisible by `num_heads`.
        num_heads: H.
        source_width: D'.
        dropout: Part of the attention weights that is left out in training.
    """

    def __init__(self, width: int, num_heads: int, source_width: int, dropout: float = 0.0) -> None:
        super().__init__()
        check_heads(width, num_heads)
        self.num_heads = num_heads
        self.dropout = dropout
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(source_width, width)
        self.v_proj = nn.Linear(source_width, width)
        self.out_proj = nn.Linear(width, width)

    def read(self, source: Tensor) -> KeysValues:
        """Return the keys and values of a source."""
        return heads(self.k_proj(source), self.num_heads), heads(
            self.v_proj(source), self.num_heads
        )

    def forward(self, x: Tensor, read: KeysValues, mask: Tensor | None = None) -> Tensor:
        """Attend to what was read.

        Args:
            x: [B * n, L, D], the n rows of a source side by side.
            read: What `read` returned.
            mask: As in `attention`, broadcastable to [B, H, n * L, S].
        """
        sources = len(read[0])  # may be 0
        each = x.shape[0] // max(1, sources)
        queries = x.reshape(sources, each * x.shape[1], x.shape[2])  # [B, n * L, D]
        query = heads(self.q_proj(queries), self.num_heads)
        mixed = attention(query, *read, mask, self.dropout if self.training else 0.0)
        return self.out_proj(mixed.transpose(1, 2).reshape(x.shape))  # type: ignore[no-any-return]


def heads(x: Tensor, num_heads: int) -> Tensor:
    """[B, L, D] to [B, H, L, d]."""
    shape = (*x.shape[:2], num_heads, x.shape[-1] // num_heads)  # B may be 0
    return x.reshape(shape).transpose(1, 2)


def check_heads(width: int, num_heads: int) -> None:
    """Raise ValueError unless the heads share the width evenly."""
    if width % num_heads:
        raise ValueError(f"width {width} is not a multiple of num_heads {num_heads}")
