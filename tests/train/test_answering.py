"""Answers are learnt by how many gave them, whatever shares their batch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import seesay
from seesay.data import open_questions
from seesay.train.answering import answering, taught, weighted
from seesay.train.config import DataConfig, ObjectiveConfig, OptimConfig, TrainConfig
from seesay.train.language import text_losses
from seesay.train.parallel import World
from seesay.train.run import run
from seesay.types import Prompt
from train import asked
from train.test_captioning import gradients


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asked.questions(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asked.steady("vqa", tmp_path_factory.mktemp("base") / "tiny")


def test_each_answer_counts_by_how_many_gave_it() -> None:
    assert weighted(["yes"] * 7 + ["no"] * 2 + ["maybe"]) == {"yes": 0.7, "no": 0.2, "maybe": 0.1}
    assert weighted(["a man"]) == {"a man": 1.0}
    assert weighted(["a man"], single=0.2) == {"a man": 0.2}
    assert weighted(["a", "a"], single=0.2) == {"a": 1.0}


def test_the_loss_and_its_gradient_are_those_of_the_definition(data: Path, base: Path) -> None:
    questions = open_questions(data)
    model = seesay.load(base, dtype="float32")
    model.module.double()
    config = asked.config(data, "vqa")
    learner = answering(model, questions, config, World(), data.parent)
    batch = learner.batch(0)
    pixels = batch.prompt.pixels.double()  # type: ignore[union-attr]
    batch = dataclasses.replace(batch, prompt=batch.prompt._replace(pixels=pixels))
    loss = learner.learn(batch)["loss"]
    ours = gradients(model.module)
    # one question and one answer at a time, unpadded: sum of weight * -sum(target * log p)
    total = torch.zeros((), dtype=torch.float64)
    tokens, start = model.processor.tokenizer, model.processor.dec_id
    width = tokens.size
    for i, row in enumerate(batch.rows):
        question = questions[row]
        read = model.processor.prompts("answer", [question.text])
        for answer, weight in weighted(question.answers).items():
            ids = torch.tensor([[start, *tokens.ids([answer])[0], tokens.sep_id]])
            prompt = Prompt(pixels[i : i + 1], ids, ids > 0, read.ids, read.mask)
            chances = model.module(prompt)[0].log_softmax(-1)
            for place in range(1, ids.shape[1]):
                target = torch.full((width,), 0.1 / width, dtype=torch.float64)
                target[ids[0, place]] += 0.9
                total = total - weight * (target * chances[place - 1]).sum()
    total = total / len(batch.rows)
    total.backward()
    torch.testing.assert_close(loss, total.detach())
    theirs = gradients(model.module)
    assert ours.keys() == theirs.keys() == {n for n, _ in model.module.named_parameters()}
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-7, atol=1e-11, msg=name)


def test_an_answer_is_worth_the_same_whatever_shares_its_batch(data: Path, base: Path) -> None:
    model, questions = seesay.load(base, dtype="float32"), open_questions(data)
    assert {len(question.text.split()) for question in questions} == {2, 7}
    pixels = torch.randn(4, 3, 32, 32)

    def losses(rows: list[int]) -> Tensor:
        batch = taught(model.processor, questions, rows, pixels[rows], TrainConfig())
        logits = model.module(batch.prompt)
        prompt = batch.prompt
        sums, _ = text_losses(logits, prompt.prefix, prompt.prefix_mask, batch.starts)
        return (sums * batch.weights).reshape(len(rows), -1).sum(1)

    with torch.no_grad():
        together = losses([0, 1, 2, 3])
        alone = torch.cat([losses([row]) for row in range(4)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_questions_with_fewer_answers_are_filled_up_with_what_counts_nothing(
    data: Path, base: Path
) -> None:
    model, questions = seesay.load(base, dtype="float32"), open_questions(data)
    config = TrainConfig(objective=ObjectiveConfig(name="vqa", single_answer=0.2))
    batch = taught(model.processor, questions, [0, 1], torch.zeros(2, 3, 32, 32), config)
    assert batch.weights.tolist() == pytest.approx([0.2, 0.0, 0.75, 0.25])
    words = model.processor.decode(batch.prompt.prefix.tolist())
    assert words == ["right", "right", "red", "a colour"]
    first = batch.part(0, 1)
    assert (len(first), first.weights.tolist()) == (1, pytest.approx([0.2, 0.0]))
    assert first.prompt.ids is not None
    assert (len(first.prompt.ids), len(first.prompt.prefix)) == (1, 2)


def test_a_tiny_model_memorises_eight_answers(base: Path, tmp_path: Path) -> None:
    path = asked.questions(tmp_path / "pictures", pick=(0, 1, 7, 9))
    config = asked.config(
        path,
        "vqa",
        model=str(base),
        init="pretrained",
        steps=125,
        optim=OptimConfig(lr=1e-2, eps=1e-8, weight_decay=0.0),
        data=DataConfig(path=str(path), batch_size=8, workers=0),
        objective=ObjectiveConfig(name="vqa", label_smoothing=0.0),
    )
    run(config, tmp_path / "run", quiet=True, device="cpu")
    model, questions = seesay.load(tmp_path / "run", dtype="float32"), open_questions(path)
    said: list[Any] = [model.answer(q.images[0], q.text)[0].answer for q in questions]
    assert said == [question.answers[0] for question in questions]
