"""Feed-forward networks and their activations."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn


def quick_gelu(x: Tensor) -> Tensor:
    """Return x * sigmoid(1.702 x): a cheap GELU. Weights trained with one need that one."""
    return F.silu(1.702 * x) / 1.702  # the same, in half as many passes over memory


def gelu_tanh(x: Tensor) -> Tensor:
    """Return the GELU with its integral approximated by a tanh, as JAX computes it by default."""
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
}


class Mlp(nn.Module):
    """Two linear layers with an activation between them, applied to each token.

    Paper: arXiv 1706.03762, section 3.3, with the activation of arXiv 1606.08415.
    Reference: openai/CLIP, clip/model.py, ResidualAttentionBlock.mlp.
    Differs: nothing known.
    Shapes: [..., D] -> [..., D].

    Args:
        width: D.
        mlp_width: Width between the two layers.
        activation: A name in `ACTIVATIONS`.
        dropout: Part of what is between them that is left out in training.
    """

    def __init__(
        self, width: int, mlp_width: int, activation: str = "gelu", dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, mlp_width)
        self.fc2 = nn.Linear(mlp_width, width)
        self.activation = activation
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token on its own."""
        hidden = ACTIVATIONS[self.activation](self.fc1(x))
        if self.dropout and self.training:
            hidden = F.dropout(hidden, self.dropout)
        return self.fc2(hidden)  # type: ignore[no-any-return]
