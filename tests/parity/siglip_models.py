"""SigLIP models of transformers with every tensor drawn anew, and how ours are compared to them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

FEATURES = 1e-5
"""Relative to the largest entry; both sides are fp32 with sums in another order."""
LOGITS = 1e-4

VISION = {
    "hidden_size": 40,
    "num_attention_heads": 5,
    "intermediate_size": 72,
    "num_hidden_layers": 2,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": 24,
    "num_attention_heads": 3,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "vocab_size": 99,
    "max_position_embeddings": 11,
    "projection_size": 40,
}


def redrawn(model: Any, seed: int = 0) -> Any:
    """The model with every parameter away from its initial value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict(keep_vars=True).items():
            if tensor.is_floating_point():
                spread = 0.5 if tensor.ndim < 2 else 2 / tensor[0].numel() ** 0.5
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * spread)
                if name == "logit_scale":
                    tensor += 2
    return model.eval()


def texts(pad: int, length: int = 11, vocab: int = 99) -> tuple[Tensor, Tensor, Tensor]:
    """Ids padded as in training, and the same ids cut to the longest with rubbish after them."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, vocab, (4, length), generator=generator)
    mask = torch.arange(length) < torch.tensor([[7], [1], [4], [9]])
    padded = ids.masked_fill(~mask, pad)
    return padded, ids[:, :9], mask[:, :9]


def close(found: Tensor, wanted: Tensor) -> float:
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max() / wanted.abs().max())


def logits(module: Any, image: Tensor, text: Tensor) -> Tensor:
    """What a sigmoid makes probabilities of."""
    return module.logit_scale.exp() * image @ text.T + module.logit_bias


INERT = "k_proj.bias"
"""Adds the same to every score of a query, and the softmax does not see it."""


def every_parameter_counts(module: Any, output: Any) -> None:
    """Assert that moving any parameter moves the output."""
    before, generator = output(), torch.Generator().manual_seed(3)
    for name, tensor in module.named_parameters():
        kept = tensor.detach().clone()
        with torch.no_grad():
            tensor += 0.3 * torch.randn(tensor.shape, generator=generator)
            moved = float((output() - before).abs().max())
            tensor.copy_(kept)
        if name.endswith(INERT):
            assert moved < 1e-10, name
        else:
            assert moved > 1e-5, name
