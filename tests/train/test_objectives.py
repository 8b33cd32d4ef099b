"""Losses against their formulas, written out in loops."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from seesay.train.objectives import contrastive, distillation


def units(rows: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, 5, generator=generator), dim=-1)


def test_one_positive_each_is_the_clip_loss() -> None:
    images, texts, scale = units(6, 0), units(6, 1), torch.tensor(2.0)
    logits = math.exp(2.0) * images @ texts.T
    expected = 0.0
    for i in range(6):
        expected -= math.log(float(logits[i].softmax(0)[i]))
        expected -= math.log(float(logits[:, i].softmax(0)[i]))
    assert math.isclose(float(contrastive(images, texts, scale)), expected / 12, rel_tol=1e-5)
    alone = torch.eye(6, dtype=torch.bool)
    torch.testing.assert_close(
        contrastive(images, texts, scale, alone), contrastive(images, texts, scale)
    )


def test_several_positives_share_the_target_evenly() -> None:
    images, texts, scale = units(4, 2), units(4, 3), torch.tensor(1.0)
    labels = [0, 0, 1, 0]
    positives = torch.tensor([[a == b for b in labels] for a in labels])
    logits = math.e * images @ texts.T
    expected = 0.0
    for i in range(4):
        mates = [j for j in range(4) if labels[j] == labels[i]]
        for j in mates:
            expected -= math.log(float(logits[i].softmax(0)[j])) / len(mates)
            expected -= math.log(float(logits[:, i].softmax(0)[j])) / len(mates)
    found = contrastive(images, texts, scale, positives)
    assert math.isclose(float(found), expected / 8, rel_tol=1e-5)


def test_contrastive_gradients_reach_the_scale_and_survive_autocast() -> None:
    images, texts = units(4, 2).requires_grad_(), units(4, 3).requires_grad_()
    scale = torch.tensor(3.0, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        lower = contrastive(images, texts, scale)
    torch.testing.assert_close(lower, contrastive(images, texts, scale))
    lower.backward()
    for tensor in (images, texts, scale):
        assert tensor.grad is not None
        assert bool(tensor.grad.any())


def test_distillation_is_least_at_the_teacher_and_takes_equal_targets_as_one() -> None:
    teacher = units(5, 4)
    teacher[1] = teacher[0]
    perfect = distillation(teacher, teacher)
    assert float(perfect) < float(distillation(units(5, 5), teacher))
    # swapping the two equal targets must not matter
    swapped = teacher[[1, 0, 2, 3, 4]]
    torch.testing.assert_close(distillation(teacher, swapped), perfect)
    half = (teacher.half().float() * 1.001).half()
    assert bool(distillation(teacher, half).isfinite())
