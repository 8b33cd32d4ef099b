"""Contrastive training with batches that do not fit into memory at once.

Losses such as InfoNCE compare all pairs of a batch, so the mean of the losses of its parts is
another loss. But the towers see one pair at a time, and only the loss sees them all: so compute the
features of the parts without their graphs, the loss and its gradient with respect to the features,
and then go through the parts again, this time with graphs, and carry that gradient on into the
towers. The gradients are those of the whole batch, for the memory of one part and the time of a
second forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor

from seesay.errors import UsageError

Chunk = TypeVar("Chunk")


def backward(
    forward: Callable[[Chunk], Sequence[Tensor]],
    chunks: Sequence[Chunk],
    loss: Callable[..., Tensor],
    *,
    no_sync: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Tensor:
    """Add the gradient of the loss of all chunks together to the parameters; return the loss.

    The second pass meets the same random numbers as the first, so dropout masks are equal and the
    gradients exact. What `loss` reads besides the features, such as `logit_scale`, gets its
    gradient once. Call it outside of autocast; `forward` may enter that. A batch that fits needs
    none of this: `loss(*forward(batch)).backward()` does the same in one pass.

    Paper: arXiv 2101.06983, section 3.
    Reference: luyug/GradCache, src/grad_cache/grad_cache.py.
    Differs: parameters of the loss reach the last backward pass too, as data-parallel training
        wants; features of any number of towers come from one call.

    Args:
        forward: The features of a chunk, each [B', E]: those of images, of texts, of further views.
            A feature that needs no gradient (of a frozen tower) is fine.
        chunks: The batch in parts, at least one; a part may be empty, and processes may have
            different numbers of parts if `forward` itself does not communicate.
        loss: Called once with each feature of the whole batch [B, E], in the order of `forward`.
        no_sync: What to enter around all backward passes but the last, so that processes exchange
            gradients once: the method of that name of DistributedDataParallel.

    Raises:
        UsageError: There are no chunks.
    """
    if not chunks:
        raise UsageError("there are no chunks", "give at least one, an empty one if need be")
    states, parts = [], []
    with torch.no_grad():
        for chunk in chunks:
            states.append(_RandomState())
            parts.append(tuple(forward(chunk)))
    # older versions of torch would give the casts made here to the pass that needs their graph
    torch.clear_autocast_cache()
    columns = list(zip(*parts, strict=True))
    features = [torch.cat(pieces).requires_grad_() for pieces in columns]
    value = loss(*features)
    own = _parameters(value, features)
    gradients = torch.autograd.grad(value, [*features, *own], materialize_grads=True)
    arriving = [
        torch.split(gradient, [len(piece) for piece in pieces])
        for gradient, pieces in zip(gradients[: len(features)], columns, strict=True)
    ]
    for i, (chunk, state) in enumerate(zip(chunks, states, strict=True)):
        last = i + 1 == len(chunks)
        with nullcontext() if last else no_sync():
            with state.replayed():
                again = forward(chunk)
            ends = [
                (piece, gradient[i])
                for piece, gradient in zip(again, arriving, strict=True)
                if piece.requires_grad
            ]
            if last:  # what the loss owns has its gradient already, and only needs to get it
                ends += zip(own, gradients[len(features) :], strict=True)
            if ends:
                torch.autograd.backward(
                    [end for end, _ in ends], [gradient for _, gradient in ends]
                )
    return value.detach()


def _parameters(value: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
    """Find what the loss was computed from besides the features."""
    known = {id(feature) for feature in features}
    nodes, seen, found = [value.grad_fn], set(), []
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes += [following for following, _ in node.next_functions]
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in known:
            found.append(leaf)
    return found


class _RandomState:
    """The state of torch's generators at this moment."""

    def __init__(self) -> None:
        self.cpu = torch.get_rng_state()
        on_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        self.cuda = torch.cuda.get_rng_state_all() if on_gpu else []

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Go back to it for as long as the block lasts."""
        with torch.random.fork_rng(devices=range(len(self.cuda))):
            torch.set_rng_state(self.cpu)
            if self.cuda:
                torch.cuda.set_rng_state_all(self.cuda)
            yield
