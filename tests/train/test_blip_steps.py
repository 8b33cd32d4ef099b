"""A step of pre-training is the published one: losses and gradients against a slow reference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from reference.blip_step import Pair, Step
from seesay.train.config import MomentumConfig
from seesay.train.image_text import Vectors
from seesay.train.pretraining import number
from train import blip_steps as made


def pair(row: int) -> Pair:
    """A row as the reference reads it: ids by hand, [CLS] or [ENC] or [DEC] first."""
    processor: Any = made.processor()
    words = processor.tokenizer.ids([made.TEXTS[row]])[0]
    text, asked, written = ([first, *words, 102] for first in (101, 30523, 30522))
    return Pair(made.pixels(row), text, asked, written, made.keys([row])[0])


def test_four_steps_have_the_losses_and_gradients_of_the_reference() -> None:
    ours, theirs = made.module(), made.module()
    steps = made.steps(ours)
    reference = Step(theirs, decay=0.8, queue=7, floor=1e-4)
    for step, rows in enumerate(made.ROWS):
        told = steps.learn(made.shown(step, rows))
        alpha = 0.4 * min(1, step / 4)
        # whatever the order of the batch, negatives are drawn in that of the data
        draws = np.random.default_rng([3, step]).random((len(rows), 2)).tolist()
        wanted = reference([pair(row) for row in sorted(rows)], draws, alpha)
        loss = torch.stack(list(wanted.values())).sum()
        loss.backward()
        for name, value in (wanted | {"loss": loss}).items():
            torch.testing.assert_close(told[name], value.detach(), rtol=1e-4, atol=1e-5, msg=name)
        assert float(told["alpha"]) == pytest.approx(alpha)
        assert float(told["temperature"]) == pytest.approx((-theirs.logit_scale).exp().item())
        for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            scale = 1e-4 * max(1.0, float(b.grad.abs().max()))
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=scale, msg=name)
        for module in (ours, theirs):
            made.descend(module)
        steps.after()
        assert len(steps.queue.held().keys) == len(reference.queue)
    for name, mean in steps.momentum.means.items():
        # the reference updates before a step, and so has one update to come
        now = dict(theirs.named_parameters())[name].detach()
        mean_then = dict(reference.slow.named_parameters())[name]
        torch.testing.assert_close(mean, 0.8 * mean_then + 0.2 * now, rtol=1e-3, atol=1e-4)


def test_a_step_that_is_not_taken_leaves_copies_and_queue_as_they_were() -> None:
    steps = made.steps(made.module())
    steps.learn(made.shown(0, [0, 1]))
    assert steps.queue.filled == 0
    made.descend(steps.module)
    steps.after()
    assert steps.queue.filled == 2
    before = {name: mean.clone() for name, mean in steps.momentum.means.items()}
    steps.learn(made.shown(1, [2, 3]))
    assert all(torch.equal(mean, before[name]) for name, mean in steps.momentum.means.items())
    assert steps.queue.filled == 2


@pytest.mark.parametrize("rows", [[2], [0, 5], [1, 4]], ids=["one", "one picture", "one text"])
def test_a_batch_without_a_negative_teaches_no_matching(rows: list[int]) -> None:
    steps = made.steps(made.module())
    told = steps.learn(made.shown(0, rows))
    assert float(told["itm"]) == float(told["itm_accuracy"]) == 0
    assert float(told["lm"]) > 0
    for name, parameter in steps.module.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert not (name.startswith("itm_head") and parameter.grad.any())


@pytest.mark.parametrize("negatives", ["all", "local"])
def test_saturated_similarities_and_repeated_rows_learn_on(negatives: str) -> None:
    config = made.changed(negatives=negatives)
    steps = made.steps(made.module(), config=config)
    with torch.no_grad():
        steps.module.logit_scale.fill_(math.log(1000))
    told = steps.learn(made.shown(0, [0, 5, 1, 4, 0, 2, 2]))
    assert all(torch.isfinite(value) for value in told.values())
    for parameter in steps.module.parameters():
        assert torch.isfinite(parameter.grad).all()


def test_the_temperature_stays_within_its_bounds() -> None:
    steps = made.steps(made.module())
    for scale, kept in ((-3.0, 0.5), (20.0, 0.001), (2.0, math.exp(-2))):
        with torch.no_grad():
            steps.module.logit_scale.fill_(scale)
        steps.after()
        assert (-steps.module.logit_scale).exp().item() == pytest.approx(kept, rel=1e-5)


def test_alpha_rises_over_its_epochs() -> None:
    steps = made.steps(made.module(), epoch=10)
    assert [steps.alpha(step) for step in (0, 5, 10, 20, 500)] == pytest.approx(
        [0, 0.1, 0.2, 0.4, 0.4]
    )
    at_once = made.changed(momentum=MomentumConfig(alpha=0.3, alpha_epochs=0))
    assert made.steps(made.module(), config=at_once).alpha(0) == 0.3


def test_where_repeats_are_no_matches_each_pair_matches_itself_alone() -> None:
    steps = made.steps(made.module(), config=made.changed(duplicates=False))
    pairs = steps._pairs(made.shown(1, [0, 5, 1, 4]))
    same = (pairs.keys[:, None] == pairs.keys).any(-1)
    assert torch.equal(same, torch.eye(4, dtype=torch.bool))
    again = steps._pairs(made.shown(2, [0, 5, 1, 4]))
    assert not (pairs.keys[:, None] == again.keys).any()


def test_retrieval_takes_positives_by_picture_and_writes_nothing() -> None:
    config = made.changed(name="retrieval")
    steps = made.steps(made.module(), config=config)
    told = steps.learn(made.shown(0, [0, 5, 2]))  # 0 and 5 are captions of one picture
    assert "lm" not in told
    assert steps.module.lm_head.bias.grad is None
    own = Vectors(
        steps.module.embed_image(torch.stack([made.pixels(row) for row in (0, 5, 2)])),
        steps.module.embed_text(*made.processor().texts([made.TEXTS[r] for r in (0, 5, 2)])),
        torch.tensor(made.keys([0, 5, 2])),
    )
    target = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    logits = steps.module.logit_scale.exp() * own.images @ own.texts.T
    cross = torch.nn.functional.cross_entropy
    wanted = (cross(logits, target) + cross(logits.T, target)) / 2
    torch.testing.assert_close(told["itc"], wanted.detach(), rtol=1e-4, atol=1e-5)


def test_equal_texts_share_a_number_whatever_their_case_and_spaces() -> None:
    assert number("Two  dogs ") == number("two dogs") != number("two dogs.")
    assert -(2**63) <= number("snow") < 2**63
