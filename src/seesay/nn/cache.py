"""What a decoder remembers of the texts it is writing.

The K beams of an image are tokens of one sequence: a boolean mask says which of the earlier ones
each beam goes on from. So no key or value is ever moved when beams are reordered, the prefix is
held once whatever K is, and beams are more rows of one product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Read = Any
"""What one layer's attention read of a source: nested tuples of tensors [B, ...]."""


class Cache:
    """Keys and values of the beams of B images, and of what they look at.

    Args:
        mask: Boolean [B, L]: which positions of the right-padded prefix count.
        depth: Number of layers.
        reads: What each layer's cross-attention read; empty where there is none.
        source_mask: Which of it may be looked at, as in `nn.attention.attention`; None for all.

    Attributes:
        visible: Boolean [B, K, S]: which of the S slots filled so far each beam goes on from.
        positions: int64 [B, K], the position of the token that comes next.
        length: How many tokens the longest text has.
        mask: What the tokens being written may attend to, as in `nn.attention.attention`; at first
            those of the prefix.
        reads: As given.
        source_mask: As given.
    """

    def __init__(
        self,
        mask: Tensor,
        depth: int,
        reads: Sequence[Read] = (),
        source_mask: Tensor | None = None,
    ) -> None:
        length = mask.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=mask.device).tril()
        self.mask: Tensor | None = (causal & mask[:, None])[:, None]  # [B, 1, L, L]
        self.visible = mask[:, None]
        self.positions = mask.sum(1, keepdim=True)
        self.length = length
        # every step asks for all of it: 1.4 times faster when each head's lie side by side
        self.reads = [_each(read, Tensor.contiguous) for read in reads]
        self.source_mask = source_mask
        self._layers: list[tuple[Tensor, Tensor] | None] = [None] * depth
        self._filled = 0
        self._whole = bool(mask.all())

    def advance(self, beams: int) -> Tensor:
        """Make room for one token of each of K beams; returns their positions [B, K]."""
        images = len(self.visible)
        own = torch.eye(beams, dtype=torch.bool, device=self.visible.device)
        visible = self.visible.expand(-1, beams, -1)
        self.visible = torch.cat([visible, own.expand(images, -1, -1)], -1)
        positions = self.positions.expand(-1, beams)
        self.positions = positions + 1
        self.length += 1
        # one beam and no padding: everything may be seen
        self.mask = None if beams == 1 and self._whole else self.visible[:, None]
        return positions

    def write(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values [B, H, n, d] of a layer; returns all it has [B, H, S, d]."""
        start, end = self._filled, self._filled + key.shape[2]
        held = self._layers[layer]
        if held is None or held[0].shape[2] < end:
            # the prefix takes what it needs; afterwards room doubles, so that growing costs little
            room = end if held is None else max(2 * end, end + 16 * key.shape[2])
            held = (_grown(held and held[0], key, room), _grown(held and held[1], value, room))
            self._layers[layer] = held
        keys, values = held
        keys[:, :, start:end] = key
        values[:, :, start:end] = value
        if layer == len(self._layers) - 1:
            self._filled = end
        return keys[:, :, :end], values[:, :, :end]

    def reorder(self, rows: Tensor) -> Cache:
        """Go on from beams `rows`, int64 [B' * K]; see `protocols.State`."""
        images, beams, slots = self.visible.shape
        self.visible = self.visible.flatten(0, 1)[rows].view(-1, beams, slots)
        self.positions = self.positions.flatten()[rows].view(-1, beams)
        if len(self.visible) != images:
            self._keep(rows.view(-1, beams)[:, 0] // beams)
        return self

    def _keep(self, images: Tensor) -> None:
        """Forget all images but these, which move no further than into the places left free."""
        count = len(images)
        moved = (images != torch.arange(count, device=images.device)).nonzero()[:, 0]
        origin = images[moved]
        free = not bool((origin < count).any())  # no image is needed where another one goes

        def keep(held: Tensor) -> Tensor:
            if not free:
                return held[images]
            held[moved] = held[origin]
            return held[:count]

        self._layers = [layer and (keep(layer[0]), keep(layer[1])) for layer in self._layers]
        self.reads = [_each(read, keep) for read in self.reads]
        if self.source_mask is not None:  # the caller's own
            self.source_mask = self.source_mask[images]


def _grown(held: Tensor | None, like: Tensor, room: int) -> Tensor:
    """A buffer with room for so many slots, with what is held at its beginning."""
    batch, num_heads, _, width = like.shape
    grown = like.new_empty(batch, num_heads, room, width)
    if held is not None:
        grown[:, :, : held.shape[2]] = held
    return grown


def _each(read: Read, change: Callable[[Tensor], Tensor]) -> Read:
    """Change each tensor of nested tuples."""
    if isinstance(read, Tensor):
        return change(read)
    return tuple(_each(part, change) for part in read)
