"""BLIP: pre-training and retrieval as published, and a small one from scratch.

What the published ones name, no laptop trains; they are here to be read, to start from, and to be
run by who has the machines. docs/blip-training.md tells what to expect.
"""

from __future__ import annotations

from typing import Literal

from seesay.train.config import (
    DataConfig,
    MomentumConfig,
    ObjectiveConfig,
    OptimConfig,
    ScheduleConfig,
    TrainConfig,
)


def pretrain() -> TrainConfig:
    """Return BLIP's pre-training: 20 epochs of contrast, matching and writing at 224 pixels.

    Paper: arXiv 2201.12086, sections 3.2 and 4.1.
    Reference: salesforce/BLIP, configs/pretrain.yaml and pretrain.py; 75 pairs on each of 8 GPUs.
    Differs: from random weights, where the reference takes a DeiT and a BERT; the rate falls every
        step, by 0.9 in an epoch, and not at each epoch's end; repeats of a picture or a text are
        matches; the temperature is learnt by its logarithm, and does not decay.
    """
    return TrainConfig(
        model="blip-base",
        init="random",
        epochs=20,
        optim=_published(3e-4),
        schedule=ScheduleConfig(
            kind="exponential", warmup=3000, start=1e-6 / 3e-4, end=round(0.9**20, 4)
        ),
        data=DataConfig(batch_size=600, augment="blip_pretrain"),
        objective=ObjectiveConfig(name="pretraining", max_length=30, negatives="local"),
    )


def retrieval() -> TrainConfig:
    """Return the fine-tuning of a model that finds and judges, on one's own pictures."""
    return TrainConfig(
        model="Salesforce/blip-itm-base-coco",
        epochs=5,
        optim=OptimConfig(lr=1e-5, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
        schedule=ScheduleConfig(warmup=20),
        data=DataConfig(batch_size=16, augment="clip"),
        objective=ObjectiveConfig(
            name="retrieval", momentum=MomentumConfig(queue=512, alpha_epochs=1.0)
        ),
    )


def retrieval_coco() -> TrainConfig:
    """Return BLIP's fine-tuning for retrieval on COCO: six epochs at 384 pixels.

    Paper: arXiv 2201.12086, section 5.1.
    Reference: salesforce/BLIP, configs/retrieval_coco.yaml; 32 pairs on each of 8 GPUs.
    Differs: the rate follows its cosine every step, and not every epoch. With ViT-L it is 5e-6.
    """
    return _retrieval("all")


def retrieval_flickr() -> TrainConfig:
    """Return BLIP's fine-tuning for retrieval on Flickr30k, whose negatives are a process's own.

    Paper: arXiv 2201.12086, section 5.1.
    Reference: salesforce/BLIP, configs/retrieval_flickr.yaml; 32 pairs on each of 8 GPUs.
    Differs: as `retrieval_coco`.
    """
    return _retrieval("local")


def scratch() -> TrainConfig:
    """Return the pre-training of a small BLIP from random weights, in minutes on two cores."""
    return TrainConfig(
        model="blip-small",
        init="random",
        epochs=36,
        ema=0.99,
        optim=OptimConfig(lr=1e-3, betas=(0.9, 0.98), weight_decay=0.05),
        schedule=ScheduleConfig(warmup=60, end=0.01),
        data=DataConfig(batch_size=64, augment="flip"),
        objective=ObjectiveConfig(
            name="pretraining",
            momentum=MomentumConfig(decay=0.99, queue=256, alpha=0.2, alpha_epochs=10),
        ),
    )


def _retrieval(negatives: Literal["all", "local"]) -> TrainConfig:
    return TrainConfig(
        model="blip-base",
        image_size=384,
        epochs=6,
        optim=_published(1e-5),
        data=DataConfig(batch_size=256, augment="blip_finetune"),
        objective=ObjectiveConfig(
            name="retrieval", negatives=negatives, momentum=MomentumConfig(alpha_epochs=1.0)
        ),
    )


def _published(lr: float) -> OptimConfig:
    """AdamW as BLIP has it: everything decays, nothing is clipped."""
    return OptimConfig(
        lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05, decay_vectors=True, clip=None
    )
