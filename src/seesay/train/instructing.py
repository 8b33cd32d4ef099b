"""Training of models that are told what to do: a prompt is read, and its answer is written."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from seesay.errors import InputError, UsageError
from seesay.protocols import Generator, Speaker
from seesay.train.answering import expect
from seesay.train.captioning import options_of, refuse, written_ids
from seesay.train.config import TrainConfig
from seesay.train.contrastive import export, prepare
from seesay.train.feeding import closing, feed
from seesay.train.freeze import training_mode
from seesay.train.loop import Learner
from seesay.train.parallel import World, spread
from seesay.train.sighted import Sighted
from seesay.train.writing import Called, Texts, Writing, measured
from seesay.types import Prompt

if TYPE_CHECKING:
    from seesay.data.questions import Questions
    from seesay.model import Model

_log = logging.getLogger("seesay")
_ANSWER = 3
"""Which stream of random numbers chooses among the answers of a prompt."""


def instructing(
    model: Model,
    questions: Questions,
    config: TrainConfig,
    world: World,
    caches: Path,
    evaluation: Questions | None = None,
    *,
    quiet: bool = False,
) -> Learner:
    """Return what trains a model to do what prompts say; changes the model in place.

    The loss is the mean over all tokens of a batch that are written, of all processes; padding is
    none of them. Of several answers to a prompt one is drawn in each epoch.

    Paper: arXiv 2311.06242, section 3.2 (equation 1).
    Reference: transformers, models/florence2, the loss of Florence2ForConditionalGeneration.
    Differs: a text that fills all tokens was cut, so its end is not learnt.

    Args:
        model: In fp32, where it shall be trained.
        questions: Raw prompts, with answers.
        config: How.
        world: The processes that train together.
        caches: Not used.
        evaluation: What to measure the model on, or None.
        quiet: Not used: nothing is computed before the first step.

    Raises:
        UsageError: The configuration asks for what the model or the data cannot give.
        InputError: A prompt is too long, and `data.on_missing` is "error".
    """
    _check(model, questions, config)
    questions = fitting(model.processor, questions, config)
    if evaluation is not None:
        evaluation = fitting(model.processor, evaluation, config)
    prepare(model, config)
    module: Any = model.module
    forward = spread(Called(module, module.forward), module, world, config.strategy)
    asked = questions.pictures[0]
    loader = feed(model, asked, config, world, text="none")
    order = loader.order
    sighted = Sighted(model, evaluation, config, world) if evaluation is not None else None

    def batch(step: int) -> Texts:
        found, epoch = loader(step), order.epoch(step)
        texts = [drawn(questions.answers(row), config.seed, epoch, row) for row in found.rows]
        asking = [questions[row].text for row in found.rows]
        return taught(model.processor, asking, texts, found.rows, found.pixels, config)

    steps = Writing(forward, config, world, over=lambda texts: texts.tokens)

    def figures() -> Mapping[str, float]:
        assert evaluation is not None
        assert sighted is not None
        from seesay.evaluate import instructed

        told: dict[str, Any] = {"limit": config.evaluate.limit, "resamples": 0}
        told |= options_of(config)
        if config.objective.max_length is not None:  # longer ones were never learnt
            told["max_new_tokens"] = config.objective.max_length
        return {**instructed(model, evaluation, **told).metrics, **sighted.figures()}

    def close() -> None:
        closing(loader)
        if sighted is not None and world.rank == 0:
            for told in sighted.verdicts():
                _log.warning(told)

    return Learner(
        module,
        batch,
        steps.learn,
        train=lambda: training_mode(module),
        evaluate=measured(figures, config, world, forward) if evaluation is not None else None,
        export=lambda folder, weights: export(model, folder, weights),
        rows=lambda texts: ", ".join(asked[i].where for i in texts.rows[:20]),
        metric="-loss" if evaluation is None else usual_metric(evaluation),
        samples=config.data.batch_size,
        steps_per_epoch=order.steps_per_epoch,
        close=close,
    )


def drawn(answers: Sequence[str], seed: int, epoch: int, row: int) -> str:
    """Return the answer that is learnt in an epoch; who gave it twice has two lots."""
    if len(answers) < 2:
        return answers[0] if answers else ""
    return answers[int(np.random.default_rng([seed, epoch, row, _ANSWER]).integers(len(answers)))]


def taught(
    processor: Any,
    asking: Sequence[str],
    texts: list[str],
    rows: list[int],
    pixels: Tensor | None,
    config: TrainConfig,
) -> Texts:
    """Return a batch: pictures, the prompt about each, and what shall be written."""
    length = config.objective.max_length
    (written, counted), starts = written_ids(processor, texts, "", length, "prompt")
    limit = min(length or processor.positions, processor.positions)
    if written.shape[1] >= limit:
        counted = counted.clone()
        counted[:, limit - 1] = False
    ids, mask, seen = written, counted, None
    if rows:
        read = processor.prompts("prompt", asking)
        ids, mask, seen = read.ids, read.mask, read.seen
    prompt = Prompt(pixels, written, counted, ids, mask, seen)
    return Texts(prompt, starts, torch.ones(len(starts)), rows)


def fitting(processor: Any, questions: Questions, config: TrainConfig) -> Questions:
    """Return the questions whose prompts the model can read.

    Raises:
        InputError: One is too long, or its task token is misused; unless `data.on_missing` skips.
    """
    wrong: dict[str, InputError | UsageError] = {}
    for text in {questions[row].text for row in range(len(questions))}:
        try:
            processor.prompts("prompt", [text])
        except (InputError, UsageError) as error:
            wrong[text] = error
    bad = [row for row in range(len(questions)) if questions[row].text in wrong]
    if not bad:
        return questions
    first = questions[bad[0]]
    why = wrong[first.text]
    if config.data.on_missing == "error":
        hint = "data.on_missing=skip leaves such rows out"
        raise InputError(f"{first.where}: {why.what}; {len(bad)} rows like it", why.hint or hint)
    _log.warning("%d rows were left out: %s: %s", len(bad), first.where, why.what)
    left = {*bad}
    return questions.select(row for row in range(len(questions)) if row not in left)


def usual_metric(evaluation: Questions) -> str:
    """Return the figure that tells the best checkpoint: of one kind of prompts its own."""
    from seesay.evaluate.kinds import kind_of

    kinds = {kind_of(question.text) for question in evaluation}
    if len(kinds) != 1:
        return "-val_loss"
    kind = kinds.pop()
    return f"-{kind.figure}" if kind.errors else kind.figure


def _check(model: Model, questions: Questions, config: TrainConfig) -> None:
    writes = isinstance(model.module, Generator) and isinstance(model.processor, Speaker)
    if not writes or model.family.asking("prompt", model.config) is None:
        raise UsageError(
            f"{model.name} follows no prompts, which 'instruct' teaches",
            "a model such as florence2-tiny; objective.name=captioning and vqa teach others",
        )
    refuse(config)
    expect(questions, 1, config)
    if config.data.augment != "none":
        for question in questions:
            if any("<loc_" in text for text in (question.text, *question.answers)):
                raise UsageError(
                    f"data.augment={config.data.augment!r} moves what is in a picture, and "
                    f"{question.where} says where it is",
                    "data.augment=none",
                )
