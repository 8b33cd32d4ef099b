"""Training of models that answer questions about pictures in their own words (VQA)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seesay.errors import UsageError
from seesay.train.captioning import check, options_of, written_ids
from seesay.train.config import TrainConfig
from seesay.train.contrastive import export, prepare
from seesay.train.feeding import closing, feed
from seesay.train.freeze import training_mode
from seesay.train.loop import Learner
from seesay.train.parallel import World, spread
from seesay.train.writing import Called, Texts, Writing, measured
from seesay.types import Prompt

if TYPE_CHECKING:
    from seesay.data.questions import Questions
    from seesay.model import Model


def answering(
    model: Model,
    questions: Questions,
    config: TrainConfig,
    world: World,
    caches: Path,
    evaluation: Questions | None = None,
    *,
    quiet: bool = False,
) -> Learner:
    """Return what trains a model to write the answers of questions; changes the model in place.

    A question's answers are all learnt, each by how many of its annotators gave it. The loss of an
    answer is the sum over its tokens; that of a batch is their weighted sum, over its questions.

    Paper: arXiv 2201.12086, section 5.3.
    Reference: salesforce/BLIP, train_vqa.py, data/vqa_dataset.py and models/blip_vqa.py.
    Differs: padding of a question is never seen.

    Args:
        model: In fp32, where it shall be trained.
        questions: With answers.
        config: How.
        world: The processes that train together.
        caches: Not used.
        evaluation: What to measure the model on, or None.
        quiet: Not used: nothing is computed before the first step.

    Raises:
        UsageError: The configuration asks for what the model or the data cannot give.
    """
    check(model, config, "answer")
    expect(questions, 1, config)
    prepare(model, config)
    module: Any = model.module
    forward = spread(Called(module, module.forward), module, world, config.strategy)
    asked = questions.pictures[0]
    loader = feed(model, asked, config, world, text="none")

    def batch(step: int) -> Texts:
        found = loader(step)
        return taught(model.processor, questions, found.rows, found.pixels, config)

    steps = Writing(forward, config, world, over=len)

    def figures() -> Mapping[str, float]:
        assert evaluation is not None
        from seesay.evaluate import answering as measure

        told: dict[str, Any] = {
            "limit": config.evaluate.limit,
            "options": options_of(config),
            "resamples": 0,
        }
        return measure(model, evaluation, **told).metrics

    return Learner(
        module,
        batch,
        steps.learn,
        train=lambda: training_mode(module),
        evaluate=measured(figures, config, world, forward) if evaluation is not None else None,
        export=lambda folder, weights: export(model, folder, weights),
        rows=lambda texts: ", ".join(asked[i].where for i in texts.rows[:20]),
        metric="accuracy" if evaluation is not None else "-loss",
        samples=config.data.batch_size,
        steps_per_epoch=loader.order.steps_per_epoch,
        close=lambda: closing(loader),
    )


def weighted(answers: Sequence[str], single: float = 1.0) -> dict[str, float]:
    """Return how much each different answer counts, of a question's annotators' answers.

    Args:
        answers: What each said.
        single: The weight of an answer where only one was asked.
    """
    if len(answers) == 1:
        return {answers[0]: single}
    return {answer: count / len(answers) for answer, count in Counter(answers).items()}


def taught(
    processor: Any,
    questions: Questions,
    rows: list[int],
    pixels: Tensor | None,
    config: TrainConfig,
) -> Texts:
    """Return a batch: pictures, what is asked about each, and all its answers with their weights.

    As many answers stand beside each picture as the question with the most has; those that it
    lacks repeat its first one and count for nothing.
    """
    single, length = config.objective.single_answer, config.objective.max_length
    answers = [weighted(questions.answers(row), single) for row in rows]
    most = max(map(len, answers), default=1)
    texts, weights = [], []
    for each in answers:
        missing = most - len(each)
        texts += [*each, *[next(iter(each), "")] * missing]
        weights += [*each.values(), *[0.0] * missing]
    written, starts = written_ids(processor, texts, "", length, "answer")
    read = processor.prompts("answer", [questions[row].text for row in rows])
    ids, mask = read.ids, read.mask
    if not rows:
        ids, mask = written
    prompt = Prompt(pixels, *written, ids, mask, read.seen)
    return Texts(prompt, starts, torch.tensor(weights), rows)


def expect(questions: Questions, pictures: int, config: TrainConfig) -> None:
    """Raise unless questions are about so many pictures each.

    Raises:
        UsageError: They are about another number.
    """
    found = len(questions.pictures)
    if found != pictures:
        raise UsageError(
            f"{questions.name} asks about {found} pictures at once, and "
            f"{config.objective.name!r} learns of {pictures}",
            "objective.name=nlvr learns of two, vqa and classification of one",
        )
