"""Teaching Florence-2 new things to do, or the old ones on other pictures.

Each wants `data.path`, in any format of docs/data-formats.md: rows with a prefix and a suffix,
questions, captions, boxes, phrases, lines of text. With `evaluate.path` it keeps the best
checkpoint, not only the last. docs/documents.md tells what to expect.
"""

from __future__ import annotations

from seesay.train.config import (
    DataConfig,
    LoraConfig,
    ObjectiveConfig,
    OptimConfig,
    ScheduleConfig,
    TrainConfig,
    TuneConfig,
)

MODEL = "microsoft/Florence-2-base-ft"
LAYERS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
"""All linear layers of the transformers, but what writes words."""


def docvqa() -> TrainConfig:
    """Return the fine-tuning on questions about documents that we recommend.

    The vision tower is frozen, adapters are trained on the language model. For the whole of that:
    tune.lora=null with optim.lr=2e-5.
    """
    layers = tuple(f"text.*.{name}" for name in LAYERS)
    return TrainConfig(
        model=MODEL,
        epochs=3,
        metric="anls",
        optim=_adamw(1e-4),
        schedule=ScheduleConfig(warmup=0.03),
        data=DataConfig(batch_size=64, micro_batch=8, prompt="<DocVQA>"),
        objective=ObjectiveConfig(name="instruct", max_length=128),
        tune=TuneConfig(freeze=("image",), lora=LoraConfig(rank=16, alpha=32, targets=layers)),
    )


def docvqa_published() -> TrainConfig:
    """Return the published fine-tuning on DocVQA, with its errors mended.

    Reference: huggingface.co/blog/finetune-florence2 and andimarafioti/florence2-finetuning:
        seven epochs at 1e-6, batches of 6, linear, no warm-up, the vision tower frozen.
    Differs: docs/documents.md lists what was mended. That nothing is clipped and nothing decays is
        as published.
    """
    return TrainConfig(
        model=MODEL,
        epochs=7,
        precision="fp32",
        metric="anls",
        optim=OptimConfig(lr=1e-6, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0, clip=None),
        schedule=ScheduleConfig(kind="linear"),
        data=DataConfig(batch_size=6, prompt="<DocVQA>"),
        objective=ObjectiveConfig(name="instruct"),
        tune=TuneConfig(freeze=("image",)),
    )


def florence2() -> TrainConfig:
    """Return the fine-tuning of the language model on any prompts; the vision tower is frozen."""
    return TrainConfig(
        model=MODEL,
        epochs=5,
        optim=_adamw(2e-5, weight_decay=0.01),
        schedule=ScheduleConfig(warmup=0.03),
        data=DataConfig(batch_size=16, micro_batch=4),
        objective=ObjectiveConfig(name="instruct"),
        tune=TuneConfig(freeze=("image",)),
    )


def florence2_lora() -> TrainConfig:
    """Return adapters on all linear layers, those of the vision tower too, for any prompts.

    For pictures unlike those it has seen, and for finding things in them.
    """
    return TrainConfig(
        model=MODEL,
        epochs=10,
        optim=_adamw(1e-4),
        schedule=ScheduleConfig(warmup=0.03),
        data=DataConfig(batch_size=16, micro_batch=4),
        objective=ObjectiveConfig(name="instruct"),
        tune=TuneConfig(lora=LoraConfig(rank=16, alpha=32, targets=LAYERS)),
    )


def _adamw(lr: float, weight_decay: float = 0.0) -> OptimConfig:
    return OptimConfig(lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=weight_decay, clip=1.0)
