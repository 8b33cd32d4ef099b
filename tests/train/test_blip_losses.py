"""The losses of image-text models are the published ones, and no batch makes them fail."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reference import image_text as reference
from seesay.errors import UsageError
from seesay.train.image_text import (
    Vectors,
    alike,
    hard_negatives,
    matching,
    momentum_contrast,
)
from seesay.train.language import language_modelling, text_losses


def unit(rows: int, seed: int, width: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, width, generator=generator, dtype=torch.float64), dim=-1)


def vectors(ids: list[int], seed: int) -> Vectors:
    return Vectors(unit(len(ids), seed), unit(len(ids), seed + 1), torch.tensor(ids).reshape(-1, 1))


@pytest.mark.parametrize("alpha", [0.0, 0.4])
@pytest.mark.parametrize("ids", [[0, 1, 2, 3, 4], [0, 1, 0, 2, 1]])
def test_the_contrast_is_the_published_one(ids: list[int], alpha: float) -> None:
    own, slow, queue = vectors(ids, 0), vectors(ids, 2), vectors([7, 1, -100, 8], 4)
    gallery = Vectors(*map(torch.cat, zip(slow, queue, strict=True)))
    scale = torch.tensor(math.log(1 / 0.07), dtype=torch.float64)
    found = momentum_contrast(own, slow, gallery, scale, alpha=alpha)
    wanted = reference.momentum_contrast(
        own[:2], slow[:2], gallery[:2], ids, [*ids, 7, 1, -100, 8], 0.07, alpha
    )
    assert float(found) == pytest.approx(wanted, rel=1e-12)


def test_the_contrast_has_the_gradient_of_its_definition_and_only_where_it_should() -> None:
    own, slow, queue = vectors([0, 1, 0], 0), vectors([0, 1, 0], 2), vectors([5, 1], 4)
    gallery = Vectors(*map(torch.cat, zip(slow, queue, strict=True)))
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    leaves = [t.clone().requires_grad_() for t in (*own[:2], *slow[:2])]

    def loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
        mine = Vectors(images, texts, own.keys)
        return momentum_contrast(mine, slow, gallery, scale, alpha=0.3)

    assert torch.autograd.gradcheck(lambda a, b: loss(a, b, scale.detach()), leaves[:2])
    mine, theirs = (Vectors(*pair, own.keys) for pair in (leaves[:2], leaves[2:]))
    momentum_contrast(mine, theirs, gallery, scale, alpha=0.3).backward()
    assert leaves[0].grad is not None
    assert leaves[2].grad is None
    # the soft targets are constants: the factor moves the logits alone
    step = torch.tensor(1e-6, dtype=torch.float64)
    with torch.no_grad():
        target = [
            0.3 * (scale.exp() * q @ k.T).softmax(1)
            + 0.7 * F.normalize(alike(own.keys, gallery.keys).double(), p=1, dim=1)
            for q, k in ((slow.images, gallery.texts), (slow.texts, gallery.images))
        ]

        def fixed(scale: Tensor) -> Tensor:
            pairs = ((own.images, gallery.texts), (own.texts, gallery.images))
            both = [
                F.cross_entropy(scale.exp() * q @ k.T, t)
                for (q, k), t in zip(pairs, target, strict=True)
            ]
            return (both[0] + both[1]) / 2

        slope = (fixed(scale + step) - fixed(scale - step)) / (2 * step)
    torch.testing.assert_close(scale.grad, slope, rtol=1e-6, atol=1e-9)


def test_a_pair_that_is_not_in_the_gallery_is_refused() -> None:
    own = vectors([0, 1], 0)
    with pytest.raises(UsageError, match="no match in the gallery"):
        momentum_contrast(own, own, vectors([0, 5], 2), torch.tensor(0.0), alpha=0.0)
    with pytest.raises(UsageError, match=r"\[B, E\]"):
        momentum_contrast(own, vectors([0], 1), own, torch.tensor(0.0), alpha=0.0)


def test_pairs_match_by_picture_or_by_text() -> None:
    keys = torch.tensor([[1, 10], [1, 11], [2, 10], [3, 12]])
    assert alike(keys, keys).tolist() == [
        [True, True, True, False],
        [True, True, False, False],
        [True, False, True, False],
        [False, False, False, True],
    ]


@pytest.mark.parametrize("floor", [0.0, 1e-4, 0.2])
def test_negatives_are_drawn_with_the_published_probabilities(floor: float) -> None:
    generator = torch.Generator().manual_seed(0)
    similarity = 4 * torch.randn(6, 9, generator=generator, dtype=torch.float64)
    allowed = torch.rand(6, 9, generator=generator) > 0.4
    for number in (0.0, 0.1, 0.5, 0.77, 0.999):
        draws = torch.full((6,), number)
        column, found = hard_negatives(similarity, allowed, draws, floor=floor)
        assert found.all()
        for row in range(6):
            weights = reference.negative_weights(
                similarity[row].tolist(), allowed[row].tolist(), floor
            )
            assert column[row] == reference.drawn(weights, float(draws[row])), (row, number)


def test_the_hardest_come_most_often_and_matches_never() -> None:
    similarity = torch.tensor([[9.0, 2.0, 0.0, 1.0]]).expand(4000, 4)
    allowed = torch.tensor([[False, True, True, True]]).expand(4000, 4)
    draws = torch.rand(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    column, _ = hard_negatives(similarity, allowed, draws)
    often = torch.bincount(column, minlength=4) / 4000
    wanted = torch.tensor([2.0, 0.0, 1.0]).softmax(0)
    assert often[0] == 0
    torch.testing.assert_close(often[1:], wanted, rtol=0, atol=0.02)


BAD = {
    "saturated": [[1e4, 0.0, -1e4], [-1e4, 1e4, -1e4], [0.0, 0.0, 1e4]],
    "infinite": [[math.inf, 0.0, 1.0], [0.0, math.inf, 0.0], [0.0, -math.inf, math.inf]],
    "nan": [[math.nan, math.nan, math.nan], [math.nan, 1.0, 2.0], [0.0, 1.0, 2.0]],
    "all minus infinity": [[-math.inf] * 3] * 3,
}


@pytest.mark.parametrize("floor", [0.0, 1e-4])
@pytest.mark.parametrize("kind", BAD)
def test_what_stops_others_draws_a_negative_all_the_same(kind: str, floor: float) -> None:
    similarity, allowed = torch.tensor(BAD[kind]), ~torch.eye(3, dtype=torch.bool)
    for number in (0.0, 0.5, 1 - 2**-24):
        column, found = hard_negatives(similarity, allowed, torch.full((3,), number), floor=floor)
        assert found.all()
        assert allowed.gather(1, column[:, None]).all(), (column, number)


@pytest.mark.parametrize(
    "allowed",
    [
        torch.zeros(1, 1, dtype=torch.bool),  # a batch of one
        torch.zeros(4, 4, dtype=torch.bool),  # one picture four times
        torch.zeros(0, 3, dtype=torch.bool),  # a rank without rows
        torch.tensor([[False, True, False], [True, False, False], [False, False, False]]),
    ],
)
def test_rows_without_a_negative_are_told(allowed: Tensor) -> None:
    rows = len(allowed)
    column, found = hard_negatives(torch.randn(allowed.shape), allowed, torch.rand(rows))
    assert found.tolist() == allowed.any(1).tolist()
    assert column.shape == (rows,)
    assert all(allowed[i, column[i]] for i in range(rows) if found[i])


def test_matching_is_the_mean_over_what_counts() -> None:
    logits = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target, counted = [1, 1, 0, 0, 0, 0], [True, False, True, False, True, True]
    loss, accuracy = matching(logits, torch.tensor(target), torch.tensor(counted))
    wanted = reference.matching(logits, target, counted)
    assert (float(loss), float(accuracy)) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("rows", [0, 3])
def test_where_no_pair_counts_matching_teaches_nothing(rows: int) -> None:
    logits = torch.randn(rows, 2, requires_grad=True)
    none = torch.zeros(rows, dtype=torch.bool)
    loss, accuracy = matching(logits, torch.zeros(rows, dtype=torch.long), none)
    loss.backward()
    assert loss.item() == accuracy.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_writing_is_the_published_loss_of_what_is_learnt(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(4, 6, 11, generator=generator, dtype=torch.float64)
    ids = torch.randint(0, 11, (4, 6), generator=generator)
    lengths, starts = [6, 3, 1, 5], [1, 2, 1, 5]
    mask = torch.arange(6) < torch.tensor(lengths)[:, None]
    told = dict(label_smoothing=smoothing)
    sums, counts = text_losses(logits, ids, mask, torch.tensor(starts), **told)
    wanted = [
        reference.text_loss(logits[i], ids[i].tolist(), lengths[i], starts[i], smoothing)
        for i in range(4)
    ]
    assert sums.tolist() == pytest.approx(wanted, rel=1e-12)
    assert counts.tolist() == [5, 1, 0, 0]
    mean = language_modelling(logits, ids, mask, torch.tensor(starts), **told)
    assert float(mean) == pytest.approx(sum(wanted) / 6, rel=1e-12)
    # torch's own, where only padding is left out
    plain = language_modelling(logits, ids, mask, **told)
    labels = ids.masked_fill(~mask, -100)[:, 1:].flatten()
    peer = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels, **told)
    torch.testing.assert_close(plain, peer)


def test_nothing_to_write_is_no_loss_and_padding_has_no_gradient() -> None:
    logits = torch.randn(2, 3, 5, requires_grad=True)
    ids, mask = torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 3, dtype=torch.bool)
    mask[:, 0] = True
    loss = language_modelling(logits, ids, mask)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()
    mask[0, 1] = True
    logits.grad = None
    language_modelling(logits, ids, mask).backward()
    assert logits.grad[0, 0].any()
    assert not logits.grad[0, 1:].any()
    assert not logits.grad[1].any()
    with pytest.raises(UsageError, match=r"\[N, L, V\]"):
        language_modelling(logits, ids[:, :2], mask)


def test_losses_are_exact_in_half_precision() -> None:
    own, scale = vectors([0, 1, 2], 0), torch.tensor(4.6)
    single = Vectors(own.images.float(), own.texts.float(), own.keys)
    logits = torch.randn(2, 4, 9)
    ids, mask = torch.randint(0, 9, (2, 4)), torch.ones(2, 4, dtype=torch.bool)
    found = momentum_contrast(single, single, single, scale, alpha=0.4)
    written = language_modelling(logits, ids, mask)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(found, momentum_contrast(single, single, single, scale, alpha=0.4))
        assert torch.equal(written, language_modelling(logits, ids, mask))
        assert language_modelling(logits.bfloat16(), ids, mask).dtype == torch.float32
