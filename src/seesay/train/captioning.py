"""Training of models that describe pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seesay.errors import UsageError
from seesay.protocols import Generator, Speaker
from seesay.train.config import TrainConfig
from seesay.train.contrastive import export, prepare
from seesay.train.feeding import closing, feed
from seesay.train.freeze import training_mode
from seesay.train.loop import Learner
from seesay.train.parallel import World, spread
from seesay.train.writing import Called, Texts, Writing, measured
from seesay.types import Prompt

if TYPE_CHECKING:
    from seesay.data.record import Dataset
    from seesay.model import Model


def captioning(
    model: Model,
    dataset: Dataset,
    config: TrainConfig,
    world: World,
    caches: Path,
    evaluation: Dataset | None = None,
    *,
    quiet: bool = False,
) -> Learner:
    """Return what trains a model to write captions; changes the model in place.

    The loss is the mean over all tokens of a batch that follow the prompt.

    Paper: arXiv 2201.12086, sections 3.2 and 5.2.
    Reference: salesforce/BLIP, train_caption.py and models/blip.py.
    Differs: the mean is that of all processes, not the mean of their means.

    Args:
        model: In fp32, where it shall be trained.
        dataset: Pictures with captions.
        config: How.
        world: The processes that train together.
        caches: Not used.
        evaluation: What to measure the model on, or None.
        quiet: Not used: nothing is computed before the first step.

    Raises:
        UsageError: The configuration asks for what the model or the data cannot give.
    """
    check(model, config, "caption")
    prepare(model, config)
    module: Any = model.module
    forward = spread(Called(module, module.forward), module, world, config.strategy)
    loader = feed(model, dataset, config, world)
    prompt = beginning(model, config)

    def batch(step: int) -> Texts:
        found = loader(step)
        written, starts = written_ids(
            model.processor, found.texts, prompt, config.objective.max_length, "caption"
        )
        weights = torch.ones(len(starts))
        return Texts(Prompt(found.pixels, *written), starts, weights, found.rows)

    steps = Writing(forward, config, world, over=lambda texts: texts.tokens)

    def figures() -> Mapping[str, float]:
        assert evaluation is not None
        from seesay.evaluate import captioning as measure

        told: dict[str, Any] = {
            "limit": config.evaluate.limit,
            "options": options_of(config),
            "resamples": 0,
        }
        return measure(model, evaluation, prompt=config.objective.prompt, **told).metrics

    return Learner(
        module,
        batch,
        steps.learn,
        train=lambda: training_mode(module),
        evaluate=measured(figures, config, world, forward) if evaluation is not None else None,
        export=lambda folder, weights: export(model, folder, weights),
        rows=lambda texts: ", ".join(dataset[i].where for i in texts.rows[:20]),
        metric="cider_d" if evaluation is not None else "-loss",
        samples=config.data.batch_size,
        steps_per_epoch=loader.order.steps_per_epoch,
        close=lambda: closing(loader),
    )


def beginning(model: Model, config: TrainConfig) -> str:
    """Return what every caption begins with and no loss teaches."""
    if config.objective.prompt is not None:
        return config.objective.prompt
    asked = model.family.asking("caption", model.config)
    return asked.template.partition("{}")[0] if asked else ""


def written_ids(
    processor: Any, texts: list[str], prompt: str, max_length: int | None, task: str
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return ids and mask [N, L] of what shall be written, and where it is learnt from, [N]."""
    if not texts:  # a share without rows: one column, as networks want
        ids = torch.zeros(0, 1, dtype=torch.long)
        return (ids, ids.bool()), ids[:, 0]
    (ids, mask), starts = processor.written(texts, prompt, max_length, task=task)
    return (ids, mask), starts


def options_of(config: TrainConfig) -> dict[str, Any]:
    """Return how texts are generated while a model is measured, where that is not as published."""
    beams = config.evaluate.num_beams
    return {} if beams is None else {"num_beams": beams}


def check(model: Model, config: TrainConfig, task: str) -> None:
    """Raise unless a model can be taught to do a task by writing, in the way that is asked for.

    Raises:
        UsageError: It does not write; or the configuration has what only other objectives have.
    """
    writes = isinstance(model.module, Generator) and isinstance(model.processor, Speaker)
    if not writes or model.family.asking(task, model.config) is None:
        raise UsageError(
            f"{model.name} cannot be taught to {task}",
            "a model such as blip-tiny; `seesay models --tasks` lists what each can do",
        )
    refuse(config)


def refuse(config: TrainConfig) -> None:
    """Raise for settings of which only other objectives know something.

    Raises:
        UsageError: One of them is set.
    """
    told: dict[str, Any] = {
        "objective.chunk": config.objective.chunk,
        "objective.views": config.objective.views,
        "tune.cache": config.tune.cache,
    }
    if config.objective.name != "captioning":
        told |= {"objective.prompt": config.objective.prompt, "data.bucket": config.data.bucket}
    for key, value in told.items():
        if value:
            raise UsageError(
                f"{key}={value} means nothing for {config.objective.name!r}", f"leave {key} out"
            )
