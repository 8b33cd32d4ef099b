"""A made-up prompt and a few steps after it, to compare ways of computing the same generator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seesay.nn.packed.quantised import typical_pixels
from seesay.protocols import Generator
from seesay.types import Prompt

PICTURES, LENGTH, STEPS = 4, 12, 6


def begin(module: nn.Module) -> Callable[[], Tensor]:
    """Read made-up pictures and texts; return what takes steps with two beams of each.

    The ids are drawn, the same ones on every call; what the module would write does not matter.

    Args:
        module: A generator in evaluation mode.

    Returns:
        A call that writes some ids and returns the logits [N, V] of all that might have followed.
    """
    assert isinstance(module, Generator)
    tables = [part for part in module.modules() if isinstance(part, nn.Embedding)]
    known = min((table.num_embeddings for table in tables), default=1)
    dtype = next((p.dtype for p in module.parameters() if p.ndim > 1), torch.float32)
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randint(0, known, shape, generator=generator)

    ids, whole = drawn(PICTURES, LENGTH), torch.ones(PICTURES, LENGTH, dtype=torch.bool)
    pixels = typical_pixels(PICTURES).to(dtype)
    prompt = Prompt(pixels, ids[:, :2], whole[:, :2], ids=ids, mask=whole)
    with torch.inference_mode():
        _, state = module.prefill(prompt)

    def steps() -> Tensor:
        found, now = [], state
        with torch.inference_mode():
            for _ in range(STEPS):
                logits, now = module.step(drawn(2 * PICTURES), now)
                found.append(logits)
        return torch.cat(found)

    return steps
