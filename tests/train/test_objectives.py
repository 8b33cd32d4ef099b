"""Losses against values worked out by hand, and against their definitions written as loops."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reference import losses as definition
from seesay.errors import UsageError
from seesay.train.objectives import distillation, info_nce, nt_xent, sigmoid, unicl

SCALE = torch.tensor(1.7, dtype=torch.double)
BIAS = torch.tensor(-2.3, dtype=torch.double)
LABELS = [4, -1, 4, 0, -1, 4, 7]
"""Of seven pairs; those of -1 have none."""


def units(rows: int, seed: int, width: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(rows, width, generator=generator, dtype=torch.double)
    return F.normalize(vectors, dim=-1)


def ids(values: list[int]) -> Tensor:
    return torch.tensor(values)


def alone(i: int, j: int) -> bool:
    return i == j


def labelled(i: int, j: int) -> bool:
    return LABELS[i] == LABELS[j]


Objective = Callable[[Tensor, Tensor], Tensor]
EVERY: dict[str, Callable[..., Tensor]] = {
    "info_nce": lambda a, b, **k: info_nce(a, b, SCALE, **k),
    "info_nce, smooth": lambda a, b, **k: info_nce(a, b, SCALE, label_smoothing=0.2, **k),
    "info_nce, image ids": lambda a, b, **k: info_nce(a, b, SCALE, image_ids=ids(LABELS), **k),
    "info_nce, positives": lambda a, b, **k: info_nce(a, b, SCALE, positives=MATRIX, **k),
    "unicl": lambda a, b, **k: unicl(a, b, SCALE, ids(LABELS), **k),
    "sigmoid": lambda a, b, **k: sigmoid(a, b, SCALE, BIAS, **k),
    "sigmoid, image ids": lambda a, b, **k: sigmoid(a, b, SCALE, BIAS, image_ids=ids(LABELS), **k),
    "nt_xent": lambda a, b, **k: nt_xent(a, b, **k),
}
MATRIX = torch.tensor([[i == j or (i, j) in {(0, 3), (5, 1)} for j in range(7)] for i in range(7)])
DEFINED: dict[str, Callable[[Tensor, Tensor], float]] = {
    "info_nce": lambda a, b: definition.info_nce(a, b, 1.7, alone),
    "info_nce, smooth": lambda a, b: definition.info_nce(a, b, 1.7, alone, 0.2),
    "info_nce, image ids": lambda a, b: definition.info_nce(a, b, 1.7, labelled),
    "info_nce, positives": lambda a, b: definition.info_nce(
        a, b, 1.7, lambda i, j: bool(MATRIX[i, j])
    ),
    "unicl": lambda a, b: definition.unicl(a, b, 1.7, LABELS) / 14,
    "sigmoid": lambda a, b: definition.sigmoid(a, b, 1.7, -2.3, alone),
    "sigmoid, image ids": lambda a, b: definition.sigmoid(a, b, 1.7, -2.3, labelled),
    "nt_xent": lambda a, b: definition.nt_xent(a, b, 0.1),
}


@pytest.mark.parametrize("chunk", [None, 3, 100])
@pytest.mark.parametrize("name", EVERY)
def test_a_loss_is_what_its_paper_defines(name: str, chunk: int | None) -> None:
    images, texts = units(7, 0), units(7, 1)
    found = float(EVERY[name](images, texts, chunk=chunk))
    assert math.isclose(found, DEFINED[name](images, texts), rel_tol=1e-12)


def test_two_pairs_by_hand() -> None:
    """Pictures along x and y; the texts are right, then the wrong way round."""
    images, zero = torch.eye(2), torch.tensor(0.0)
    right = math.log(1 + math.exp(-1))
    wrong = math.log(1 + math.exp(1))
    for texts, loss in ((torch.eye(2), right), (torch.eye(2).flip(0), wrong)):
        assert math.isclose(float(info_nce(images, texts, zero)), loss, rel_tol=1e-6)
    # a factor of 2, smoothed: three quarters on the match, one quarter on the other
    smooth = info_nce(images, images, torch.tensor(math.log(2)), label_smoothing=0.5)
    expected = math.log(1 + math.exp(-2)) + 0.25 * 2
    assert math.isclose(float(smooth), expected, rel_tol=1e-6)
    # logits 1 - 1 = 0 on the diagonal, 0 - 1 = -1 off it
    expected = math.log(2) + math.log(1 + math.exp(-1))
    found = sigmoid(images, images, zero, torch.tensor(-1.0))
    assert math.isclose(float(found), expected, rel_tol=1e-6)
    # both of one label: every target is spread over both, so only the mean logit counts
    same = unicl(images, images, zero, ids([3, 3]))
    assert math.isclose(float(same), math.log(math.e + 1) - 0.5, rel_tol=1e-6)
    both = unicl(images, images, zero, ids([3, 3]), reduction="sum")
    assert math.isclose(float(both), 4 * float(same), rel_tol=1e-6)
    # each view among three others: its twin at cosine 1, two strangers at 0
    expected = math.log(math.e + 2) - 1
    assert math.isclose(float(nt_xent(images, 3 * images, 1.0)), expected, rel_tol=1e-6)


def test_one_pair_alone_is_no_contrast() -> None:
    one = units(1, 0)
    for name in ("info_nce", "nt_xent"):
        assert float(EVERY[name](one, one)) == 0


@pytest.mark.parametrize("name", EVERY)
def test_gradients_are_those_of_the_loss_and_chunks_do_not_change_them(name: str) -> None:
    images, texts = units(7, 2, 2).requires_grad_(), units(7, 3, 2).requires_grad_()
    assert torch.autograd.gradcheck(EVERY[name], (images, texts))
    whole = torch.autograd.grad(EVERY[name](images, texts), (images, texts))
    parts = torch.autograd.grad(EVERY[name](images, texts, chunk=2), (images, texts))
    torch.testing.assert_close(whole, parts, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chunk", [None, 2])
def test_the_scale_and_the_bias_learn(chunk: int | None) -> None:
    scale, bias = SCALE.clone().requires_grad_(), BIAS.clone().requires_grad_()
    images, texts = units(7, 2), units(7, 3)

    def both(scale: Tensor, bias: Tensor) -> Tensor:
        by_label = unicl(images, texts, scale, ids(LABELS), chunk=chunk)
        loss = sigmoid(images, texts, scale, bias, chunk=chunk)
        return info_nce(images, texts, scale, chunk=chunk) + by_label + loss

    assert torch.autograd.gradcheck(both, (scale, bias))


@pytest.mark.parametrize("name", [name for name in EVERY if "positives" not in name])
def test_under_autocast_losses_are_exact(name: str) -> None:
    images, texts = units(7, 4).float(), units(7, 5).float()
    with torch.autocast("cpu", torch.bfloat16):
        for chunk in (None, 2):
            found = EVERY[name](images, texts, chunk=chunk)
            torch.testing.assert_close(found, EVERY[name](images, texts), rtol=1e-6, atol=0)
            assert found.dtype in (torch.float32, torch.float64)
        lower = EVERY[name](images.bfloat16(), texts.bfloat16())
    assert lower.dtype in (torch.float32, torch.float64)
    assert math.isclose(float(lower), float(EVERY[name](images, texts)), rel_tol=0.05)


@pytest.mark.parametrize("name", ["info_nce", "info_nce, smooth", "sigmoid", "unicl"])
def test_pictures_and_texts_can_change_places(name: str) -> None:
    images, texts = units(7, 6), units(7, 7)
    torch.testing.assert_close(EVERY[name](images, texts), EVERY[name](texts, images))


groups = st.lists(st.integers(-2, 3), min_size=1, max_size=9)


@settings(max_examples=40, deadline=None)
@given(labels=groups, random=st.randoms(use_true_random=False), chunk=st.integers(1, 10))
def test_the_order_of_pairs_means_nothing(labels: list[int], random: object, chunk: int) -> None:
    order = list(range(len(labels)))
    random.shuffle(order)  # type: ignore[attr-defined]
    images, texts, known = units(len(labels), 0), units(len(labels), 1), ids(labels)
    for loss in (
        lambda a, b, which: info_nce(a, b, SCALE, image_ids=which, chunk=chunk),
        lambda a, b, which: unicl(a, b, SCALE, which, chunk=chunk),
        lambda a, b, which: sigmoid(a, b, SCALE, BIAS, image_ids=which, chunk=chunk),
        lambda a, b, which: nt_xent(a, b, chunk=chunk),
    ):
        moved = loss(images[order], texts[order], known[order])
        torch.testing.assert_close(moved, loss(images, texts, known))


@settings(max_examples=40, deadline=None)
@given(labels=groups)
def test_the_ways_to_say_what_matches_agree(labels: list[int]) -> None:
    images, texts, known = units(len(labels), 2), units(len(labels), 3), ids(labels)
    by_id = info_nce(images, texts, SCALE, image_ids=known)
    matrix = known[:, None] == known
    torch.testing.assert_close(by_id, info_nce(images, texts, SCALE, positives=matrix))
    # an image id may be any number; a label below zero is none
    torch.testing.assert_close(by_id, unicl(images, texts, SCALE, known + 2))
    expected = definition.unicl(images, texts, 1.7, labels)
    found = unicl(images, texts, SCALE, known, reduction="sum")
    assert math.isclose(float(found), expected, rel_tol=1e-10, abs_tol=1e-12)


@settings(max_examples=20, deadline=None)
@given(labels=st.lists(st.integers(0, 2**40), min_size=1, max_size=9, unique=True))
def test_unicl_is_info_nce_when_all_labels_differ(labels: list[int]) -> None:
    images, texts = units(len(labels), 4), units(len(labels), 5)
    expected = info_nce(images, texts, SCALE)
    torch.testing.assert_close(unicl(images, texts, SCALE, ids(labels)), expected)
    unlabelled = torch.full((len(labels),), -1)
    torch.testing.assert_close(unicl(images, texts, SCALE, unlabelled), expected)


def test_a_known_batch_is_never_less_than_nothing() -> None:
    """At a factor of 100 in float32 a difference of two sums could be."""
    vectors = units(200, 0, 64).float()
    for chunk in (None, 64):
        for loss in (info_nce, lambda *a, **k: unicl(*a, torch.arange(200), **k)):
            assert float(loss(vectors, vectors, torch.tensor(math.log(100)), chunk=chunk)) >= 0


@pytest.mark.parametrize("name", EVERY)
def test_what_does_not_pair_up_is_refused(name: str) -> None:
    for images, texts in ((units(7, 0), units(6, 0)), (units(7, 0), units(7, 0, 4))):
        with pytest.raises(UsageError, match="vectors are"):
            EVERY[name](images, texts)
    with pytest.raises(UsageError, match="vectors are"):
        EVERY[name](units(7, 0)[0], units(7, 0)[0])
    with pytest.raises(UsageError, match="empty"):
        EVERY[name](units(0, 0), units(0, 0))
    with pytest.raises(UsageError, match="chunk is 0"):
        EVERY[name](units(7, 0), units(7, 0), chunk=0)


def test_what_cannot_match_is_refused() -> None:
    images, three = units(7, 0), ids([1, 2, 3])
    for call in (
        lambda: info_nce(images, images, SCALE, image_ids=three),
        lambda: sigmoid(images, images, SCALE, BIAS, image_ids=three),
        lambda: unicl(images, images, SCALE, three),
        lambda: unicl(images, images, SCALE, torch.zeros(7)),
    ):
        with pytest.raises(UsageError, match="7 pairs"):
            call()
    for lonely in (MATRIX.clone().index_fill(0, ids([2]), False), MATRIX & (ids(LABELS) != 7)):
        with pytest.raises(UsageError, match="no match"):
            info_nce(images, images, SCALE, positives=lonely)
    with pytest.raises(UsageError, match=r"\(3, 7\) for 7"):
        info_nce(images, images, SCALE, positives=MATRIX[:3])
    with pytest.raises(UsageError, match="both"):
        info_nce(images, images, SCALE, positives=MATRIX, image_ids=ids(LABELS))
    with pytest.raises(UsageError, match="'total'"):
        unicl(images, images, SCALE, ids(LABELS), reduction="total")
    with pytest.raises(UsageError, match="temperature is 0"):
        nt_xent(images, images, 0)


def test_distillation_is_least_at_the_teacher_and_takes_equal_targets_as_one() -> None:
    teacher = units(5, 4).float()
    teacher[1] = teacher[0]
    perfect = distillation(teacher, teacher)
    assert float(perfect) < float(distillation(units(5, 5).float(), teacher))
    # swapping the two equal targets must not matter
    swapped = teacher[[1, 0, 2, 3, 4]]
    torch.testing.assert_close(distillation(teacher, swapped), perfect)
    half = (teacher.half().float() * 1.001).half()
    assert bool(distillation(teacher, half).isfinite())
