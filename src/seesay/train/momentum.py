"""Slow copies of the towers: running means of their weights, whose vectors training aims at."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from seesay.errors import CheckpointError
from seesay.train.parallel import World, full, like, spread, whole
from seesay.train.reach import read_by
from seesay.train.towers import Inputs, Towers


class Momentum:
    """A dual encoder whose weights are running means of those of the one that is trained.

    Only what its towers read and training changes is copied; the rest is shared. It is at rest:
    without dropout, so that a target does not depend on chance.

    Paper: arXiv 1911.05722, equation 2; arXiv 2107.07651, section 3.2.
    Reference: salesforce/BLIP, models/blip_pretrain.py, _momentum_update.
    Differs: no dropout in the copies; nothing is copied that they do not read.

    Args:
        module: What is trained, a `DualEncoder`, before it is spread over processes.
        example: Something its towers can be run on, to see what they read.
        decay: What remains of the means after a step.
        world: The processes.
        strategy: How the copies are spread over them, as the module itself.
    """

    def __init__(
        self, module: nn.Module, example: Inputs, decay: float, world: World, strategy: str
    ) -> None:
        self.module, self.decay = module, decay
        read = set(read_by(module, lambda: Towers(module)(example)))
        names = [n for n, p in module.named_parameters() if p.requires_grad and n in read]
        sharded = world.group is not None and strategy == "fsdp2"
        kept = set() if sharded else {n for n, _ in module.named_parameters()} - set(names)
        shared = {id(p): p for n, p in module.named_parameters() if n in kept}
        self.copy = copy.deepcopy(module, cast("dict[int, Any]", shared)).eval()
        self.towers: nn.Module = Towers(self.copy)
        if sharded:
            self.towers = spread(self.towers, self.copy, world, strategy)
        copied = dict(self.copy.named_parameters())
        self.means = {name: copied[name].requires_grad_(False) for name in names}

    @torch.no_grad()
    def __call__(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return the unit vectors [B, E] of images and of texts; all processes call it together."""
        images, texts = whole(self.towers, lambda: self.towers.forward(inputs))
        return images, texts

    @torch.no_grad()
    def update(self) -> None:
        """Move the means towards the weights as they are now."""
        trained = dict(self.module.named_parameters())
        for name, mean in self.means.items():
            mean.lerp_(trained[name].detach(), 1 - self.decay)
        statistics = dict(self.module.named_buffers())
        for name, buffer in self.copy.named_buffers():
            buffer.copy_(statistics[name])

    def state_dict(self) -> dict[str, Any]:
        """Return the means as whole tensors; all processes must ask together."""
        return {name: full(mean.detach()).cpu().clone() for name, mean in self.means.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Hold means again.

        Raises:
            CheckpointError: They are of other weights.
        """
        if state.keys() != self.means.keys():
            raise CheckpointError(
                "the momentum copies kept are of other weights than those trained now",
                "resume with the same model and freezing",
            )
        for name, mean in self.means.items():
            mean.copy_(like(mean, state[name]))
