"""Packed layers that compute in the precision of their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.device import onednn_takes_bf16
from seesay.errors import UsageError
from seesay.nn.attention import KeysValues, MultiHeadAttention, SourceAttention, attention, heads
from seesay.nn.blocks import PreNormBlock
from seesay.nn.mlp import ACTIVATIONS, Mlp
from seesay.nn.norm import LayerNorm
from seesay.nn.patches import PatchEmbedding

QUICK_GELU_SLOPE = 1.702


def has_onednn() -> bool:
    """Whether this build of torch and this processor multiply from packed weights."""
    ops = torch.ops.mkldnn
    return (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(ops, "_linear_pointwise")
        and hasattr(ops, "_reorder_linear_weight")
    )


def can_multiply(dtype: torch.dtype) -> bool:
    """Whether packed weights of this type are multiplied natively."""
    if dtype == torch.bfloat16:
        return has_onednn() and onednn_takes_bf16()
    return dtype == torch.float32 and has_onednn()


class Packed(nn.Module):
    """What packed modules refuse, with the way out. Their weights are not parameters."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.training = False

    def train(self, mode: bool = True) -> Self:
        """Refuse training mode; evaluation is what they are in anyway."""
        if mode:
            self.refuse("trained")
        return super().train(False)

    def refuse(self, what: str) -> NoReturn:
        """Raise the error that names what cannot be done."""
        raise UsageError(f"a model packed for inference cannot be {what}", "load without optimize")

    def refuse_gradients(self, x: Tensor) -> None:
        """Raise when somebody will want a gradient of what is computed from `x`."""
        if x.requires_grad and torch.is_grad_enabled():
            self.refuse("differentiated")

    def _save_to_state_dict(self, *_args: Any, **_kwargs: Any) -> None:
        self.refuse("saved")

    def _load_from_state_dict(self, *_args: Any, **_kwargs: Any) -> None:
        self.refuse("loaded into")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # `.to()` of what it is already is harmless and common
        before = torch.empty(0, dtype=self.dtype)
        after = fn(before)
        if (after.dtype, after.device) != (before.dtype, before.device):
            self.refuse("moved to another device or type")
        return super()._apply(fn, recurse)  # type: ignore[no-any-return, no-untyped-call]


class PackedLinear(Packed):
    """A linear layer and perhaps the activation after it.

    Shapes: [..., in] -> [..., out].

    Args:
        weight: [out, in].
        bias: [out], or None.
        activation: A name in `seesay.nn.mlp.ACTIVATIONS`, or "swish", or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str | None = None) -> None:
        super().__init__(weight.dtype)
        self.out_features, self.in_features = weight.shape
        self.bias = None if bias is None else bias.detach()
        self.activation = activation
        self.native = can_multiply(weight.dtype)
        self.post_op = _POST_OPS.get(activation) if self.native else None
        self.after = None if self.post_op or activation is None else _ACTIVATIONS[activation]
        # contiguous: oneDNN's reorder takes the tensor's memory as it lies
        self.weight = weight.detach().contiguous()
        if self.native:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply, add the bias, apply the activation."""
        self.refuse_gradients(x)
        if self.native:
            name, algorithm = self.post_op or ("none", "")
            y = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, name, [], algorithm)
        else:
            y = F.linear(x, self.weight, self.bias)
        return y if self.after is None else self.after(y)

    def plain_weight(self) -> Tensor:
        """Return the weight [out, in] as it was given."""
        return self.weight.to_dense() if self.native else self.weight

    def add_to(self, stream: Tensor, x: Tensor) -> Tensor:
        """Return `stream` plus what `forward` makes of `x`, for a layer without activation."""
        self.refuse_gradients(x)
        if not self.native:
            return stream + F.linear(x, self.weight, self.bias)
        stream = stream.contiguous()  # strides would take oneDNN's reference path
        return torch.ops.mkldnn._linear_pointwise.binary(  # type: ignore[no-any-return]
            x, stream, self.weight, self.bias, "add"
        )


_POST_OPS: dict[str | None, tuple[str, str]] = {
    None: ("none", ""),
    "gelu": ("gelu", "none"),
    "gelu_tanh": ("gelu", "tanh"),
    "swish": ("swish", ""),
}
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"swish": F.silu, **ACTIVATIONS}


def apply_activation(name: str | None, x: Tensor) -> Tensor:
    """Return x after an activation that a packed layer may have, or x itself."""
    return x if name is None else _ACTIVATIONS[name](x)


class PackedMlp(Packed):
    """`Mlp` with the activation inside its first product.

    x sigmoid(1.702 x) is swish(1.702 x) / 1.702, so QuickGELU becomes a post-operation by scaling
    the weights before and after it.
    """

    def __init__(self, mlp: Mlp) -> None:
        super().__init__(mlp.fc1.weight.dtype)
        before, after, activation = 1.0, 1.0, mlp.activation
        if activation == "quick_gelu":
            before, after, activation = QUICK_GELU_SLOPE, 1 / QUICK_GELU_SLOPE, "swish"
        self.fc1 = PackedLinear(
            scaled(mlp.fc1.weight, before), scaled(mlp.fc1.bias, before), activation
        )
        self.fc2 = PackedLinear(scaled(mlp.fc2.weight, after), mlp.fc2.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token on its own."""
        return self.fc2(self.fc1(x))  # type: ignore[no-any-return]


def scaled(weight: Tensor, factor: float) -> Tensor:
    """Return weight times factor, rounded once."""
    return (weight.detach().double() * factor).to(weight.dtype)


class PackedAttention(Packed):
    """`MultiHeadAttention` with one product for the queries, keys and values of the same tokens.

    Attending to a source takes two of them, of which parts are thrown away; the layers that do it
    are few.
    """

    def __init__(self, layer: MultiHeadAttention) -> None:
        super().__init__(layer.q_proj.weight.dtype)
        self.num_heads = layer.num_heads
        self.qkv = PackedLinear(*fused(layer))
        self.out_proj = PackedLinear(layer.out_proj.weight, layer.out_proj.bias)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, source: Tensor | None = None
    ) -> Tensor:
        """Attend from `x` [B, L, D] to `source` [B, S, D], or to `x` itself."""
        return self.mix(*self.project(x, source), mask)

    def project(self, x: Tensor, source: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries [B, H, L, d] of x, and keys and values [B, H, S, d] of its source."""
        query, key, value = split(self.qkv(x), self.num_heads)
        if source is not None and source is not x:
            _, key, value = split(self.qkv(source), self.num_heads)
        return query, key, value

    def mix(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Return what the queries find [B, L, D]."""
        return self.out_proj(mix(query, key, value, mask))  # type: ignore[no-any-return]


class PackedSourceAttention(Packed):
    """`SourceAttention` with one product for the keys and values of a source."""

    def __init__(self, layer: SourceAttention) -> None:
        super().__init__(layer.q_proj.weight.dtype)
        self.num_heads = layer.num_heads
        self.q_proj = PackedLinear(layer.q_proj.weight, layer.q_proj.bias)
        read = (layer.k_proj, layer.v_proj)
        self.kv_proj = PackedLinear(
            torch.cat([p.weight.detach() for p in read]), torch.cat([p.bias.detach() for p in read])
        )
        self.out_proj = PackedLinear(layer.out_proj.weight, layer.out_proj.bias)

    def read(self, source: Tensor) -> KeysValues:
        """Return the keys and values of a source [B, S, D']."""
        key, value = self.kv_proj(source).chunk(2, -1)
        return heads(key, self.num_heads), heads(value, self.num_heads)

    def forward(self, x: Tensor, read: KeysValues, mask: Tensor | None = None) -> Tensor:
        """Attend from x [B * n, L, D] to what was read."""
        queries = x.reshape(len(read[0]), -1, x.shape[-1])
        query = heads(self.q_proj(queries), self.num_heads)
        return self.out_proj(mix(query, *read, mask).reshape(x.shape))  # type: ignore[no-any-return]


def mix(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Return the heads' results [B, L, D], before the output projection."""
    return attention(query, key, value, mask).transpose(1, 2).flatten(2)


def split(qkv: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """[B, L, 3 D] to queries, keys and values [B, H, L, d]."""
    batch, length, width = qkv.shape
    heads = qkv.view(batch, length, 3, num_heads, width // (3 * num_heads))
    query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
    return query, key, value


class Projections(Protocol):
    """Whatever makes queries, keys and values of tokens, and projects what they find."""

    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear
    out_proj: nn.Linear


def fused(layer: Projections) -> tuple[Tensor, Tensor]:
    """Return weight [3 D, D] and bias [3 D] of the three projections of an attention layer."""
    projections = (layer.q_proj, layer.k_proj, layer.v_proj)
    return (
        torch.cat([p.weight.detach() for p in projections]),
        torch.cat([p.bias.detach() for p in projections]),
    )


class PackedBlock(Packed):
    """`PreNormBlock` whose products add to the residual stream themselves."""

    def __init__(self, block: PreNormBlock) -> None:
        super().__init__(block.mlp.fc1.weight.dtype)
        self.attention_norm = block.attention_norm
        self.attention = PackedAttention(block.attention)
        self.mlp_norm = block.mlp_norm
        self.mlp = PackedMlp(block.mlp)

    def forward(self, x: Tensor, mask: Tensor | None = None, queries: int | None = None) -> Tensor:
        """Transform the residual stream as `PreNormBlock` does."""
        heads = self.attention
        query, key, value = split(heads.qkv(self.attention_norm(x)), heads.num_heads)
        mixed = mix(query[:, :, :queries], key, value, mask)
        x = heads.out_proj.add_to(x[:, :queries], mixed)
        return self.mlp.fc2.add_to(x, self.mlp.fc1(self.mlp_norm(x)))


class PackedPatches(Packed):
    """`PatchEmbedding` from pixels that lie channels last in memory.

    Shapes: [B, c, h, w] -> [B, D, h / patch, w / patch]; what lies past the last whole patch is
    not seen.
    """

    def __init__(self, conv: PatchEmbedding) -> None:
        super().__init__(conv.weight.dtype)
        self.rows, self.columns = conv.kernel_size
        # channels last, as the pixels lie in memory
        weight = conv.weight.detach().permute(0, 2, 3, 1).flatten(1)
        self.project = PackedLinear(weight, conv.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """Cut into patches and project each."""
        batch, channels, h, w = pixels.shape
        height, width = h // self.rows, w // self.columns
        whole = pixels[..., : height * self.rows, : width * self.columns].permute(0, 2, 3, 1)
        tiles = whole.reshape(batch, height, self.rows, width, self.columns, channels)
        patches = tiles.transpose(2, 3).flatten(3)  # [B, rows, columns, patch * patch * c]
        return self.project(patches).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


class PackedConv(Packed):
    """A convolution and the clamp to 0..6 after it, if any: what `packed` methods return parts of.

    The clamp is where the time goes: on its own it reads and writes a map several times as large as
    the picture.

    Shapes: [B, c, h, w] -> [B, D, h', w'], channels last.
    """

    def __init__(self, conv: nn.Conv2d, relu6: bool) -> None:
        super().__init__(conv.weight.dtype)
        self.kernel_size, self.stride = conv.kernel_size, conv.stride
        assert not isinstance(conv.padding, str)
        self.geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self.relu6 = relu6
        self.native = can_multiply(self.dtype)
        self.weight = conv.weight.detach().contiguous()
        self.bias = None if conv.bias is None else conv.bias.detach()
        if self.native:
            reorder = torch.ops.mkldnn._reorder_convolution_weight
            self.weight = reorder(self.weight, *self.geometry)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and clamp."""
        self.refuse_gradients(x)
        padding, stride, dilation, groups = self.geometry
        if not self.native:
            y = F.conv2d(x, self.weight, self.bias, stride, padding, dilation, groups)
            return F.relu6(y) if self.relu6 else y
        post_op, bounds = ("hardtanh", [0.0, 6.0]) if self.relu6 else ("none", [])
        return torch.ops.mkldnn._convolution_pointwise(  # type: ignore[no-any-return]
            x, self.weight, self.bias, *self.geometry, post_op, bounds, ""
        )


def pack_linear(layer: nn.Linear) -> nn.Module:
    """Return the packed counterpart of a linear layer."""
    return PackedLinear(layer.weight, layer.bias)


def is_plain(module: nn.Module) -> bool:
    """Whether a module is made of the expected parts alone: no adapter took the place of one."""
    attentions = (MultiHeadAttention, SourceAttention)
    parts = (PreNormBlock, *attentions, Mlp, LayerNorm, nn.Linear, nn.Conv2d, PatchEmbedding)
    return all(type(part) in parts for part in module.modules())


PACKERS: Mapping[type[nn.Module], Callable[[Any], nn.Module]] = {
    nn.Linear: pack_linear,
    PatchEmbedding: PackedPatches,
    Mlp: PackedMlp,
    MultiHeadAttention: PackedAttention,
    SourceAttention: PackedSourceAttention,
    PreNormBlock: PackedBlock,
}
"""Module type -> what makes its packed counterpart."""
