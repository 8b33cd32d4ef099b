"""Layers prepared for inference on a CPU: `pack` and what it replaces modules with.

oneDNN multiplies from its own blocked weight layout. `nn.Linear` converts to it on every call,
which for short sequences costs as much as the product; a packed layer has converted once and for
all. On the way what stands next to a product is folded into it: an activation, the two other
projections of an attention layer, the cutting of an image into patches.

Modules are replaced by exact type, so a subclass with another forward pass is left alone; a module
with a method `packed() -> nn.Module` says itself what replaces it. Where the operators are missing
(other processors, other builds) the packed modules compute the same with the plain ones.
"""

from __future__ import annotations

import warnings

from torch import nn

from seesay.nn.packed.dynamic import Begin, quantise_steps
from seesay.nn.packed.plain import PACKERS, is_plain
from seesay.nn.packed.quantised import quantise

__all__ = ["pack"]


def pack(module: nn.Module, int8: bool = False, begin: Begin | None = None) -> nn.Module:
    """Replace the linear layers inside a module by packed ones, in place.

    The module then computes what it did (cosine of the results at least 0.9999), faster, but can
    no longer be trained, saved or moved: load it again for that.

    Args:
        module: On the CPU, in float32 or bfloat16.
        int8: Also quantise: of a generator, the layers that every token runs through; else the
            blocks of an image tower that is a vision transformer. Cosines on made-up pictures stay
            above limits; docs/performance.md says what it is worth.
        begin: What a generator's steps are tried on (`generation.trial.begin`); None for a module
            that is no generator.

    Returns:
        The module, or its replacement when it is itself a layer that is packed.

    Raises:
        UsageError: Quantised, the module is too far from what it was.
    """
    if not int8:
        return _replace(module, {})
    if begin is not None:
        packed = _replace(module, {})
        quantised = quantise_steps(packed, begin)
    else:
        quantisation = quantise(module)
        quantised = quantisation is not None
        packed = _replace(module, dict(quantisation.blocks) if quantisation else {})
        if quantisation is not None:
            quantisation.check(packed)
    if not quantised:
        warnings.warn("int8 applies to nothing here: packed in the model's own type", stacklevel=2)
    return packed


def _replace(module: nn.Module, done: dict[nn.Module, nn.Module]) -> nn.Module:
    """Return the packed counterpart of a module; `done` has those that are made already."""
    if module not in done:
        done[module] = module
        if hasattr(module, "packed"):
            done[module] = module.packed()  # type: ignore[operator]
        elif type(module) in PACKERS and is_plain(module):
            done[module] = PACKERS[type(module)](module)
        else:
            # not named_children(), which names a child that is there twice only once
            for name, child in list(module._modules.items()):
                if child is not None:
                    setattr(module, name, _replace(child, done))
    return done[module]
