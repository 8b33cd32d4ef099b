"""Processes started by torchrun learn what one process learns, and go on where others stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import nn

import seesay
from seesay.config import to_dict
from seesay.train.config import DataConfig, ObjectiveConfig, TrainConfig, TuneConfig
from seesay.train.parallel import World, joined, spread, unsynchronised, whole
from seesay.train.run import run
from seesay.train.state import read_state
from train import made


def torchrun(world: int, settings: Path, out: Path) -> None:
    """Train by the command line on several processes."""
    paths = ":".join(p for p in sys.path if p)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={world}", "-m", "seesay", "--debug", "train", str(settings)]
    done = subprocess.run(
        [*command, "--out", str(out), "--quiet", "--device", "cpu"],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def close(ours: Path, theirs: Path) -> None:
    """Compare weights, their means, and the optimiser's moments."""
    one, other = read_state(ours / "last"), read_state(theirs / "last")
    assert one["outcome"]["step"] == other["outcome"]["step"]
    for part in ("weights", "ema"):
        assert one[part].keys() == other[part].keys()
        for name, tensor in one[part].items():
            torch.testing.assert_close(other[part][name], tensor, rtol=1e-4, atol=2e-5, msg=name)
    for name, moments in one["moments"].items():
        for key, tensor in moments.items():
            torch.testing.assert_close(other["moments"][name][key], tensor, rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.pictures(tmp_path_factory.mktemp("pictures"))


@pytest.mark.slow
def test_two_processes_learn_what_one_does_by_every_strategy(data: Path, tmp_path: Path) -> None:
    five = DataConfig(path=str(data), batch_size=5, augment="flip", workers=0)
    # five pairs for two processes: one has three in two parts, the other two in one
    parts = dataclasses.replace(five, micro_batch=2)
    plain = made.config(data, data=five, tune=TuneConfig(freeze=("logit_scale",)))
    views = made.config(data, data=five, objective=ObjectiveConfig(views=1.0))
    cases = {
        "fsdp2": dataclasses.replace(plain, data=parts, strategy="fsdp2"),
        "views": dataclasses.replace(views, data=parts),
    }
    for name, config in cases.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(to_dict(config)))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda n: torchrun(2, tmp_path / f"{n}.json", tmp_path / n), cases))
    for name, config in (("fsdp2", plain), ("views", views)):
        run(config, tmp_path / f"{name}-alone", quiet=True, device="cpu")
        close(tmp_path / f"{name}-alone", tmp_path / name)
    model = seesay.load(tmp_path / "fsdp2")
    assert model.embed_texts(["red on the left"]).shape == (1, 20)


@pytest.mark.slow
def test_another_number_of_processes_goes_on_where_the_first_stopped(
    data: Path, tmp_path: Path
) -> None:
    config = made.config(data, evaluate=made.EvaluateConfig(), strategy="fsdp2")
    run(config, tmp_path / "whole", quiet=True, device="cpu")
    # three steps of six by two processes, the rest by one
    constant = made.EvaluateConfig(path=str(data), limit=1)
    stopping = dataclasses.replace(
        config, evaluate=constant, evaluate_every=1, patience=2, metric="-image_to_text_mean_rank"
    )
    (tmp_path / "stopping.json").write_text(json.dumps(to_dict(stopping)))
    torchrun(2, tmp_path / "stopping.json", tmp_path / "cut")
    # one picture is always ranked first, so nothing gets better after the first step
    assert read_state(tmp_path / "cut" / "last")["outcome"]["step"] == 3
    run(config, tmp_path / "resumed", resume=str(tmp_path / "cut"), quiet=True, device="cpu")
    close(tmp_path / "whole", tmp_path / "resumed")


def test_alone_nothing_is_wrapped_and_everyone_agrees() -> None:
    module = nn.Linear(2, 2)
    world = World()
    assert spread(module, module, world, "ddp") is module
    with unsynchronised(module):
        assert whole(module, lambda: world.agree(3.0)) == 3.0
    assert world.told({"a": 1}) == {"a": 1}
    assert world.mean({"loss": torch.tensor(2.0)}) == {"loss": 2.0}
    with joined("cpu") as alone:
        assert (alone.rank, alone.size, alone.group) == (0, 1, None)


def test_a_batch_of_one_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="two pairs"):
        TrainConfig(data=DataConfig(batch_size=1))
