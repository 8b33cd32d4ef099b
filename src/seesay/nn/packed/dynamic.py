"""8-bit products for what runs once a token: the linear layers of a step of writing.

A step multiplies a few rows with all weights, and takes as long as these take to arrive from
memory: half the bytes, little more than half the time. Weights have a scale per output, and every
row of activations its own, found when it comes. So sums of integers are exact and a row's result
does not depend on the rows beside it.

Which layers a step runs through is found out by taking a few on a made-up prompt. A layer that
8-bit products would change too much stays as it is, and a model whose scores change too much all
the same is refused.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.errors import UsageError
from seesay.nn.packed.plain import Packed, PackedLinear, apply_activation
from seesay.nn.packed.quantised import can_quantise

LAYER_COSINE = 0.999
"""A layer is quantised when every row that comes out of it keeps at least this cosine."""

SCORES_COSINE = 0.98
"""A model is quantised when its scores of the next token, less their mean, keep this cosine."""

LEVELS = 127
"""The largest whole number that stands for a weight or an activation."""

MANY = 8
"""A layer with more outputs than so many times its inputs gives scores of a vocabulary."""

Begin = Callable[[nn.Module], Callable[[], Tensor]]
"""Reads a made-up prompt with a module, and returns what takes some steps and returns the scores
[N, V] that they gave."""


def quantise_steps(module: nn.Module, begin: Begin) -> bool:
    """Quantise the packed linear layers that a step of a generator runs through, in place.

    Args:
        module: A generator that is packed.
        begin: What to try it on.

    Returns:
        Whether any were quantised.

    Raises:
        UsageError: The scores of tokens are too far from what they were.
    """
    if not can_quantise():
        return False
    seen: dict[PackedLinear, list[Tensor]] = {}
    with torch.no_grad():
        steps = begin(module)
        handles = [
            layer.register_forward_pre_hook(
                lambda layer, inputs: seen.setdefault(layer, []).append(inputs[0])
            )
            for layer in module.modules()
            if isinstance(layer, PackedLinear)
        ]
        try:
            before = steps()
        finally:
            for handle in handles:
                handle.remove()
        tried = {layer: _try(layer, inputs) for layer, inputs in seen.items()}
        bearing = {layer: quantised for layer, quantised in tried.items() if quantised is not None}
        _replace(module, bearing)
        if bearing:
            _check(before, begin(module)())
    return bool(bearing)


def _try(layer: PackedLinear, inputs: list[Tensor]) -> DynamicLinear | None:
    """Return the quantised layer, or None if it changes what was seen too much."""
    quantised = DynamicLinear(layer)
    x = torch.cat([x.flatten(0, -2) for x in inputs])
    cosine = F.cosine_similarity(layer(x).float(), quantised(x).float(), dim=-1).min()
    return quantised if cosine >= LAYER_COSINE else None


def _replace(module: nn.Module, by: dict[PackedLinear, DynamicLinear]) -> None:
    """Put quantised layers into the place of others, wherever these are."""
    for parent in list(module.modules()):
        for name, child in list(parent._modules.items()):
            if isinstance(child, PackedLinear) and child in by:
                setattr(parent, name, by[child])


def _check(before: Tensor, after: Tensor) -> None:
    before, after = (s.float() - s.float().mean(-1, keepdim=True) for s in (before, after))
    cosine = F.cosine_similarity(before, after, dim=-1).min()
    if cosine < SCORES_COSINE:
        raise UsageError(
            f"8-bit products would change this model's scores of tokens too much: cosine "
            f"{float(cosine):.4f}, at least {SCORES_COSINE} is wanted",
            "optimize=True keeps its precision",
        )


class DynamicLinear(Packed):
    """`PackedLinear` with weights of 8 bits, and activations rounded to 8 bits row by row.

    Scores of a vocabulary come in float32, which is what they are compared in.

    Shapes: [..., in] -> [..., out].
    """

    def __init__(self, layer: PackedLinear) -> None:
        super().__init__(layer.dtype)
        weight = layer.plain_weight().float()  # [out, in]
        steps = weight.abs().amax(1).clamp_min(1e-12) / LEVELS
        whole = (weight / steps[:, None]).round_().to(torch.int8)
        self.weight = torch.ops.onednn.qlinear_prepack(whole, None)
        self.steps = steps / LEVELS
        self.offsets = torch.zeros(len(weight), dtype=torch.int64)
        self.bias = None if layer.bias is None else layer.bias.float()
        self.activation = layer.activation
        self.result = torch.float32 if len(weight) > MANY * weight.shape[1] else layer.dtype

    def forward(self, x: Tensor) -> Tensor:
        """Round, multiply, add the bias, apply the activation."""
        self.refuse_gradients(x)
        x = x.float()
        loudest = x.abs().amax(-1, keepdim=True)  # of zeros, rows are nan, multiplied by zero below
        whole = torch.addcdiv(_MIDDLE, x, loudest, value=LEVELS).to(torch.uint8)
        y: Tensor = torch.ops.onednn.qlinear_pointwise(
            whole, 1.0, 128, self.weight, self.steps, self.offsets, None,
            1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        y = y.mul_(loudest) if self.bias is None else torch.addcmul(self.bias, y, loudest)
        return apply_activation(self.activation, y).to(self.result)

    def add_to(self, stream: Tensor, x: Tensor) -> Tensor:
        """Return `stream` plus what `forward` makes of `x`."""
        return stream + self(x)  # type: ignore[no-any-return]


_MIDDLE = torch.tensor(128.5)
"""Zero as a byte, and the half that makes cutting off digits rounding."""
