"""A run small enough to be killed many times; also a script: `python toy.py FOLDER`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.train.config import LoopConfig, OptimConfig, ScheduleConfig
from seesay.train.loop import Learner, fit, plain
from seesay.train.objectives import info_nce
from seesay.train.state import Checkpoints


class Pair(nn.Module):
    """Two towers with dropout, so that the random state matters, and a running statistic."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(12, 8), nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.1)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        a, b = self.drop(self.norm(self.image(batch[0]))), self.text(batch[1])
        return info_nce(F.normalize(a, dim=-1), F.normalize(b, dim=-1), self.logit_scale)


def eight(step: int) -> tuple[Tensor, Tensor]:
    """The same eight pairs in every step, in another order."""
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(8, 12, generator=generator), torch.randn(8, 6, generator=generator)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(step))
    return images[order], texts[order]


def build() -> Pair:
    torch.manual_seed(1)
    return Pair()


CONFIG = LoopConfig(
    steps=120,
    optim=OptimConfig(lr=3e-2, weight_decay=0.01),
    schedule=ScheduleConfig(warmup=5),
    ema=0.9,
    save_every=25,
    precision="fp32",
)


def learner(model: Pair) -> Learner:
    return Learner(model, eight, plain(model, CONFIG), samples=8)


def main(folder: Path) -> None:
    model = build()
    learned = learner(model)
    ready = learned.batch
    # slow enough for whoever kills it to choose the step
    learned.batch = lambda step: (time.sleep(0.01), ready(step))[1]  # type: ignore[assignment]
    fit(learned, CONFIG, folder, resume=Checkpoints(folder).last(), quiet=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
