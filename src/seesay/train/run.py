"""A whole run: from a configuration to a folder with a trained model in it.

RUN/config.json     the configuration; `seesay train RUN/config.json` runs it again
RUN/run.json        what it ran on: data, model, versions, hardware
RUN/metrics.jsonl, RUN/curves.png
RUN/best, RUN/last  what `seesay.load(RUN)` reads, the best where it was measured
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seesay.checkpoints.files import write_json
from seesay.config import flat, to_dict
from seesay.data import open_dataset, open_prompts, open_questions
from seesay.data.check import check
from seesay.errors import InputError, StorageError, UsageError
from seesay.family import resolve
from seesay.index.lock import WriterLock
from seesay.train.begin import begin
from seesay.train.config import DataConfig, TrainConfig, read_config
from seesay.train.log import require
from seesay.train.loop import Learner, Outcome, fit
from seesay.train.parallel import World, joined
from seesay.train.state import STATE, Checkpoints

if TYPE_CHECKING:
    from seesay.model import Model

_log = logging.getLogger("seesay")
CONFIG, RECORD = "config.json", "run.json"
BUILDERS = {
    "info_nce": "seesay.train.contrastive:contrastive",
    "sigmoid": "seesay.train.contrastive:contrastive",
    "unicl": "seesay.train.contrastive:contrastive",
    "probe": "seesay.train.probe:probe",
    "pretraining": "seesay.train.pretraining:pretraining",
    "retrieval": "seesay.train.pretraining:pretraining",
    "captioning": "seesay.train.captioning:captioning",
    "vqa": "seesay.train.answering:answering",
    "nlvr": "seesay.train.comparing:comparing",
    "classification": "seesay.train.comparing:comparing",
    "instruct": "seesay.train.instructing:instructing",
}
"""Objective -> what makes a learner of it."""
ASKS = ("vqa", "nlvr", "classification")
"""Objectives whose data are questions."""
HARMLESS = ("save_every", "tensorboard", "wandb", "data.workers", "strategy")
"""Settings that may change when a run is resumed: they decide nothing about its weights."""


def run(
    config: TrainConfig,
    folder: str | os.PathLike[str],
    *,
    resume: str = "auto",
    device: str = "auto",
    quiet: bool = False,
) -> Outcome:
    """Train what a configuration says, in this process or with those that torchrun started.

    Args:
        config: From a recipe.
        folder: The run; made when it is not there.
        resume: "auto" goes on with what is in the folder, "never" refuses a folder that holds a
            run, and a path goes on from that checkpoint, whatever its configuration was.
        device: "auto" is the GPU when there is one.
        quiet: Show no progress.

    Raises:
        UsageError: The configuration cannot be, or is another than that of the run in the folder.
        InputError: The data cannot be trained on.
        Diverged, CheckpointError, StorageError: See `fit`.
    """
    place = Path(folder)
    require("matplotlib", "drawing the curves of a training run")
    with joined(device) as world, _alone(place, world):
        # disks may tell each process something else: the first one decides
        error, source = world.told(_source(config, place, resume) if world.rank == 0 else None)
        if error is not None:
            raise error
        dataset, evaluation = _data(config, world)
        model = begin(config, world, _classes(config, dataset))
        if world.rank == 0:
            _same(place, source, model, dataset)
        caches = Path(os.environ.get("SEESAY_CACHE", place / "features"))
        build = resolve(BUILDERS[config.objective.name])
        learner = build(model, dataset, config, world, caches, evaluation, quiet=quiet)
        resolved = _resolved(config, learner)
        if world.rank == 0:
            _describe(config, place, model, dataset, resolved.steps or 0)
        try:
            return fit(learner, resolved, place, world=world, resume=source, quiet=quiet)
        finally:
            if learner.close:
                learner.close()


@contextmanager
def _alone(folder: Path, world: World) -> Iterator[None]:
    """Keep other runs out of the folder."""
    if world.rank:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} cannot be made a run's folder ({error.strerror})") from None
    with WriterLock(folder):
        yield


def _resolved(config: TrainConfig, learner: Learner) -> TrainConfig:
    """Return the configuration with numbers of steps in place of what they follow from.

    Where nothing is said, a run is measured and saved every epoch, or twenty times in all where
    epochs are shorter, and saved at least every thousand steps.
    """
    epoch = learner.steps_per_epoch or 1000
    steps = config.steps or math.ceil((config.epochs or 1) * epoch)
    often = max(1, round(epoch), math.ceil(steps / 20))
    every = config.evaluate_every or (often if learner.evaluate else None)
    saved = config.save_every or min(often, 1000)
    return dataclasses.replace(
        config, steps=steps, epochs=None, evaluate_every=every, save_every=saved
    )


def _source(
    config: TrainConfig, folder: Path, resume: str
) -> tuple[UsageError | None, Path | None]:
    """Return the error to stop with, or the checkpoint to go on from, None to begin."""
    if (folder / STATE).exists() or (folder / "seesay.json").exists():
        return UsageError(
            f"{folder} is a checkpoint, not a folder for a run", "another --out"
        ), None
    last = Checkpoints(folder).last()
    if last is not None and resume != "auto":
        hint = "--resume auto goes on with it; another --out begins anew"
        return UsageError(f"{folder} holds a run already", hint), None
    if resume not in ("auto", "never"):
        path = Path(resume)
        found = path if (path / STATE).is_file() else Checkpoints(path).last()
        error = UsageError(f"{resume} holds no checkpoint to resume from", "give RUN or RUN/last")
        return (None, found.resolve()) if found else (error, None)
    if last is None:
        return None, None
    before, now = (flat(to_dict(c)) for c in (read_config(folder / CONFIG), config))
    differing = [
        f"{key}: {before.get(key)} -> {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and key not in HARMLESS
    ]
    if differing:
        return UsageError(
            f"{folder} holds a run with other settings: {'; '.join(differing)}",
            f"--resume {folder} with another --out goes on from its weights and its step",
        ), None
    return None, last


def _same(folder: Path, source: Path | None, model: Model, dataset: Any) -> None:
    """Refuse to go on with a run on other data or from other weights than it was begun with."""
    if source is None or source.parent.parent != folder.resolve():
        return
    try:
        record = json.loads((folder / RECORD).read_text())
        before = {"data": record["data"]["digest"], "model": record["model"]["fingerprint"]}
    except (OSError, ValueError, KeyError, TypeError):
        return  # nothing to compare with
    now = {"data": dataset.digest, "model": model.fingerprint}
    for what in before:
        if before[what] != now[what]:
            raise UsageError(
                f"the {what} has changed since the run in {folder} was begun",
                f"--resume {folder} with another --out goes on all the same",
            )


def _classes(config: TrainConfig, data: Any) -> tuple[str, ...]:
    """The answers that a classifier of pairs chooses from."""
    if config.objective.name != "classification":
        return ()
    from seesay.train.comparing import answer_names

    return answer_names(data)


def _data(config: TrainConfig, world: World) -> tuple[Any, Any]:
    """Open and check the data: what is bad about it is told before the first step."""
    told = config.data
    if not told.path:
        raise UsageError("which data?", "--data PATH, or --set data.path=PATH")
    opened: Any = open_questions if config.objective.name in ASKS else open_dataset
    if config.objective.name == "instruct":
        opened = partial(open_prompts, prompt=told.prompt)
    elif told.prompt is not None:
        raise UsageError(f"data.prompt={told.prompt!r} is for objective.name=instruct alone")
    dataset = _open(opened, told.path, told.split, told)
    # one process looks at every picture's header, and tells the others
    error, rows = world.told(_checked(dataset, config) if world.rank == 0 else None)
    if error is not None:
        raise error
    if rows is not None:
        dataset = dataset.select(rows)
    if not len(dataset):
        raise InputError(f"{told.path} has no row to train on")
    if not config.evaluate.path:
        return dataset, None
    evaluation = _open(opened, config.evaluate.path, config.evaluate.split, told)
    if world.rank == 0 and (bad := check(evaluation).stopping):
        first = f"{bad[0].where}: {bad[0].what}"
        _log.warning("%s: %d rows are not measured: %s", config.evaluate.path, len(bad), first)
    return dataset, evaluation


def _open(opened: Any, path: str, split: str | None, told: DataConfig) -> Any:
    columns = ("image_column", "text_column", "label_column", "separator", "root")
    return opened(path, split=split, **{name: getattr(told, name) for name in columns})


def _checked(dataset: Any, config: TrainConfig) -> tuple[InputError | None, list[int] | None]:
    """Return the error to stop with, or the rows to train on, None for all."""
    findings = check(dataset)
    if config.objective.views:  # which needs no captions
        kept = [f for f in findings.all if f.kind != "empty-caption"]
        findings = dataclasses.replace(findings, all=kept)
    if config.data.on_missing == "error":
        return findings.error(), None
    if not findings.stopping:
        return None, None
    _log.warning("%s: left out %d bad rows", config.data.path, len(findings.stopping))
    return None, findings.good_rows()


def _describe(config: TrainConfig, folder: Path, model: Model, dataset: Any, steps: int) -> None:
    """Write what runs, and what it runs on."""
    from seesay.evaluate.stamp import dataset_stamp, machine, model_stamp
    from seesay.train.freeze import trainable

    record: dict[str, Any] = {
        "steps": steps,
        "parameters": trainable(model.module)._asdict(),
        "model": model_stamp(model),
        "data": dataset_stamp(dataset),
        "machine": machine(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in ((CONFIG, to_dict(config)), (RECORD, record)):
            write_json(folder / f".{name}", json.loads(json.dumps(content)))
            os.replace(folder / f".{name}", folder / name)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written ({error.strerror})") from None
