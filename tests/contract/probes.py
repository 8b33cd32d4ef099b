"""Models, pictures and comparisons that tests of all families share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import seesay
from seesay.model import Model

TEXTS = ("a red square", "two small dogs asleep on a sofa", "看图说话", "x")


def picture(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    """A picture with large and small structure that depends on all arguments."""
    random = np.random.default_rng([width, height, seed])
    coarse = Image.fromarray(random.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    noisy = smooth + random.integers(-12, 13, smooth.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def pictures() -> list[Image.Image]:
    """Landscape, portrait, square and tiny."""
    return [picture(40, 30, 1), picture(31, 77, 2), picture(64, 64, 3), picture(7, 5, 4)]


def build(name: str, seed: int = 3) -> Model:
    """The variant with every parameter and buffer away from its initial value.

    Fresh norms are one and fresh biases zero, so that tensors swapped or lost would go unseen.
    """
    model = seesay.create(name, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.module.state_dict(keep_vars=True).values():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator)
                spread = float(tensor.std()) if tensor.numel() > 1 else 0.0
                if isinstance(tensor, nn.Parameter):
                    tensor += noise * (0.1 * spread + 0.05)
                else:  # running statistics, among which variances stay positive
                    tensor *= 1 + 0.1 * noise.clamp(-3, 3)
    return model


def vectors(model: Model) -> tuple[Tensor, Tensor]:
    """The vectors of the suite's pictures and texts."""
    return model.embed_images(pictures()), model.embed_texts(TEXTS)


def cosine(a: Tensor, b: Tensor) -> float:
    """The smallest cosine between rows."""
    return float(F.cosine_similarity(a.double(), b.double(), dim=-1).min())


def same_tensors(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    """Assert that two state dicts hold the same names, types and bits."""
    assert set(a) == set(b)
    for key, tensor in a.items():
        assert tensor.dtype == b[key].dtype, key
        assert torch.equal(tensor, b[key]), key


def same_vectors(a: Sequence[Tensor], b: Sequence[Tensor]) -> None:
    """Assert that equal weights compute alike; where they lie in memory moves the last bit."""
    for left, right in zip(a, b, strict=True):
        torch.testing.assert_close(left, right, atol=1e-6, rtol=0)


def snapshot(names: Sequence[str], state: dict[str, Tensor]) -> str:
    """The names and shapes of a state dict, one a line."""
    return "".join(f"{key} {list(state[key].shape)}\n" for key in names)
