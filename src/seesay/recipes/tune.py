"""Going on from a model that exists, on pictures of one's own.

Each wants `data.path`; with `evaluate.path` it keeps the best checkpoint, not only the last.
"""

from __future__ import annotations

from seesay.registry import DEFAULT_MODEL
from seesay.train.config import (
    DataConfig,
    LoraConfig,
    ObjectiveConfig,
    OptimConfig,
    ScheduleConfig,
    TrainConfig,
    TuneConfig,
)


def finetune() -> TrainConfig:
    """Return the fine-tuning of a whole model: a small rate, smaller still for lower layers."""
    return TrainConfig(
        model=DEFAULT_MODEL,
        epochs=10,
        optim=OptimConfig(lr=1e-4, weight_decay=0.1, layer_decay=0.8),
        schedule=ScheduleConfig(warmup=20),
        data=DataConfig(batch_size=64, augment="clip"),
    )


def lora() -> TrainConfig:
    """Return low-rank adapters on all linear layers of the transformers (arXiv 2106.09685).

    On the default model that is the text tower: its image tower is convolutional.
    """
    layers = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
    return TrainConfig(
        model=DEFAULT_MODEL,
        epochs=10,
        optim=OptimConfig(lr=1e-3, weight_decay=0.0),
        schedule=ScheduleConfig(warmup=20),
        data=DataConfig(batch_size=64),
        tune=TuneConfig(lora=LoraConfig(rank=16, targets=layers, train=("logit_scale",))),
    )


def lit() -> TrainConfig:
    """Return locked-image tuning (arXiv 2111.07991): each picture goes through its tower once."""
    return TrainConfig(
        model=DEFAULT_MODEL,
        epochs=20,
        optim=OptimConfig(lr=3e-4, weight_decay=0.1),
        schedule=ScheduleConfig(warmup=50),
        data=DataConfig(batch_size=256),
        tune=TuneConfig(freeze=("image",), cache=("image",)),
    )


def heads() -> TrainConfig:
    """Return the training of the projections alone, on features that are computed once."""
    return TrainConfig(
        model=DEFAULT_MODEL,
        epochs=50,
        optim=OptimConfig(lr=1e-3, weight_decay=0.1),
        schedule=ScheduleConfig(warmup=20),
        data=DataConfig(batch_size=256),
        tune=TuneConfig(freeze=("image", "text"), cache=("image", "text")),
    )


def probe() -> TrainConfig:
    """Return a linear classifier on the features of the image tower, for labelled pictures."""
    return TrainConfig(
        model=DEFAULT_MODEL,
        epochs=100,
        metric="top1",
        optim=OptimConfig(lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-3, clip=None),
        data=DataConfig(batch_size=256),
        objective=ObjectiveConfig(name="probe"),
        tune=TuneConfig(cache=("image",)),
    )
