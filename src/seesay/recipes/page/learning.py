"""One stage of training: a mixture of prompts, for so many steps, from the last stage's weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from seesay.families.florence2.configs import Florence2Config
from seesay.families.florence2.processing import MEAN, STD
from seesay.processing.bytelevel import ByteLevelTokenizer
from seesay.recipes.page.batches import Ahead
from seesay.recipes.page.characters import right
from seesay.recipes.page.samples import Batch, Maker, Mixture, Turns
from seesay.recipes.page.student import Student
from seesay.recipes.page.things import MOST
from seesay.train.config import LoopConfig
from seesay.train.loop import Learner, Outcome, fit
from seesay.train.parallel import World
from seesay.train.precision import autocast
from seesay.train.state import STATE, Checkpoints

WEIGHTS = {
    "letters": 1.0,
    "things": 1.0,
    "text": 1.0,
    "mark": 0.5,
    "look": 1.0,
    "slot": 0.3,
    "boxes": 0.3,
}
"""Of the losses."""
HELD_OUT = 3
"""Batches of the validation split that are looked at now and then."""


@dataclass(frozen=True)
class Stage:
    """What is learnt, and how.

    Attributes:
        name: Of its folder.
        mixtures: Pictures and prompts of each process; these take turns.
        loop: Steps, learning rate and the like.
        aligned: Whether letters' tokens are laid where the tower puts letters, before it begins.
        sparse: Whether only image tokens with something in them are read, which is faster.
        seeing: Whether the tower and its heads are all that is trained.
    """

    name: str
    mixtures: tuple[Mixture, ...]
    loop: LoopConfig
    aligned: bool = False
    sparse: bool = False
    seeing: bool = False


def learn(
    stage: Stage,
    config: Florence2Config,
    tokenizer: ByteLevelTokenizer,
    folder: Path,
    before: Path | None,
    world: World,
) -> Outcome:
    """Train one stage in `folder`, going on where it was stopped.

    Args:
        stage: Which.
        config: The model's.
        tokenizer: The model's.
        folder: The run.
        before: The run whose weights it begins with; None for fresh ones.
        world: The processes that train together.
    """
    torch.manual_seed(stage.loop.seed)
    student = made(config, tokenizer, before)
    student.sparse, student.seeing = stage.sparse, stage.seeing
    if stage.aligned:
        looked = Mixture(64, 1, (0.1, 0.5, 0.4, 0.0), {"<OCR>": 1.0}, seed=178)
        student.align(Maker(looked, tokenizer)(0), tokenizer)
    mine = [replace(m, seed=m.seed + 100 * world.rank) for m in stage.mixtures]
    ahead: Ahead[Batch] = Ahead(Turns(tuple(Maker(m, tokenizer) for m in mine)))
    held = replace(stage.mixtures[0], pictures=16, each=2, seed=3)
    checked = [Maker(held, tokenizer, "validation")(i) for i in range(HELD_OUT)]
    precision = autocast(stage.loop, world.device)

    def step(batch: Batch) -> dict[str, Tensor]:
        with precision():
            losses = student.losses(batch)
            total = torch.stack([WEIGHTS[name] * loss for name, loss in losses.items()]).sum()
        total.backward()  # type: ignore[no-untyped-call]
        share(student, world)
        return {"loss": total.detach(), **{k: loss.detach() for k, loss in losses.items()}}

    def evaluate() -> Mapping[str, float]:
        student.eval()
        with torch.inference_mode(), precision():
            return seen(student, checked)

    learner = Learner(
        student,
        ahead,
        step,
        evaluate=evaluate,
        metric="letters_right" if stage.seeing else "tokens_right",
        samples=stage.mixtures[0].pictures * world.size,
    )
    try:
        resume = Checkpoints(folder).last()
        return fit(learner, stage.loop, folder, world=world, resume=resume)
    finally:
        ahead.close()


def made(
    config: Florence2Config, tokenizer: ByteLevelTokenizer, run: Path | None = None
) -> Student:
    """Return a student, with the averaged weights of a run."""
    mean, std = ([255 * v for v in values] for values in (MEAN, STD))
    student = Student(config, tokenizer, mean, std)
    if run is not None:
        last = Checkpoints(run).last()
        assert last is not None
        state: dict[str, Any] = torch.load(last / STATE, weights_only=True)
        student.load_state_dict({**state["weights"], **state["buffers"], **state["ema"]})
    return student


def seen(student: Student, batches: list[Batch]) -> dict[str, float]:
    """Return how much is right when all before it is given.

    Letters in their places, what things are at each of their tokens, tokens written, places near.
    """
    letters, things, tokens, places = [], [], [], []
    for batch in batches:
        found = student.model.image(student.pixels(batch))
        told = torch.from_numpy(batch.letters).long()
        if bool((told > 0).any()):
            letters.append(right(student.letters(found), told)[None])
        kinds = torch.from_numpy(batch.things[..., 0]).long()
        named = student.things(found)[..., :MOST].argmax(-1)
        things.append((named == kinds)[kinds > 0].float())
        prompt, written = student.prompt(found, batch)
        said, wanted = student.model(prompt).argmax(-1), written[:, 1:]
        counted = wanted != student.pad
        counted[:, 0] = False
        place = student.placed(wanted) & counted
        tokens.append((said == wanted)[counted & ~place].float())
        places.append(((said - wanted).abs() <= 15)[place].float())
    return {
        "letters_right": _mean(letters) if letters else 0.0,
        "things_right": _mean(things),
        "tokens_right": _mean(tokens),
        "places_near": _mean(places),
    }


def _mean(parts: list[Tensor]) -> float:
    """Return the mean of all values; 0 of none."""
    values = torch.cat(parts)
    return float(values.mean()) if len(values) else 0.0


def share(module: nn.Module, world: World) -> None:
    """Replace every gradient by its mean over the processes."""
    if world.group is None:
        return
    trained = [p for p in module.parameters() if p.requires_grad]
    for p in trained:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    flat = torch.cat([p.grad.flatten() for p in trained if p.grad is not None])
    dist.all_reduce(flat, group=world.group)
    flat /= world.size
    for p, part in zip(trained, torch.split(flat, [p.numel() for p in trained]), strict=True):
        p.grad = part.view_as(p)
