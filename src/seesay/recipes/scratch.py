"""From random weights, on data small enough to see it learn."""

from __future__ import annotations

from seesay.train.config import DataConfig, OptimConfig, ScheduleConfig, TrainConfig


def scratch() -> TrainConfig:
    """Return the training of a small CLIP, for some thousand pictures and a few minutes."""
    return TrainConfig(
        model="clip-small",
        init="random",
        epochs=60,
        ema=0.99,
        optim=OptimConfig(lr=1e-3, betas=(0.9, 0.98), weight_decay=0.2),
        schedule=ScheduleConfig(warmup=50),
        data=DataConfig(batch_size=128, augment="flip"),
    )
