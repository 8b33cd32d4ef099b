"""The recipes of the papers, as far as they are stated; what is not is said to be ours.

They name sizes and data sets no laptop trains on. They are here to be read, to start from
(`seesay cp`), and to be run by who has the machines: torchrun, with `data.path` set to tar shards.
"""

from __future__ import annotations

from seesay.train.config import (
    DataConfig,
    ObjectiveConfig,
    OptimConfig,
    ScheduleConfig,
    TrainConfig,
    TuneConfig,
)


def clip() -> TrainConfig:
    """Return CLIP's: 32 epochs of 400 million pairs, 32,768 at a time.

    Paper: arXiv 2103.00020, section 2.5 and table 18.
    Reference: mlfoundations/open_clip, src/open_clip_train/params.py.
    Differs: gradients are not clipped, as there; bfloat16 in place of float16.
    """
    return TrainConfig(
        model="clip-vit-b-32",
        init="random",
        epochs=32,
        optim=OptimConfig(lr=5e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2, clip=None),
        schedule=ScheduleConfig(kind="cosine", warmup=2000),
        data=DataConfig(batch_size=32768, augment="clip"),
    )


def siglip() -> TrainConfig:
    """Return SigLIP's: the sigmoid loss on 32,768 pairs at a time.

    Paper: arXiv 2303.15343, sections 3 and 4.
    Reference: google-research/big_vision, big_vision/configs/proj/image_text.
    Differs: AdamW in place of an Adafactor with momentum; the number of steps is ours to choose:
        9 billion pairs are about 275,000 of them. Its vocabulary is not shipped here: give a folder
        of a released checkpoint as the model, which lends its tokenizer and not its weights.
    """
    return TrainConfig(
        model="siglip-b-16-224",
        init="random",
        steps=275_000,
        optim=OptimConfig(lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=1e-4, clip=1.0),
        schedule=ScheduleConfig(kind="cosine", warmup=20_000),
        data=DataConfig(batch_size=32768),
        objective=ObjectiveConfig(name="sigmoid", duplicates=False, chunk=4096),
    )


def unicl() -> TrainConfig:
    """Return UniCL's: labels and captions in one contrast, 32 epochs, 4,096 at a time.

    Paper: arXiv 2204.03610, section 4.1.
    Reference: microsoft/UniCL, config.py and its README; 128 pairs on each of 32 GPUs. Warm-up is
        five epochs there, told in steps here: that of 14 million pairs.
    """
    batch = 4096
    return TrainConfig(
        model="unicl-swin-t",
        init="random",
        epochs=32,
        optim=OptimConfig(lr=5e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1, clip=5.0),
        schedule=ScheduleConfig(
            kind="cosine", warmup=5 * 14_000_000 // batch, start=1e-3, end=0.01
        ),
        data=DataConfig(batch_size=batch, augment="clip"),
        objective=ObjectiveConfig(name="unicl"),
        tune=TuneConfig(drop_path=0.2),
    )


def florence() -> TrainConfig:
    """Return Florence's first stage: a million steps of 24,576 pairs at 224 pixels.

    The paper goes on for 180,000 steps without the texts that were made from single words by
    templates, and for 80,000 at 384 pixels: run this again with other data and another image size.

    Paper: arXiv 2111.11432, section 2.1 and 2.2.
    Differs: the towers are UniCL's largest released ones, for Florence's own never were; AdamW
        decays all parameters, as there, but the logit scale. The learning rate is UniCL's: the
        paper tells none. Pairs without a label are each alone here; there, equal descriptions share
        one.
    """
    return TrainConfig(
        model="unicl-swin-b",
        init="random",
        steps=1_000_000,
        optim=OptimConfig(
            lr=5e-4, betas=(0.9, 0.999), weight_decay=0.1, decay_vectors=True, clip=5.0
        ),
        schedule=ScheduleConfig(kind="cosine", warmup=10_000),
        data=DataConfig(batch_size=24_576, augment="clip"),
        objective=ObjectiveConfig(name="unicl"),
        tune=TuneConfig(drop_path=0.5),
        strategy="fsdp2",
    )


def slip() -> TrainConfig:
    """Return SLIP's: CLIP's contrast, and one between two more views of each picture.

    Paper: arXiv 2112.12750, section 3 and table 11.
    Reference: facebookresearch/SLIP, main.py. Its warm-up is one epoch of 15 million pairs.
    Differs: the head before the second contrast has layer normalisation in place of batch
        normalisation, so that a picture's result does not depend on its batch.
    """
    batch = 4096
    return TrainConfig(
        model="clip-vit-b-16",
        init="random",
        epochs=25,
        optim=OptimConfig(lr=3e-3, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.1, clip=None),
        schedule=ScheduleConfig(kind="cosine", warmup=15_000_000 // batch, start=3e-4, end=3e-3),
        data=DataConfig(batch_size=batch, augment="slip"),
        objective=ObjectiveConfig(views=1.0, temperature=0.1),
    )
