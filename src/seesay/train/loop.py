"""The training loop: a batch for a step, a loss for a batch, and a state that survives a kill.

A batch is a function of its step alone, so a run that was killed goes on with exactly the batches
it would have had, and ends at exactly the same weights.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from seesay.train.optim import adamw, warmup_cosine

Batch = TypeVar("Batch")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What decides a run besides its data.

    Attributes:
        steps: How many batches.
        lr: Highest learning rate.
        warmup: Steps until it is reached.
        weight_decay: Of matrices.
        clip: Largest norm of the gradient.
        seed: Of everything random.
        save_every: Steps between saved states.
        bf16: Whether the forward pass runs in bfloat16 where that is safe.
    """

    steps: int
    lr: float = 1e-3
    warmup: int = 200
    weight_decay: float = 0.05
    clip: float = 1.0
    seed: int = 0
    save_every: int = 500
    bf16: bool = False


def fit(
    module: nn.Module,
    batch: Callable[[int], Batch],
    loss: Callable[[Batch], Tensor],
    config: TrainConfig,
    folder: Path,
    *,
    stop_after: int | None = None,
) -> list[dict[str, float]]:
    """Train `module` and return the log; go on from the state in `folder` when there is one.

    Args:
        module: Its trainable parameters are optimised; all of it is saved.
        batch: The batch of a step; must depend on the step alone.
        loss: The scalar loss of a batch.
        config: Steps, rates, seed.
        folder: Where `state.pt` and `config.json` are kept.
        stop_after: Return after this step with the state saved, as a kill would (for tests).
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(asdict(config), indent=1))
    optimiser = adamw(module, lr=config.lr, weight_decay=config.weight_decay)
    trained = [p for p in module.parameters() if p.requires_grad]
    start, log = _resume(module, optimiser, folder)
    began, module_was_training = time.perf_counter(), module.training
    module.train()
    for step in range(start, config.steps):
        torch.manual_seed(config.seed * 1_000_003 + step)
        for group in optimiser.param_groups:
            group["lr"] = config.lr * warmup_cosine(step, warmup=config.warmup, steps=config.steps)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
            value = loss(batch(step))
        optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained, config.clip)
        optimiser.step()
        if step % 50 == 0 or step + 1 == config.steps:
            log.append({"step": step, "loss": value.item(), "s": time.perf_counter() - began})
            print(json.dumps(log[-1]), flush=True)
        last = step + 1 == config.steps or (stop_after is not None and step + 1 >= stop_after)
        if last or (step + 1) % config.save_every == 0:
            _save(module, optimiser, step + 1, log, folder)
        if last:
            break
    module.train(module_was_training)
    return log


def _save(
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    step: int,
    log: list[dict[str, float]],
    folder: Path,
) -> None:
    state = {
        "module": module.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
        "log": log,
    }
    partial = folder / "state.partial"
    torch.save(state, partial)
    os.replace(partial, folder / "state.pt")


def _resume(
    module: nn.Module, optimiser: torch.optim.Optimizer, folder: Path
) -> tuple[int, list[dict[str, float]]]:
    if not (folder / "state.pt").exists():
        return 0, []
    state: dict[str, Any] = torch.load(folder / "state.pt", weights_only=True)
    module.load_state_dict(state["module"])
    optimiser.load_state_dict(state["optimiser"])
    return state["step"], state["log"]
