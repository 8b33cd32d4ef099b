"""Stochastic depth: residual branches that are left out at random while a network is trained."""

from __future__ import annotations

from torch import Tensor, nn


class DropPath(nn.Module):
    """Leaves a residual branch out of some samples of a batch; outside training it does nothing.

    What is kept is made larger, so that the mean stays.

    Paper: arXiv 1603.09382, section 3.
    Reference: huggingface/pytorch-image-models, timm/layers/drop.py, DropPath.
    Differs: nothing known.
    Shapes: [B, ...] -> [B, ...].

    How often is no fact of a model but of how it is trained: `set_drop_path` says it.

    Attributes:
        rate: Chance of a sample to do without the branch, 0 to less than 1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rate = 0.0

    def forward(self, branch: Tensor) -> Tensor:
        """Zero the branch of some samples."""
        if not self.training or self.rate == 0:
            return branch
        keep = 1 - self.rate
        each = branch.new_empty(len(branch), *[1] * (branch.ndim - 1)).bernoulli_(keep)
        return branch * each.div_(keep)


def set_drop_path(module: nn.Module, rate: float) -> int:
    """Say how often the branches of a network are left out while it is trained.

    Args:
        module: Its residual branches go through `DropPath`, in the order of its blocks.
        rate: Of the last block; it grows linearly from 0 at the first one.

    Returns:
        The number of blocks, 0 when the network has no such branches.

    Raises:
        ValueError: The rate is not in [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"drop path {rate} is not in [0, 1)")
    found = [part for part in module.modules() if isinstance(part, DropPath)]
    for i, part in enumerate(found):
        part.rate = rate * i / max(1, len(found) - 1)
    return len(found)
