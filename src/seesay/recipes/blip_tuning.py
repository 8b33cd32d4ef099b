"""Teaching BLIP what it shall be used for: to describe, to answer, to compare.

Each wants `data.path`, and goes on from whatever BLIP is given as the model, a pre-trained one or
one that can do the same already. With `evaluate.path` it keeps the best checkpoint, not only the
last. `blip_*` are as published, for who has the machines; the others do with one.
"""

from __future__ import annotations

import dataclasses

from seesay.train.config import (
    DataConfig,
    ObjectiveConfig,
    OptimConfig,
    ScheduleConfig,
    TrainConfig,
)

BETAS = (0.9, 0.999)


def caption() -> TrainConfig:
    """Return the fine-tuning of a captioner on one's own pictures."""
    return _own("Salesforce/blip-image-captioning-base", ObjectiveConfig(name="captioning"))


def vqa() -> TrainConfig:
    """Return the fine-tuning of a model that answers, on one's own questions."""
    return _own("Salesforce/blip-vqa-base", ObjectiveConfig(name="vqa"))


def nlvr() -> TrainConfig:
    """Return the training of a judge of statements about two pictures, begun from one of pairs."""
    return _own("Salesforce/blip-itm-base-coco", ObjectiveConfig(name="nlvr"))


def entail() -> TrainConfig:
    """Return the training of who says what follows from a picture, begun from a judge of pairs."""
    return _own("Salesforce/blip-itm-base-coco", ObjectiveConfig(name="classification"))


def blip_caption() -> TrainConfig:
    """Return BLIP's captioning on COCO: Karpathy's training split, a row for each caption.

    Paper: arXiv 2201.12086, section 5.2 and appendix.
    Reference: salesforce/BLIP, configs/caption_coco.yaml and train_caption.py.
    Differs: the rate falls every step, not every epoch. With ViT-L it is 2e-6.
    """
    return _published(
        "blip-base",
        lr=1e-5,
        epochs=5,
        batch=256,
        size=384,
        objective=ObjectiveConfig(name="captioning"),
    )


def blip_vqa() -> TrainConfig:
    """Return BLIP's VQA, on VQAv2's training and validation questions and Visual Genome's.

    As data give all three lists: "{vqa_train,vqa_val,vg_qa}.json".

    Paper: arXiv 2201.12086, section 5.3 and appendix.
    Reference: salesforce/BLIP, configs/vqa.yaml and train_vqa.py.
    Differs: the rate falls every step, not every epoch.
    """
    objective = ObjectiveConfig(name="vqa", single_answer=0.2)
    made = _published("blip-base", lr=2e-5, epochs=10, batch=256, size=480, objective=objective)
    return dataclasses.replace(made, tune=dataclasses.replace(made.tune, drop_path=0.1))


def blip_nlvr() -> TrainConfig:
    """Return BLIP's NLVR2.

    Paper: arXiv 2201.12086, section 5.4 and appendix.
    Reference: salesforce/BLIP, configs/nlvr.yaml and train_nlvr.py.
    Differs: the rate falls every step, not every epoch.
    """
    return _published(
        "blip-base", lr=3e-5, epochs=15, batch=256, size=384, objective=ObjectiveConfig(name="nlvr")
    )


def blip_okvqa() -> TrainConfig:
    """Return LAVIS's OK-VQA, which goes on from a model that answers.

    Reference: salesforce/LAVIS, lavis/projects/blip/train/okvqa_ft.yaml.
    Differs: the rate falls every step, not every epoch.
    """
    objective = ObjectiveConfig(name="vqa")
    made = _published(
        "Salesforce/blip-vqa-capfilt-large",
        lr=3e-5,
        epochs=7,
        batch=256,
        size=480,
        objective=objective,
    )
    return dataclasses.replace(
        made,
        optim=dataclasses.replace(made.optim, weight_decay=0.02),
        schedule=ScheduleConfig(kind="cosine", end=1 / 3),
    )


def _own(model: str, objective: ObjectiveConfig) -> TrainConfig:
    """What suits some hundreds or thousands of pictures and one machine."""
    return TrainConfig(
        model=model,
        epochs=5,
        optim=OptimConfig(lr=1e-5, betas=BETAS, eps=1e-8, weight_decay=0.05),
        schedule=ScheduleConfig(warmup=20),
        data=DataConfig(batch_size=16, micro_batch=8, augment="clip"),
        objective=objective,
    )


def _published(
    model: str, *, lr: float, epochs: int, batch: int, size: int, objective: ObjectiveConfig
) -> TrainConfig:
    """What the published recipes share: AdamW that decays everything, and the augmentation."""
    return TrainConfig(
        model=model,
        image_size=size,
        epochs=epochs,
        optim=OptimConfig(
            lr=lr, betas=BETAS, eps=1e-8, weight_decay=0.05, decay_vectors=True, clip=None
        ),
        schedule=ScheduleConfig(kind="cosine"),
        data=DataConfig(batch_size=batch, augment="blip_finetune"),
        objective=objective,
    )
