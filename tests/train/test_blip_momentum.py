"""Slow copies of the towers follow them exactly, and the queue is a ring of any size."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from seesay.errors import CheckpointError
from seesay.families.blip.configs import tiny
from seesay.families.blip.model import BlipPretraining
from seesay.train.image_text import Vectors
from seesay.train.momentum import Momentum
from seesay.train.parallel import World
from seesay.train.queue import Queue
from seesay.train.towers import Inputs


def build() -> BlipPretraining:
    torch.manual_seed(0)
    return BlipPretraining(tiny("pretraining")).train()


def example() -> Inputs:
    ids = torch.tensor([[101, 5, 102], [101, 102, 0]])
    return Inputs(torch.rand(2, 3, 32, 32), ids, ids > 0)


def momentum(module: Any, decay: float = 0.9) -> Momentum:
    return Momentum(module, example(), decay, World(), "ddp")


def stir(module: torch.nn.Module) -> None:
    """A step of some optimiser."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))


def test_copies_are_the_exact_running_mean_of_what_the_towers_read() -> None:
    module = build()
    slow = momentum(module)
    wanted = {n: p.detach().double().clone() for n, p in module.named_parameters()}
    for _ in range(4):
        stir(module)
        slow.update()
        for name, parameter in module.named_parameters():
            wanted[name] = 0.9 * wanted[name] + 0.1 * parameter.detach().double()
    for name, mean in slow.means.items():
        torch.testing.assert_close(mean.double(), wanted[name], rtol=1e-5, atol=1e-6, msg=name)
    read = set(slow.means)
    assert {"image.class_embedding", "image_projection.weight", "text_projection.bias"} <= read
    assert "text.layers.0.attention.q_proj.weight" in read
    assert not any("causal" in n or "cross" in n or n.startswith(("lm", "itm")) for n in read)


def test_copies_share_what_they_do_not_follow() -> None:
    module = build()
    module.image.requires_grad_(False)
    slow = momentum(module)
    copied = dict(slow.copy.named_parameters())
    for name, parameter in module.named_parameters():
        assert (copied[name] is parameter) == (name not in slow.means), name
        assert parameter.requires_grad == (not name.startswith("image.")), name
    assert not any(name.startswith("image.") for name in slow.means)


def test_copies_give_the_vectors_of_their_weights_without_dropout_or_gradient() -> None:
    module, inputs = build(), example()
    slow = momentum(module)
    stir(module)
    slow.update()
    found = slow(inputs)
    assert all(torch.equal(a, b) for a, b in zip(found, slow(inputs), strict=True))
    same = copy.deepcopy(module).eval()
    same.load_state_dict({**module.state_dict(), **slow.state_dict()})
    wanted = same.embed_image(inputs.images), same.embed_text(inputs.ids, inputs.texts)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)
        assert not ours.requires_grad
    assert module.training
    assert not torch.equal(found[0], module.embed_image(inputs.images))


def test_copies_that_are_kept_go_on_to_the_bit_and_others_are_refused() -> None:
    module = build()
    first = momentum(module)
    stir(module)
    first.update()
    kept = first.state_dict()
    second = momentum(module)
    second.load_state_dict(kept)
    stir(module)
    for each in (first, second):
        each.update()
    for name, mean in first.means.items():
        assert torch.equal(mean, second.means[name])
    assert not torch.equal(kept["image.class_embedding"], first.means["image.class_embedding"])
    kept.pop("image.class_embedding")
    with pytest.raises(CheckpointError, match="other weights"):
        second.load_state_dict(kept)


def rows(first: int, count: int) -> Vectors:
    numbers = torch.arange(first, first + count)
    images = numbers[:, None].float().expand(-1, 2)
    return Vectors(images, -images, torch.stack([numbers, 100 + numbers], 1))


def numbers(queue: Queue) -> list[int]:
    held = queue.held()
    assert torch.equal(held.images, -held.texts)
    assert torch.equal(held.images[:, 0].long(), held.keys[:, 0])
    assert torch.equal(held.keys[:, 0] + 100, held.keys[:, 1])
    return sorted(held.keys[:, 0].tolist())


def queue(size: int, **options: Any) -> Queue:
    return Queue(size, 2, keys=2, **options)


@pytest.mark.parametrize("size", [1, 3, 7, 8, 20])
def test_the_queue_holds_the_last_rows_whatever_the_batch(size: int) -> None:
    held, put = queue(size), 0
    assert numbers(held) == []
    for count in (3, 5, 1, 0, 4, 9, 2, 30, 6):
        held.put(rows(put, count))
        put += count
        assert numbers(held) == list(range(max(0, put - size), put))


def test_a_queue_of_none_holds_none() -> None:
    empty = queue(0)
    empty.put(rows(0, 4))
    assert numbers(empty) == []
    empty.load_state_dict(empty.state_dict())


@pytest.mark.parametrize("put", [0, 4, 7, 17])
def test_a_queue_that_is_kept_goes_on_to_the_bit(put: int) -> None:
    first, second = queue(7), queue(7)
    first.put(rows(0, put))
    second.load_state_dict(first.state_dict())
    for each in (first, second):
        each.put(rows(50, 3))
    assert first.place == second.place
    for ours, theirs in zip(first.held(), second.held(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_queue_takes_the_newest_of_a_longer_one_and_nothing_of_other_data() -> None:
    long, short = queue(9, data="a"), queue(4, data="a")
    long.put(rows(0, 12))
    short.load_state_dict(long.state_dict())
    assert numbers(short) == [8, 9, 10, 11]
    short.put(rows(12, 1))
    assert numbers(short) == [9, 10, 11, 12]
    other = queue(9, data="b")
    other.put(rows(0, 2))
    other.load_state_dict(long.state_dict())
    assert numbers(other) == []
    wide: Tensor = torch.zeros(1, 3)
    wider = Queue(9, 3, keys=2, data="a")
    wider.put(Vectors(wide, wide, torch.zeros(1, 2, dtype=torch.long)))
    wider.load_state_dict(long.state_dict())
    assert wider.filled == 0
