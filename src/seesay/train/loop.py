"""The training loop: one, for everything that is trained.

A step's batch and its randomness are functions of the step alone. So a run that was killed at any
point goes on from its last checkpoint with exactly what it would have had, and ends at exactly the
same weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from seesay.errors import SeesayError, UsageError, nearest
from seesay.train.config import LoopConfig
from seesay.train.guard import Interrupt, same_afterwards, seed
from seesay.train.log import Log, NullLog
from seesay.train.optim import Ema, adamw, factor, finite, set_lr
from seesay.train.parallel import World, full
from seesay.train.precision import autocast
from seesay.train.state import Checkpoints, Stateful, Trained, read_state


class Diverged(SeesayError):
    """The loss or the gradient is no finite number any more."""

    exit_code: ClassVar[int] = 4


@dataclass
class Learner:
    """What is trained, as functions. The loop knows nothing else about it.

    Attributes:
        module: Its trainable parameters are optimised.
        batch: The batch of a step; depends on the step alone.
        learn: Computes the losses of a batch, adds the gradient of their sum to the parameters,
            and returns scalars to log, "loss" among them.
        train: Puts the module into training mode; frozen parts stay in evaluation mode.
        after_step: Called after each step of the optimiser, to clamp what must be.
        evaluate: Returns figures of the module as it is; None when there is nothing to measure.
        export: Writes a state dict of the module into a folder, as what `seesay.load` reads.
        rows: Names the rows of a batch in messages.
        metric: What decides which checkpoint is best unless the configuration says otherwise.
        samples: How many samples a step takes, of all processes.
        steps_per_epoch: How many steps pass over all data, where that is known.
        extra: What else training changes, by name.
        close: Lets go of what `batch` holds; for who made the learner to call.
    """

    module: nn.Module
    batch: Callable[[int], Any]
    learn: Callable[[Any], Mapping[str, Tensor]]
    train: Callable[[], Any] | None = None
    after_step: Callable[[], None] | None = None
    evaluate: Callable[[], Mapping[str, float]] | None = None
    export: Callable[[Path, Mapping[str, Tensor]], None] | None = None
    rows: Callable[[Any], str] | None = None
    metric: str = "-loss"
    samples: int = 1
    steps_per_epoch: float | None = None
    extra: Mapping[str, Stateful] = field(default_factory=dict)
    close: Callable[[], None] | None = None


def plain(
    loss: Callable[[Any], Tensor], config: LoopConfig, device: torch.device | None = None
) -> Callable[[Any], dict[str, Tensor]]:
    """Return the `learn` of a learner whose loss is one function of the batch."""
    precision = autocast(config, device or torch.device("cpu"))

    def learn(batch: Any) -> dict[str, Tensor]:
        with precision():
            value = loss(batch)
        value.backward()  # type: ignore[no-untyped-call]
        return {"loss": value.detach()}

    return learn


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        step: How many steps were done.
        loss: Of the last step.
        metrics: Figures of the last evaluation.
        best: The best figure of the chosen metric, when it was measured.
        best_step: The step it was measured after.
        stale: Evaluations since then.
    """

    step: int = 0
    loss: float = math.nan
    metrics: dict[str, float] = field(default_factory=dict)
    best: float | None = None
    best_step: int = 0
    stale: int = 0

    def figure(self, metric: str) -> float:
        """Return a figure of the last evaluation, or the loss.

        Raises:
            UsageError: The evaluation measures no such thing.
        """
        name = metric.removeprefix("-")
        known = self.metrics | {"loss": self.loss}
        if name not in known:
            raise UsageError(f"the evaluation has no {name!r}.{nearest(name, known)}")
        return known[name]

    def judge(self, metric: str) -> bool:
        """Note the figure of the last evaluation; return whether it is the best so far."""
        value, sign = self.figure(metric), -1 if metric.startswith("-") else 1
        best = -math.inf if self.best is None else sign * self.best
        better = sign * value > best  # never so for what is no number
        if better:
            self.best, self.best_step, self.stale = value, self.step, 0
        else:
            self.stale += 1
        return better


def fit(
    learner: Learner,
    config: LoopConfig,
    folder: Path,
    *,
    world: World | None = None,
    resume: Path | None = None,
    quiet: bool = False,
) -> Outcome:
    """Train, and leave metrics.jsonl, curves.png and checkpoints in `folder`.

    SIGTERM and Ctrl-C save after the step they arrive in, and are then passed on.

    Args:
        learner: What is trained.
        config: How; `config.steps` must be given.
        folder: The run.
        world: The processes that train together; None for this one alone, on the CPU.
        resume: A checkpoint to go on from, or None.
        quiet: Show no progress.

    Raises:
        Diverged: The loss or the gradient became infinite or NaN. The state before that step is
            saved, and the batch is named.
        CheckpointError: `resume` is damaged or of another training.
        StorageError: Something cannot be written; the last checkpoint is whole.
    """
    if config.steps is None:
        raise UsageError("how many steps?", "set steps, or epochs where the data has a length")
    if learner.evaluate is None and (config.patience or config.evaluate_every):
        raise UsageError("patience and evaluate_every need data to measure on", "--eval PATH")
    world, steps, schedule = world or World(), config.steps, config.schedule
    optimiser = adamw(learner.module, config.optim)
    ema = Ema(learner.module, config.ema) if config.ema else None
    trained = Trained(learner.module, optimiser, ema, learner.extra)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    done, checkpoints, saved = Outcome(), Checkpoints(folder), -1
    metric = config.metric or learner.metric
    if resume is not None:
        done = Outcome(**trained.restore(read_state(resume), resume))
        if resume.resolve().parent == checkpoints.place:
            saved = done.step
            if world.rank == 0:  # a kill may have come between a checkpoint and its links
                checkpoints.link(done.step, best=done.best_step == done.step > 0)
        else:  # another run, judged by its own measure
            done.best, done.best_step, done.stale = None, 0, 0

    def save(best: bool = False) -> None:
        nonlocal saved
        state = {**trained.snapshot(), "outcome": vars(done)}
        with _averaged(ema):
            weights = trained.weights()
        if world.rank == 0 and not finite(w for w in weights.values() if w.is_floating_point()):
            raise Diverged(f"the weights of step {done.step} are not finite; nothing was saved")
        if world.rank == 0:
            checkpoints.write(done.step, state, lambda to: _export(learner, to, weights), best=best)
        saved = done.step

    log: Log | NullLog = NullLog()
    if world.rank == 0:
        board, project = config.tensorboard, config.wandb
        log = Log(folder, steps, tensorboard=board, wandb=project, quiet=quiet, start=done.step)
    with Interrupt() as interrupt, log, same_afterwards(learner.module):
        if learner.evaluate and done.step == 0:
            with _averaged(ema):
                done.metrics = world.told(dict(learner.evaluate()))
            done.figure(metric)
            log.evaluation(0, done.metrics)
        while done.step < steps and not _tired(done, config):
            seed(config.seed, done.step, world.rank)
            _train(learner)
            batch = learner.batch(done.step)
            rate = config.optim.lr * factor(done.step, steps, schedule)
            set_lr(optimiser, rate)
            optimiser.zero_grad(set_to_none=True)
            before = [(b, b.clone()) for b in learner.module.buffers() if b.is_floating_point()]
            losses = world.mean(learner.learn(batch))
            norm = _clip(parameters, config.optim.clip)
            if world.agree(float(not math.isfinite(norm + losses["loss"]))):
                for buffer, value in before:  # a forward pass moves running statistics
                    buffer.copy_(value)
                if saved != done.step:
                    save()
                rows = learner.rows(batch) if learner.rows else ""
                raise Diverged(
                    f"step {done.step + 1}: loss {losses['loss']:g}, gradient norm {norm:g}"
                    + (f"\n  its batch: {rows}" if rows else ""),
                    f"the state before it is in {folder / 'last'}; "
                    "look at these rows, lower optim.lr, or use precision=fp32",
                )
            optimiser.step()
            if learner.after_step:
                learner.after_step()
            if ema:
                ema.update(done.step + 1)
            done.step, done.loss = done.step + 1, losses["loss"]
            figures = {**losses, "lr": rate, "grad_norm": norm}
            if learner.steps_per_epoch:
                figures["epoch"] = done.step / learner.steps_per_epoch
            log.step(done.step, figures, samples=learner.samples)
            last, better = done.step == steps, False
            if learner.evaluate and (last or _due(config.evaluate_every, done.step)):
                with _averaged(ema):
                    done.metrics = world.told(dict(learner.evaluate()))
                better = done.judge(metric)
                log.evaluation(done.step, done.metrics)
            interrupt.received = int(world.agree(interrupt.received))
            ending = last or interrupt.received or _tired(done, config)
            if ending or better or _due(config.save_every, done.step):
                save(best=better)
            if interrupt.received:
                log.note(f"stopped after step {done.step} of {steps}; the same again goes on")
                break
        if _tired(done, config):
            log.note(f"stopped: no better {metric} since step {done.best_step}")
        if saved != done.step:  # nothing was left to do, but this folder holds nothing yet
            save()
    return done


def _export(learner: Learner, folder: Path, weights: Mapping[str, Tensor]) -> None:
    if learner.export:
        learner.export(folder, weights)


def _train(learner: Learner) -> None:
    if learner.train:
        learner.train()
    else:
        learner.module.train()


def _tired(done: Outcome, config: LoopConfig) -> bool:
    return config.patience is not None and done.stale >= config.patience


def _due(every: int | None, step: int) -> bool:
    return every is not None and step % every == 0


def _clip(parameters: list[nn.Parameter], limit: float | None) -> float:
    """Scale all gradients together to at most this norm; return the norm they had."""
    found = [p for p in parameters if p.grad is not None]
    kinds = [
        [p for p in found if isinstance(p.grad, DTensor) is sharded] for sharded in (False, True)
    ]
    norms = [full(get_total_norm([p.grad for p in kind if p.grad is not None])) for kind in kinds]
    norm = torch.stack([n.cpu().float() for n in norms]).norm()
    if limit is not None and limit < float(norm) < math.inf:
        for kind in kinds:
            if kind:
                device = kind[0].device
                clip_grads_with_norm_(kind, limit, norm.to(device))
    return float(norm)


@contextmanager
def _averaged(ema: Ema | None) -> Iterator[None]:
    """Put the running mean in place of the weights for the duration of the block."""
    if ema:
        ema.swap()
    try:
        yield
    finally:
        if ema:
            ema.swap()
