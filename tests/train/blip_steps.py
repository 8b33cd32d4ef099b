"""Steps of BLIP's pre-training on made pictures: what one process does, and what several do."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seesay.data.loader import Batch
from seesay.families.blip.configs import tiny
from seesay.families.blip.model import BlipPretraining
from seesay.families.blip.processing import BlipProcessor, make_processor, published_settings
from seesay.train.config import MomentumConfig, ObjectiveConfig, TrainConfig
from seesay.train.image_text import Vectors
from seesay.train.joint import Joint
from seesay.train.momentum import Momentum
from seesay.train.parallel import World, spread
from seesay.train.pretraining import FLOOR, Shown, Steps, number
from seesay.train.queue import Queue
from seesay.train.towers import Inputs

TEXTS = ["a red square", "two dogs", "看图说话", "x", "two dogs", "a house by the sea", "snow"]
IMAGES = [0, 1, 2, 3, 4, 0, 5]
"""Row 4 says what row 1 says, row 5 shows what row 0 shows."""
ROWS = [[0, 1, 2, 3], [4, 5, 6, 0, 1], [1, 4, 6], [2, 3, 6, 5, 0]]
"""Which rows each step sees."""

OBJECTIVE = ObjectiveConfig(
    name="pretraining", momentum=MomentumConfig(decay=0.8, queue=7, alpha=0.4, alpha_epochs=2)
)
CONFIG = TrainConfig(objective=OBJECTIVE, seed=3, precision="fp32")


def module(seed: int = 0) -> BlipPretraining:
    """A model at rest, no parameter of which has the value it begins with."""
    torch.manual_seed(seed)
    made = BlipPretraining(tiny("pretraining")).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def processor() -> BlipProcessor:
    return make_processor(tiny("pretraining"), published_settings(32))


def pixels(row: int) -> Tensor:
    return torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(IMAGES[row]))


def shown(step: int, rows: Sequence[int]) -> Shown:
    """The batch of a step, of one process."""
    unread = torch.zeros(len(rows), 1, dtype=torch.long)
    found = [pixels(row) for row in rows]
    return Shown(
        step,
        Batch(
            pixels=torch.stack(found) if found else torch.empty(0, 3, 32, 32),
            ids=unread,
            mask=unread.bool(),
            labels=torch.full((len(rows),), -1),
            image_ids=torch.tensor([IMAGES[row] for row in rows], dtype=torch.long),
            rows=list(rows),
            captions=[0] * len(rows),
            texts=[TEXTS[row] for row in rows],
        ),
    )


def steps(
    trained: Any, world: World | None = None, config: TrainConfig = CONFIG, **options: Any
) -> Steps:
    """What computes the losses of a module's steps."""
    world = world or World()
    told = config.objective.momentum
    ids = torch.tensor([[101, 102]])
    example = Inputs(torch.zeros(1, 3, 32, 32), ids, ids > 0)
    momentum = Momentum(trained, example, told.decay, world, config.strategy)
    queue = Queue(told.queue, trained.config.embed_width, keys=2)
    joint = Joint(trained, FLOOR)
    forward: nn.Module = spread(joint, trained, world, config.strategy)
    settings: dict[str, Any] = {"epoch": 2, **options}
    return Steps(trained, processor(), forward, config, world, momentum, queue, **settings)


def descend(trained: nn.Module, rate: float = 0.2) -> None:
    """A step of the plainest optimiser."""
    with torch.no_grad():
        for parameter in trained.parameters():
            if parameter.grad is not None:
                parameter -= rate * parameter.grad
                parameter.grad = None


def keys(rows: Sequence[int]) -> list[tuple[int, int]]:
    return [(IMAGES[row], number(TEXTS[row])) for row in rows]


def held(queue: Queue) -> Vectors:
    """A queue's rows, the oldest first."""
    state = queue.state_dict()
    return Vectors(*(state[name] for name in Vectors._fields))


def changed(**objective: Any) -> TrainConfig:
    return dataclasses.replace(CONFIG, objective=dataclasses.replace(OBJECTIVE, **objective))
