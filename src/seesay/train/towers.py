"""Both towers of a dual encoder as one forward pass, which is what gets differentiated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

T = TypeVar("T")
HEAD = "view_head"
"""Name under which the head of the self-supervised loss stands in the module while it trains."""


@dataclass(frozen=True)
class Inputs:
    """What the towers read for some pairs: rows of every tensor belong together.

    Attributes:
        images: Pixels [B, 3, h, w], or pooled features [B, D] when the image tower is cached.
        ids: [B, L], or None when the text tower is cached.
        texts: Boolean mask [B, L] of `ids`, or pooled features [B, D].
        views: Pixels [B, 2, 3, h, w] of two more views of each picture, or None.
    """

    images: Tensor
    ids: Tensor | None
    texts: Tensor
    views: Tensor | None = None

    def to(self, device: torch.device) -> Inputs:
        """Return them on a device."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if value is not None
        }
        if self.images.ndim == 4:
            moved["images"] = moved["images"].contiguous(memory_format=torch.channels_last)
        return replace(self, **moved)

    def rows(self, start: int, stop: int) -> Inputs:
        """Return some of the pairs."""
        cut: dict[str, Any] = {
            k: None if v is None else v[start:stop] for k, v in vars(self).items()
        }
        return Inputs(**cut)

    def split(self, size: int, parts: int = 1) -> list[Inputs]:
        """Return them in parts of at most `size` pairs, at least so many; the last may be empty."""
        starts = range(0, max(size * parts, len(self.images)), size)
        return [self.rows(start, start + size) for start in starts]


class Towers(nn.Module):
    """Calls the parts of a dual encoder that training needs, in one forward pass.

    Args:
        module: The dual encoder.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """Return unit vectors [B, E] of images, of texts, and [B, H] of the views if there are."""
        module: Any = self.module
        cached = inputs.images.ndim == 2
        images = (module.project_image if cached else module.embed_image)(inputs.images)
        if inputs.ids is None:
            texts = module.project_text(inputs.texts)
        else:
            texts = module.embed_text(inputs.ids, inputs.texts)
        if inputs.views is None:
            return images, texts
        first, second = (
            getattr(module, HEAD)(module.pool_image(inputs.views[:, i])) for i in (0, 1)
        )
        return images, texts, first, second

    def within(self, function: Callable[[], T]) -> T:
        """Call a function as if from `forward`: what is sharded over processes is whole there."""
        return function()


class ViewHead(nn.Module):
    """Pooled features to the vectors that the loss between views compares.

    Paper: arXiv 2112.12750, section 3.2; arXiv 2002.05709, section 2.1.
    Reference: facebookresearch/SLIP, models.py, SLIP.
    Differs: layer normalisation in place of batch normalisation: what a picture gives does not
        depend on the others.
    Shapes: [B, D] -> unit vectors [B, out_width].
    """

    def __init__(self, width: int, hidden_width: int = 4096, out_width: int = 256) -> None:
        super().__init__()
        self.first = nn.Linear(width, hidden_width, bias=False)
        self.first_norm = nn.LayerNorm(hidden_width)
        self.second = nn.Linear(hidden_width, hidden_width, bias=False)
        self.second_norm = nn.LayerNorm(hidden_width)
        self.last = nn.Linear(hidden_width, out_width)

    def forward(self, pooled: Tensor) -> Tensor:
        """Return unit vectors."""
        hidden = F.relu(self.first_norm(self.first(pooled)))
        hidden = F.relu(self.second_norm(self.second(hidden)))
        return F.normalize(self.last(hidden), dim=-1)
