"""DaViT prepared for inference on a CPU: what the parts of `networks.davit` are replaced by.

Paper: arXiv 2204.03645.
Reference: networks/davit.py, whose results these are.
Differs: sums are taken in another order, so that results differ by rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seesay.nn import windows
from seesay.nn.attention import MultiHeadAttention
from seesay.nn.mlp import Mlp
from seesay.nn.norm import LayerNorm
from seesay.nn.packed.plain import (
    Packed,
    PackedConv,
    PackedLinear,
    PackedMlp,
    Projections,
    fused,
    mix,
    split,
)

ROWS = 2304
"""So many tokens at a time go through a feed-forward network: what is inside stays in the cache."""


class PackedHalf(Packed):
    """`AttentionBlock` on one stream of tokens that everything is added to where it lies.

    Shapes: [B, rows, columns, D] -> the same.

    Args:
        positions: What stands around a token, before the attention and before the feed-forward.
        norms: Likewise.
        attention: Adds to a stream.
        mlp: The feed-forward network.
    """

    def __init__(
        self,
        positions: tuple[nn.Conv2d, nn.Conv2d],
        norms: tuple[LayerNorm, LayerNorm],
        attention: PackedWindowAttention | PackedChannelAttention,
        mlp: Mlp,
    ) -> None:
        super().__init__(mlp.fc1.weight.dtype)
        self.attention_positions, self.mlp_positions = (PackedConv(p, False) for p in positions)
        self.attention_norm, self.mlp_norm = norms
        self.attention = attention
        self.mlp = PackedMlp(mlp)

    def forward(self, x: Tensor) -> Tensor:
        """Transform the residual stream."""
        x = placed(x, self.attention_positions)
        self.attention.add_to(x, self.attention_norm(x))
        x = placed(x, self.mlp_positions)
        for tokens in torch.split(x.view(-1, x.shape[-1]), ROWS):
            hidden = self.mlp.fc1(self.mlp_norm(tokens))
            tokens.copy_(self.mlp.fc2.add_to(tokens, hidden))
        return x


def placed(x: Tensor, positions: PackedConv) -> Tensor:
    """Return a map [B, rows, columns, D] and what stands around each token, in fresh memory."""
    found: Tensor = positions(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return found.contiguous().add_(x)


class PackedWindowAttention(Packed):
    """`WindowAttention` with one product for queries, keys and values."""

    def __init__(self, layer: MultiHeadAttention, size: int) -> None:
        super().__init__(layer.q_proj.weight.dtype)
        self.num_heads, self.size = layer.num_heads, size
        self.qkv = PackedLinear(*fused(layer))
        self.out_proj = PackedLinear(layer.out_proj.weight, layer.out_proj.bias)

    def add_to(self, stream: Tensor, x: Tensor) -> None:
        """Add to a stream [B, rows, columns, D] what the tokens x find in their windows."""
        rows, columns = x.shape[1:3]
        x = windows.pad(x, self.size)
        whole = x.shape[1:3]
        query, key, value = split(self.qkv(windows.partition(x, self.size)), self.num_heads)
        found = self.out_proj(mix(query, key, value, None))
        if whole == (rows, columns):  # joined and added in one pass
            cut = (rows // self.size, self.size, columns // self.size, self.size)
            there = stream.view(len(stream), *cut, stream.shape[-1]).transpose(2, 3)
            there.add_(found.view(there.shape))
        else:
            stream.add_(windows.merge(found, self.size, *whole)[:, :rows, :columns])


class PackedChannelAttention(Packed):
    """`ChannelAttention` without a copy of its tokens.

    The scores of all channels with all others are one product of matrices as they lie; those across
    groups are thrown away. The weights are multiplied into the output projection, which so reads
    the values themselves: out (weights value) = (out weights) value.
    """

    def __init__(self, layer: Projections, num_groups: int) -> None:
        super().__init__(layer.q_proj.weight.dtype)
        self.num_groups = num_groups
        self.qkv = PackedLinear(*fused(layer))
        weight = layer.out_proj.weight.detach()
        self.out_weight = weight.t().reshape(num_groups, -1, len(weight))  # [groups, c, D]
        self.out_bias = layer.out_proj.bias.detach()

    def add_to(self, stream: Tensor, x: Tensor) -> None:
        """Add to a stream [B, rows, columns, D] what the channels of x find in each other."""
        for to, image in zip(stream, x, strict=True):
            tokens = image.flatten(0, 1)  # [N, D]
            query, key, value = self.qkv(tokens).chunk(3, -1)
            scores = self.inside(query.t() @ key).float() * len(tokens) ** -0.5
            weights = scores.softmax(-1).to(value.dtype)  # [groups, c, c]
            mixing = (weights.transpose(1, 2) @ self.out_weight).flatten(0, 1)  # [D, D]
            to.add_(torch.addmm(self.out_bias, value, mixing).view(to.shape))

    def inside(self, scores: Tensor) -> Tensor:
        """Return the scores [groups, c, c] inside the groups, of those of all channels [D, D]."""
        width = len(scores) // self.num_groups
        cut = scores.view(self.num_groups, width, self.num_groups, width)
        return cut.diagonal(dim1=0, dim2=2).permute(2, 0, 1)
