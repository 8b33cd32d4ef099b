"""What a killed run needs to go on: written whole or not at all, read back to the bit.

    RUN/checkpoints/step-00000500/   the model as `seesay.load` reads it, and training.pt
    RUN/last, RUN/best               links to two of them; the others are removed

Randomness and the order of the data are functions of the step, so they need no keeping.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from seesay.checkpoints.native import write_folder
from seesay.errors import CheckpointError, StorageError, nearest
from seesay.train.optim import Ema
from seesay.train.parallel import full, like

STATE = "training.pt"


class Stateful(Protocol):
    """Something besides the module that training changes: a queue, a momentum encoder."""

    def state_dict(self) -> dict[str, Any]:
        """Return what it holds."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Hold it again."""
        ...


@dataclass
class Trained:
    """All that training changes."""

    module: nn.Module
    optimiser: torch.optim.Optimizer
    ema: Ema | None
    extra: Mapping[str, Stateful]

    def snapshot(self) -> dict[str, Any]:
        """Return it as whole tensors on the CPU; all processes must ask together."""
        trained = {n: p for n, p in self.module.named_parameters() if p.requires_grad}
        moments = self.optimiser.state
        return {
            "weights": {n: _kept(p) for n, p in trained.items()},
            "buffers": {n: _kept(b) for n, b in self.module.named_buffers()},
            "moments": {
                n: {key: _kept(value) for key, value in moments[p].items()}
                for n, p in trained.items()
                if p in moments
            },
            "ema": {n: _kept(mean) for n, mean in self.ema.means.items()} if self.ema else {},
            "extra": {name: part.state_dict() for name, part in self.extra.items()},
        }

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """Take over what `snapshot` returned; return how far the run was.

        Raises:
            CheckpointError: It is of other weights than those trained now.
        """
        trained = {n: p for n, p in self.module.named_parameters() if p.requires_grad}
        buffers = dict(self.module.named_buffers())
        _same(trained, state["weights"], path)
        _same(buffers, state["buffers"], path)
        for name, tensor in (trained | buffers).items():
            tensor.copy_(like(tensor, (state["weights"] | state["buffers"])[name]))
        for name, kept in state["moments"].items():
            parameter = trained[name]
            self.optimiser.state[parameter] = {
                # the number of steps is a scalar, never sharded
                key: like(parameter, value)
                if value.shape == parameter.shape
                else value.to(parameter.device, copy=True)
                for key, value in kept.items()
            }
        if self.ema:
            means = state["ema"] or state["weights"]  # a run that kept none starts from here
            for name, mean in self.ema.means.items():
                mean.copy_(like(mean, means[name]))
        for name, part in self.extra.items():
            if name in state["extra"]:
                part.load_state_dict(state["extra"][name])
        outcome: dict[str, Any] = state["outcome"]
        return outcome

    def weights(self) -> dict[str, Tensor]:
        """Return the module's state dict as whole tensors; all processes must ask together."""
        return {name: _kept(tensor) for name, tensor in self.module.state_dict().items()}


def _kept(tensor: Tensor) -> Tensor:
    return full(tensor.detach()).cpu().clone()


def _same(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], path: Path) -> None:
    for name in ours.keys() ^ theirs.keys():
        known = theirs if name in ours else ours
        raise CheckpointError(
            f"{path} is the state of another training: {name!r} is only in one of the two."
            f"{nearest(name, known)}",
            "resume with the same model, freezing and adapters",
        )
    for name, tensor in ours.items():
        if tensor.shape != theirs[name].shape:
            raise CheckpointError(
                f"{path}: {name} is {list(theirs[name].shape)}, not {list(tensor.shape)}"
            )


class Checkpoints:
    """The checkpoints of a run folder.

    Args:
        folder: The run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = folder.resolve() / "checkpoints"

    def write(
        self, step: int, state: Mapping[str, Any], export: Callable[[Path], None], *, best: bool
    ) -> None:
        """Write the checkpoint of a step, and remove those that are neither last nor best.

        Args:
            step: How many steps are done.
            state: For training.pt.
            export: Writes the model's files into the folder it is given.
            best: Whether it is the best so far.

        Raises:
            StorageError: It cannot be written; those before it are whole.
        """

        def fill(temporary: Path) -> None:
            export(temporary)
            try:
                torch.save(dict(state), temporary / STATE)
            except RuntimeError as error:  # which is how it tells of a full disk
                raise OSError(str(error)) from None

        target = self.place / f"step-{step:08}"
        try:
            write_folder(target, fill, may_replace=lambda old: (old / STATE).is_file())
            self.link(step, best=best)
        except (OSError, StorageError) as error:
            why = error.what if isinstance(error, StorageError) else error
            raise StorageError(
                f"the checkpoint of step {step} was not written: {why}",
                f"{self.last() or 'no checkpoint'} is whole; make room and run it again",
            ) from None

    def link(self, step: int, *, best: bool) -> None:
        """Let `last`, perhaps `best` too, be the checkpoint of a step; remove all others."""
        for name in ("last", "best") if best else ("last",):
            link = self.folder / f".{name}"
            link.unlink(missing_ok=True)
            link.symlink_to(Path("checkpoints") / f"step-{step:08}")
            os.replace(link, self.folder / name)
        kept = {(self.folder / name).resolve() for name in ("last", "best")}
        for path in self.place.iterdir():
            if path.resolve() not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def last(self) -> Path | None:
        """Return the newest checkpoint that is whole, or None."""
        found = sorted(self.place.glob("step-*"))
        return next((path for path in reversed(found) if (path / STATE).is_file()), None)


def read_state(folder: Path) -> dict[str, Any]:
    """Return the training state that lies in a checkpoint, without executing anything in it.

    Raises:
        CheckpointError: There is none, or it is damaged.
    """
    path = folder / STATE
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no {STATE} to resume from", "give RUN/last")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling damaged bytes raises whatever it likes
        raise CheckpointError(f"{path} is damaged ({type(error).__name__})") from None
    return state
