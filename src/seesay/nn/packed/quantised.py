"""Transformer blocks whose products are between 8-bit integers.

Weights have one scale per output; activations one scale and zero point per product, fixed once on
pictures that are made up (`typical_pixels`), so that an image's vector does not depend on what else
is in its batch. Channels that are loud in the activations are made quieter there and louder in the
weights (SmoothQuant, arXiv 2211.10438, with exponent 1/2) where a norm stands before the product.

A block that 8-bit products would change too much stays as it is, and a model whose features change
too much all the same is refused.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.errors import UsageError
from seesay.nn.blocks import PreNormBlock
from seesay.nn.norm import LayerNorm
from seesay.nn.packed.plain import QUICK_GELU_SLOPE, Packed, fused, has_onednn, is_plain, mix, split

HEADROOM = 1.1
"""Ranges seen on made-up pictures are widened by this factor."""

BLOCK_COSINE = 0.995
"""A block is quantised when what it adds to the stream keeps at least this cosine."""

TOWER_COSINE = 0.999
"""A model is quantised when the features of each made-up picture keep at least this cosine."""

POST_OPS = {
    "gelu": (1.0, ("gelu", "none")),
    "gelu_tanh": (1.0, ("gelu", "tanh")),
    "quick_gelu": (QUICK_GELU_SLOPE, ("swish", "")),
}
"""Activation -> what its input is scaled by, and the operator's name and algorithm for it."""


@dataclass
class Observed:
    """What went through one block while it was watched.

    Attributes:
        loudest: Per place ("qkv", "out", "fc1", "fc2"), the largest magnitude of each channel.
        lowest: Per place, the smallest value.
        highest: Per place, the largest value.
        stream: Inputs of the block, to try its replacement on.
    """

    loudest: dict[str, Tensor] = field(default_factory=dict)
    lowest: dict[str, Tensor] = field(default_factory=dict)
    highest: dict[str, Tensor] = field(default_factory=dict)
    stream: Tensor | None = None

    def see(self, place: str, values: Tensor) -> None:
        """Keep what counts of the values [..., channels] that reach a place."""
        values = values.float().flatten(0, -2)
        self.loudest[place] = values.abs().amax(0)
        # zero is always inside, so that it stays exactly zero
        self.lowest[place] = values.amin(0).clamp_max(0)
        self.highest[place] = values.amax(0).clamp_min(0)


def can_quantise() -> bool:
    """Whether this build of torch and this processor multiply 8-bit integers."""
    return has_onednn() and hasattr(torch.ops.onednn, "qlinear_pointwise")


@dataclass
class Quantisation:
    """How the blocks of one model are quantised, and what its image tower gave before.

    Attributes:
        blocks: The blocks of the image tower that bear it, with their replacements.
        features: What the tower made of the made-up pictures, [B, ...].
    """

    blocks: dict[nn.Module, nn.Module]
    features: Tensor

    def check(self, module: nn.Module) -> None:
        """Compare the tower after all blocks were replaced.

        Raises:
            UsageError: Its features are no longer close enough to what they were.
        """
        after = _features(module)
        cosine = F.cosine_similarity(self.features.flatten(1), after.flatten(1)).min()
        if cosine < TOWER_COSINE:
            raise UsageError(
                f"8-bit products would change this model's image features too much: cosine "
                f"{float(cosine):.4f}, at least {TOWER_COSINE} is wanted",
                "optimize=True keeps its precision",
            )


def quantise(module: nn.Module) -> Quantisation | None:
    """Find out how a dual encoder's image tower is quantised; None where nothing can be."""
    if not (can_quantise() and hasattr(module, "encode_image")):
        return None
    watched = {
        block: Observed()
        for block in module.modules()
        if type(block) is PreNormBlock and is_plain(block) and block.mlp.activation in POST_OPS
    }
    with _watching(watched):
        features = _features(module)
    with warnings.catch_warnings():
        # torch says once that its quantised tensors will go; we need one operator's result only
        warnings.filterwarnings("ignore", message="torch.quantize_per_tensor")
        tried = {block: _try(block, seen) for block, seen in watched.items()}
    blocks: dict[nn.Module, nn.Module] = {b: q for b, q in tried.items() if q is not None}
    return Quantisation(blocks, features) if blocks else None


def _features(module: nn.Module) -> Tensor:
    # a scalar, as the logit scale, keeps its precision; the matrices say what the module's is
    dtype = next(p.dtype for p in module.parameters() if p.ndim > 1)
    pixels = typical_pixels().to(dtype)
    with torch.no_grad():
        features: Tensor = module.encode_image(pixels)  # type: ignore[operator]
    return features.float()


@contextmanager
def _watching(watched: dict[PreNormBlock, Observed]) -> Iterator[None]:
    handles = []
    for block, seen in watched.items():
        heads, mlp = block.attention, block.mlp
        for place, layer in (
            ("qkv", heads.k_proj),
            ("out", heads.out_proj),
            ("fc1", mlp.fc1),
            ("fc2", mlp.fc2),
        ):
            handles.append(
                layer.register_forward_pre_hook(
                    lambda _, inputs, see=seen.see, place=place: see(place, inputs[0])
                )
            )
        handles.append(
            block.register_forward_pre_hook(
                lambda _, inputs, seen=seen: setattr(seen, "stream", inputs[0][:2])
            )
        )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _try(block: PreNormBlock, seen: Observed) -> nn.Module | None:
    """Return the quantised block, or None if it was not reached or changes too much."""
    if seen.stream is None:
        return None
    quantised = QuantisedBlock(block, seen)
    with torch.no_grad():
        wanted = (block(seen.stream) - seen.stream).float().flatten()
        got = (quantised(seen.stream) - seen.stream).float().flatten()
    return quantised if F.cosine_similarity(wanted, got, dim=0) >= BLOCK_COSINE else None


class QuantisedBlock(Packed):
    """`PreNormBlock` with 8-bit products and a residual stream in full precision.

    Shapes: [B, L, D] -> [B, L, D].
    """

    def __init__(self, block: PreNormBlock, seen: Observed) -> None:
        dtype = block.mlp.fc1.weight.dtype
        super().__init__(dtype)
        heads, mlp = block.attention, block.mlp
        self.num_heads = heads.num_heads
        weight, bias = fused(heads)
        self.attention_norm, weight = balance(block.attention_norm, weight, seen, "qkv")
        self.qkv = QuantisedLinear(weight, bias, seen, "qkv", output=dtype)
        self.out_proj = QuantisedLinear(
            heads.out_proj.weight, heads.out_proj.bias, seen, "out", output=dtype
        )
        self.mlp_norm, weight = balance(block.mlp_norm, mlp.fc1.weight, seen, "fc1")
        slope, post_op = POST_OPS[mlp.activation]
        if slope != 1:
            seen.lowest["fc2"], seen.highest["fc2"] = (
                bound["fc2"] * slope for bound in (seen.lowest, seen.highest)
            )
        self.fc2 = QuantisedLinear(mlp.fc2.weight, mlp.fc2.bias, seen, "fc2", dtype, 1 / slope)
        self.fc1 = QuantisedLinear(
            weight, mlp.fc1.bias, seen, "fc1", torch.uint8, slope, self.fc2, post_op
        )

    def forward(self, x: Tensor, mask: Tensor | None = None, queries: int | None = None) -> Tensor:
        """Transform the residual stream as `PreNormBlock` does."""
        self.refuse_gradients(x)
        tokens = self.qkv.quantise(normalise(self.attention_norm, x))
        query, key, value = split(self.qkv(tokens), self.num_heads)
        mixed = mix(query[:, :, :queries], key, value, mask)
        x = self.out_proj(self.out_proj.quantise(mixed), x[:, :queries])
        hidden = self.fc1(self.fc1.quantise(normalise(self.mlp_norm, x)))
        return self.fc2(hidden, x)  # type: ignore[no-any-return]


def normalise(norm: LayerNorm, x: Tensor) -> Tensor:
    """Apply an fp32 norm and leave the result in fp32, which is what is quantised fastest."""
    return F.layer_norm(x.float(), norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def balance(
    norm: LayerNorm, weight: Tensor, seen: Observed, place: str
) -> tuple[LayerNorm, Tensor]:
    """Move loudness of channels from what a norm gives into the weights [out, in] behind it.

    Returns:
        A norm in fp32 that gives the quieter channels, and the louder weights; `seen` is updated.
    """
    loud = seen.loudest[place].clamp_min(1e-5)
    heavy = weight.detach().float().abs().amax(0).clamp_min(1e-5)
    by = (loud / heavy).sqrt()
    by = by / by.mean()
    seen.lowest[place], seen.highest[place] = seen.lowest[place] / by, seen.highest[place] / by
    quieter = LayerNorm(len(by), eps=norm.eps)
    with torch.no_grad():
        quieter.weight.copy_(norm.weight.float() / by)
        quieter.bias.copy_(norm.bias.float() / by)
    return quieter.requires_grad_(False), weight.detach().float() * by


class QuantisedLinear(Packed):
    """A linear layer from bytes to bytes or floats, and perhaps an activation after it.

    Args:
        weight: [out, in].
        bias: [out].
        seen: Ranges of the inputs at `place`.
        place: Which product of the block this is.
        output: Type of the result; uint8 is in the scale that `reader` wants.
        slope: The result before the activation is scaled by this.
        reader: The layer that reads a uint8 result.
        post_op: The activation, by the operator's name and algorithm.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        seen: Observed,
        place: str,
        output: torch.dtype,
        slope: float = 1.0,
        reader: QuantisedLinear | None = None,
        post_op: tuple[str, str] = ("none", ""),
    ) -> None:
        super().__init__(weight.dtype)
        low, high = float(seen.lowest[place].min()), float(seen.highest[place].max())
        self.scale = max(high - low, 1e-6) * HEADROOM / 255
        self.zero = min(255, max(0, round(-low * HEADROOM / self.scale)))
        weight = weight.detach().float() * slope
        steps = weight.abs().amax(1).clamp_min(1e-12) / 127
        whole = (weight / steps[:, None]).round().to(torch.int8)
        self.weight = torch.ops.onednn.qlinear_prepack(whole, None)
        self.steps, self.offsets = steps, torch.zeros(len(steps), dtype=torch.int64)
        self.bias = bias.detach().float() * (slope if reader is not None else 1.0)
        self.output = output
        self.output_scale = 1.0 if reader is None else reader.scale
        self.output_zero = 0 if reader is None else reader.zero
        self.post_op = post_op

    def quantise(self, x: Tensor) -> Tensor:
        """Round floats to the bytes that this layer reads."""
        rounded = torch.quantize_per_tensor(x.float(), self.scale, self.zero, torch.quint8)
        # the same memory as plain bytes; int_repr() would copy it
        plain = torch.empty(0, dtype=torch.uint8)
        return plain.set_(rounded.untyped_storage(), 0, rounded.size(), rounded.stride())

    def forward(self, x: Tensor, stream: Tensor | None = None) -> Tensor:
        """Multiply bytes [..., in]; with a stream [..., out], return the sum with it."""
        operator = torch.ops.onednn.qlinear_pointwise
        product = (x, self.scale, self.zero, self.weight, self.steps, self.offsets)
        result = (self.output_scale, self.output_zero, self.output)
        if stream is None:
            name, algorithm = self.post_op
            return operator(*product, self.bias, *result, name, [], algorithm)  # type: ignore[no-any-return]
        stream = stream.contiguous()  # strides would take oneDNN's reference path
        return operator.binary(  # type: ignore[no-any-return]
            *product, stream, self.bias, *result, 1.0, 0, "add", 1.0, "none", [], ""
        )


def typical_pixels(count: int = 8, size: int = 224) -> Tensor:
    """Return made-up pictures [count, 3, size, size], normalised, the same ones on every call.

    Clouds with the spectrum of photographs (amplitude falls as 1 / frequency) behind opaque
    rectangles of all sizes; the first two are black and white all over.
    """
    generator = torch.Generator().manual_seed(0)
    frequency = torch.fft.fftfreq(size) * size
    distance = (frequency[:, None] ** 2 + frequency**2).sqrt().clamp_min(1)
    phase = torch.rand(count, 3, size, size, generator=generator) * 2 * math.pi
    clouds = torch.fft.ifft2(torch.polar(1 / distance.expand_as(phase), phase)).real
    clouds = clouds / clouds.std((-2, -1), keepdim=True) * 0.2 + 0.45
    for picture in clouds:
        for _ in range(24):
            corner = torch.randint(0, size, (2,), generator=generator).tolist()
            extent = (size * 0.5 * torch.rand(2, generator=generator) ** 2).int().tolist()
            colour = torch.rand(3, 1, 1, generator=generator)
            top, left = corner
            picture[:, top : top + extent[0], left : left + extent[1]] = colour
    clouds[0], clouds[1] = 0.0, 1.0
    pictures: Tensor = clouds.clamp(0, 1)
    return (pictures - 0.45) / 0.27
