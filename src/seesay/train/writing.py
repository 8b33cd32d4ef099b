"""Training of models that write: what learning captions and learning answers have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from seesay.train.config import TrainConfig
from seesay.train.language import text_losses
from seesay.train.parallel import World, unsynchronised, whole
from seesay.train.precision import autocast
from seesay.types import Prompt

T = TypeVar("T")


class Called(nn.Module):
    """Calls one function of a model in its forward pass, which is what gets differentiated.

    Args:
        module: The model.
        function: A method of it.
    """

    def __init__(self, module: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.module = module
        self.function = function

    def forward(self, *inputs: Any) -> Tensor:
        """Call it."""
        return self.function(*inputs)

    def within(self, function: Callable[[], T]) -> T:
        """Call a function as if from `forward`: what is sharded over processes is whole there."""
        return function()


@dataclass(frozen=True)
class Texts:
    """What a model writes about some pictures, in training.

    Attributes:
        prompt: What it is given: pixels [B, 3, h, w], a question perhaps, and as the prefix all
            that it shall write [B * n, L].
        starts: Where in that the part begins that is learnt, int64 [B * n].
        weights: How much each text counts, [B * n].
        rows: The records' numbers in the dataset.
    """

    prompt: Prompt
    starts: Tensor
    weights: Tensor
    rows: list[int]

    @property
    def tokens(self) -> Tensor:
        """How many tokens are learnt, of all texts."""
        places = torch.arange(self.prompt.prefix.shape[1], device=self.starts.device)
        return (self.prompt.prefix_mask & (places >= self.starts[:, None])).sum()

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, start: int, stop: int) -> Texts:
        """Return what is about some of the pictures."""
        each = len(self.starts) // len(self) if len(self) else 1
        inner = slice(start * each, stop * each)
        told: dict[str, Tensor | None] = self.prompt._asdict()
        for name, column in told.items():
            if column is not None:
                cut = inner if name.startswith("prefix") else slice(start, stop)
                told[name] = column[cut]
        prompt = Prompt(**told)  # type: ignore[arg-type]
        return Texts(prompt, self.starts[inner], self.weights[inner], self.rows[start:stop])

    def to(self, device: torch.device) -> Texts:
        """Return it on a device."""
        moved = (None if column is None else column.to(device) for column in self.prompt)
        return Texts(Prompt(*moved), self.starts.to(device), self.weights.to(device), self.rows)  # type: ignore[arg-type]


@dataclass
class Writing:
    """The loss of what is written, a sum over the texts of all processes, and its gradient.

    Attributes:
        forward: What to call in place of the model.
        config: The run's.
        world: The processes.
        over: What the sum is divided by: how many of it a batch has.
    """

    forward: nn.Module
    config: TrainConfig
    world: World
    over: Callable[[Texts], Tensor | float]

    def learn(self, batch: Texts) -> dict[str, Tensor]:
        """Add the gradient of the batch's loss to the parameters; return it."""
        total = counted(self.over(batch), self.world)

        def loss(part: Texts) -> Tensor:
            part = part.to(self.world.device)
            with autocast(self.config, self.world.device)():
                logits = self.forward(part.prompt)
            sums, _ = text_losses(
                logits,
                part.prompt.prefix,
                part.prompt.prefix_mask,
                part.starts,
                label_smoothing=self.config.objective.smoothing,
            )
            return (sums * part.weights).sum() * (self.world.size / total)

        parts = in_parts(batch, self.config.data.micro_batch, self.world)
        return {"loss": backward(self.forward, parts, loss)}


def counted(number: Tensor | float, world: World) -> float:
    """Return the sum of a number over the processes, 1 where it is none."""
    held = torch.as_tensor(number, dtype=torch.float64)
    return max(1.0, world.mean({"number": held})["number"] * world.size)


def in_parts(batch: Any, size: int | None, world: World) -> Sequence[Any]:
    """Return a batch in parts of at most `size` pictures, as many in each process.

    A sharded forward pass talks to the other processes, so the parts of one may be empty.
    """
    if size is None:
        return [batch]
    count = max(1, int(world.agree(-(-len(batch) // size))))
    return [batch.part(i * size, min((i + 1) * size, len(batch))) for i in range(count)]


def backward(forward: nn.Module, parts: Sequence[T], loss: Callable[[T], Tensor]) -> Tensor:
    """Add the gradient of the sum of the losses of all parts to the parameters; return the sum."""
    values = []
    for i, part in enumerate(parts):
        last = i + 1 == len(parts)
        with nullcontext() if last else unsynchronised(forward):
            value = loss(part)
            value.backward()  # type: ignore[no-untyped-call]
        values.append(value.detach())
    return torch.stack(values).sum()


def measured(
    figures: Callable[[], Mapping[str, float]],
    config: TrainConfig,
    world: World,
    forward: nn.Module,
) -> Callable[[], Mapping[str, float]]:
    """Return the `evaluate` of a learner, of what measures its model as it is."""

    def evaluate() -> dict[str, float]:
        with autocast(config, world.device)():
            return {name: float(value) for name, value in figures().items()}

    return lambda: whole(forward, evaluate)
