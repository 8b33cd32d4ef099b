"""A batch in chunks has the gradients of the whole batch, dropout and logit scale included."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import seesay
from seesay.errors import UsageError
from seesay.train import gradcache
from seesay.train.objectives import info_nce, nt_xent, sigmoid, unicl
from train.memory import peak

Pair = tuple[Tensor, Tensor]


class Towers(nn.Module):
    """Two towers with dropout."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Linear(6, width), nn.GELU(), nn.Dropout(0.3))
        self.image.append(nn.Linear(width, 5))
        self.text = nn.Sequential(nn.Embedding(9, 7), nn.Dropout(0.2), nn.Linear(7, 5))
        self.logit_scale = nn.Parameter(torch.tensor(2.0))
        self.logit_bias = nn.Parameter(torch.tensor(-3.0))

    def forward(self, pair: Pair) -> Pair:
        images, texts = self.image(pair[0]), self.text(pair[1])
        return F.normalize(images, dim=-1), F.normalize(texts, dim=-1)


def towers(**options: int) -> Towers:
    torch.manual_seed(0)
    return Towers(**options)


def chunks(*sizes: int) -> list[Pair]:
    generator = torch.Generator().manual_seed(1)
    total = sum(sizes)
    pictures = torch.randn(total, 6, generator=generator)
    words = torch.randint(9, (total,), generator=generator)
    return list(zip(pictures.split(sizes), words.split(sizes), strict=True))


def at_once(module: nn.Module, parts: list[Pair], loss: Callable[..., Tensor]) -> Tensor:
    """The whole graph in memory; chunk after chunk only so that dropout draws the same masks."""
    features = [torch.cat(part) for part in zip(*map(module, parts), strict=True)]
    value = loss(*features)
    value.backward()
    return value.detach()


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


def both(
    sizes: tuple[int, ...], loss: Callable[[Towers], Callable[..., Tensor]]
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Loss and gradients, in chunks and at once, from the same random state."""
    for way in (lambda *a: gradcache.backward(*a), at_once):
        module = towers()
        torch.manual_seed(5)
        value = way(module, chunks(*sizes), loss(module))
        # the next step starts from the same state, too
        yield value, {**gradients(module), "next": torch.rand(3)}


LOSSES: dict[str, Callable[[Towers], Callable[..., Tensor]]] = {
    "info_nce": lambda m: lambda a, b: info_nce(a, b, m.logit_scale),
    "info_nce in chunks": lambda m: lambda a, b: info_nce(a, b, m.logit_scale, chunk=4),
    "unicl": lambda m: lambda a, b: unicl(a, b, m.logit_scale, torch.arange(len(a)) % 4 - 1),
    "sigmoid": lambda m: lambda a, b: sigmoid(a, b, m.logit_scale, m.logit_bias, chunk=5),
    "nt_xent": lambda m: lambda a, b: nt_xent(a, b, 0.2),
}


@pytest.mark.parametrize("sizes", [(5, 5, 3), (13,), (4, 0, 9)])
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_the_whole_batch(name: str, sizes: tuple[int, ...]) -> None:
    (value, found), (whole, wanted) = both(sizes, LOSSES[name])
    torch.testing.assert_close(value, whole, rtol=0, atol=0)
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        torch.testing.assert_close(found[key], tensor, rtol=1e-6, atol=1e-6)


def test_two_chunks_are_exact_to_the_bit() -> None:
    """Of more chunks torch may add the gradients in another order."""
    (value, found), (whole, wanted) = both((7, 6), LOSSES["info_nce"])
    assert torch.equal(value, whole)
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def recomputed(module: Towers, parts: list[Pair], loss: Callable[..., Tensor]) -> None:
    """The scheme in wide use: K times, the loss of all features, those of one chunk with a graph.

    Random numbers are replayed here, so that what is wrong is the scale and nothing else.
    """
    states = []
    with torch.no_grad():
        kept = []
        for part in parts:
            states.append(torch.get_rng_state())
            kept.append(module(part))
    for i, part in enumerate(parts):
        torch.set_rng_state(states[i])
        again = module(part)
        mixed = [
            torch.cat([again[tower] if i == j else pair[tower] for j, pair in enumerate(kept)])
            for tower in range(2)
        ]
        loss(*mixed).backward()


@pytest.mark.parametrize("count", [2, 4])
def test_recomputing_the_loss_for_each_chunk_makes_the_scale_learn_k_times_too_fast(
    count: int,
) -> None:
    parts = chunks(*[3] * count)
    found = {}
    for way in (at_once, gradcache.backward, recomputed):
        module = towers()
        torch.manual_seed(5)
        way(module, parts, LOSSES["sigmoid"](module))
        found[way] = gradients(module)
    exact, ours, theirs = found.values()
    for name, wanted in exact.items():
        torch.testing.assert_close(ours[name], wanted, rtol=1e-6, atol=1e-6)
        times = count if name.startswith("logit") else 1
        torch.testing.assert_close(theirs[name], times * wanted, rtol=1e-5, atol=1e-6)
    assert math.isclose(theirs["logit_scale"] / exact["logit_scale"], count, rel_tol=1e-5)


def test_weights_that_autocast_keeps_from_the_first_pass_still_learn() -> None:
    """Autocast keeps casts until it ends, and those made without a graph would hide the weights."""
    parts, found = chunks(4, 4), []
    for outside in (True, False):
        module = towers().eval()

        def inside(pair: Pair, module: Towers = module) -> Pair:
            with torch.autocast("cpu", torch.bfloat16):
                return module(pair)

        with torch.autocast("cpu", torch.bfloat16, enabled=outside):
            gradcache.backward(inside, parts, LOSSES["info_nce"](module))
        found.append(gradients(module))
    assert found[0].keys() == found[1].keys() >= {"image.0.weight", "text.2.weight"}
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=0.05, atol=1e-2)


def test_a_frozen_tower_is_left_alone_and_the_other_learns_the_same() -> None:
    module = towers()
    module.image.requires_grad_(False)
    torch.manual_seed(5)
    gradcache.backward(module, chunks(5, 5, 3), LOSSES["info_nce"](module))
    _, wanted = list(both((5, 5, 3), LOSSES["info_nce"]))[1]
    found = gradients(module)
    assert found.keys() == {"text.0.weight", "text.2.weight", "text.2.bias", "logit_scale"}
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-6, atol=1e-6)


def test_the_scale_alone_can_learn() -> None:
    module = towers().requires_grad_(False)
    module.logit_scale.requires_grad_(True)
    gradcache.backward(module, chunks(5, 5), LOSSES["info_nce"](module))
    assert gradients(module).keys() == {"logit_scale"}


def test_further_views_and_pictures_without_text_go_along() -> None:
    """SLIP: fewer texts than pictures, and two more views of every picture."""

    def forward(module: Towers) -> Callable[[tuple[Tensor, Tensor]], tuple[Tensor, ...]]:
        def run(part: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
            pictures, words = part
            captioned, texts = module((pictures[: len(words)], words))
            views = [module.image(pictures + shift) for shift in (0.1, -0.1)]
            return captioned, texts, *views

        return run

    def slip(module: Towers) -> Callable[..., Tensor]:
        return lambda a, b, first, second: (
            info_nce(a, b, module.logit_scale) + nt_xent(first, second)
        )

    parts = [(p, w[: len(w) // 2]) for p, w in chunks(6, 5, 1)]
    found = []
    for way in (gradcache.backward, at_once):
        module = towers()
        torch.manual_seed(5)
        way(forward(module), parts, slip(module))
        found.append(gradients(module))
    for name, gradient in found[1].items():
        torch.testing.assert_close(found[0][name], gradient, rtol=1e-6, atol=1e-6)


def test_processes_talk_in_the_last_backward_pass_only_and_about_the_scale_too() -> None:
    module, quiet, heard = towers(), False, []

    @contextmanager
    def no_sync() -> Iterator[None]:
        nonlocal quiet
        quiet = True
        yield
        quiet = False

    for name, parameter in module.named_parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda _, name=name: heard.append((name, quiet))
        )
    parts = chunks(5, 5, 3)
    gradcache.backward(module, parts, LOSSES["info_nce"](module), no_sync=no_sync)
    loud = [name for name, silent in heard if not silent]
    assert sorted(loud) == sorted(set(dict(module.named_parameters())) - {"logit_bias"})
    assert heard.count(("image.0.weight", True)) == 2
    assert ("logit_scale", True) not in heard


def test_gradients_are_added_to_what_is_there() -> None:
    module = towers().eval()
    gradcache.backward(module, chunks(5, 5), LOSSES["info_nce"](module))
    once = gradients(module)
    gradcache.backward(module, chunks(5, 5), LOSSES["info_nce"](module))
    for name, gradient in gradients(module).items():
        torch.testing.assert_close(gradient, 2 * once[name])


def test_memory_is_that_of_a_chunk() -> None:
    """Sixteen chunks need little more than one of them does, and far less than all at once."""
    module = towers(width=256)
    parts, loss = chunks(*[8] * 16), LOSSES["info_nce in chunks"](module)
    one = peak(lambda: at_once(module, parts[:1], loss))
    assert peak(lambda: gradcache.backward(module, parts, loss)) < 3 * one
    assert peak(lambda: at_once(module, parts, loss)) > 8 * one


def test_a_real_dual_encoder_learns_the_same_in_chunks() -> None:
    model = seesay.create("clip-tiny", seed=0)
    module, generator = model.module.double(), torch.Generator().manual_seed(0)
    longest = 6
    pixels = torch.randn(6, 3, *model.config.image.image_size, generator=generator).double()
    ids = torch.randint(1, 40, (6, longest), generator=generator)
    mask = torch.arange(longest) < torch.tensor([[6], [3], [5], [6], [4], [2]])
    parts = list(zip(pixels.split(4), ids.split(4), mask.split(4), strict=True))

    def forward(part: tuple[Tensor, Tensor, Tensor]) -> Pair:
        return module.embed_image(part[0]), module.embed_text(part[1], part[2])

    found = []
    for way, given in ((gradcache.backward, parts), (at_once, [(pixels, ids, mask)])):
        module.zero_grad()
        way(forward, given, lambda a, b: info_nce(a, b, module.logit_scale))
        found.append(gradients(module))
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[1].items():
        torch.testing.assert_close(found[0][name], gradient, rtol=1e-9, atol=1e-12)


def test_no_chunks_are_refused() -> None:
    with pytest.raises(UsageError, match="no chunks"):
        gradcache.backward(towers(), [], LOSSES["info_nce"](towers()))
