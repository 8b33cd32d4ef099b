"""Whole runs of pre-training and of retrieval: they memorise, resume to the bit, and refuse."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import seesay
from seesay.config import override, to_dict
from seesay.errors import UsageError
from seesay.recipes import recipe
from seesay.train.config import (
    DataConfig,
    MomentumConfig,
    ObjectiveConfig,
    OptimConfig,
    ScheduleConfig,
    TrainConfig,
    TuneConfig,
)
from seesay.train.optim import factor
from seesay.train.run import run
from seesay.train.state import read_state
from train import made


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.pictures(tmp_path_factory.mktemp("pictures"))


def config(path: Path, name: Any = "pretraining", **changed: Any) -> TrainConfig:
    told: dict[str, Any] = {
        "model": "blip-tiny",
        "data": DataConfig(path=str(path), batch_size=5, workers=0),
        "evaluate": made.EvaluateConfig(),
        "objective": ObjectiveConfig(
            name=name, momentum=MomentumConfig(decay=0.9, queue=12, alpha_epochs=1)
        ),
    }
    return made.config(path, **(told | changed))


def roomy(folder: Path) -> str:
    """A tiny model with a little more room, that forgets nothing to dropout."""
    model = seesay.create("blip-tiny", seed=0)
    text = dataclasses.replace(model.config.text, width=48, mlp_width=96, dropout=0.0)
    model.config = dataclasses.replace(model.config, text=text)
    torch.manual_seed(0)
    model.module = model.family.build(model.config)
    model.save(folder)
    return str(folder)


def test_eight_pairs_are_memorised_by_all_three_objectives(tmp_path: Path) -> None:
    path = made.pictures(tmp_path / "pictures", count=8)
    told = config(
        path,
        model=roomy(tmp_path / "roomy"),
        init="pretrained",
        steps=150,
        ema=None,
        optim=OptimConfig(lr=3e-3, weight_decay=0.0, eps=1e-8),
        schedule=ScheduleConfig(warmup=20),
        data=DataConfig(path=str(path), batch_size=8, workers=0),
        evaluate=made.EvaluateConfig(path=str(path)),
        evaluate_every=150,
        objective=ObjectiveConfig(
            name="pretraining", momentum=MomentumConfig(decay=0.9, queue=0, alpha=0.0)
        ),
    )
    outcome = run(told, tmp_path / "run", quiet=True, device="cpu")
    assert outcome.metrics["image_to_text_r@1"] == outcome.metrics["text_to_image_r@1"] == 1.0
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    first, *_, last = (row for row in log if "itm" in row)
    for part in ("itc", "itm", "lm"):
        assert last[part] < first[part] / 3, (part, first[part], last[part])
    assert last["itm_accuracy"] > 0.95
    assert last["lm"] < 1.7  # smoothing over 30,524 tokens alone leaves 1.36
    model = seesay.load(tmp_path / "run", dtype="float32")
    texts = {0: "red on the right", 1: "green on the right", 7: "red on the left"}
    pictures = [path.with_name(f"{number:03}.png") for number in texts]
    written = model.caption(pictures, prompt="", num_beams=1, max_length=12, min_length=0)
    assert [found.captions[0].text for found in written] == list(texts.values())
    for i, picture in enumerate(pictures):
        found = [match.itm for match in model.match(picture, list(texts.values()))]
        assert max(range(3), key=found.__getitem__) == i


def test_a_run_killed_at_any_moment_ends_where_an_undisturbed_one_does(
    data: Path, tmp_path: Path
) -> None:
    told = config(data, steps=24, save_every=3)
    file, whole, cut = tmp_path / "recipe.json", tmp_path / "whole", tmp_path / "cut"
    file.write_text(json.dumps(to_dict(told)))
    run(told, whole, quiet=True, device="cpu")
    paths = ":".join(p for p in sys.path if p)
    threads = str(torch.get_num_threads())  # other numbers round otherwise
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": threads}
    line = [sys.executable, "-m", "seesay", "train", str(file), "--out", str(cut)]
    process = subprocess.Popen([*line, "--quiet", "--device", "cpu"], env=environment)
    until, log = time.monotonic() + 90, cut / "metrics.jsonl"
    while process.poll() is None and time.monotonic() < until:
        if log.exists() and '"step": 11,' in log.read_text():
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert read_state(cut / "last")["outcome"]["step"] < 24
    run(told, cut, quiet=True, device="cpu")
    one, other = read_state(whole / "last"), read_state(cut / "last")
    assert one["extra"]["queue"]["images"].shape == (12, 12)
    for part in ("weights", "ema", "moments", "extra"):
        same(one[part], other[part])
    assert one["outcome"] == other["outcome"]


def same(one: Any, other: Any) -> None:
    """Assert that nested dictionaries hold the same bits."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for name, value in one.items():
            same(value, other[name])
    else:
        assert one == other


def test_the_checkpoint_is_the_model_alone_and_keeps_copies_and_queue_beside_it(
    data: Path, tmp_path: Path
) -> None:
    run(config(data, steps=3), tmp_path / "run", quiet=True, device="cpu")
    model = seesay.load(tmp_path / "run", dtype="float32")
    assert model.module.state_dict().keys() == seesay.create("blip-tiny").module.state_dict().keys()
    extra = read_state(tmp_path / "run" / "last")["extra"]
    assert extra["queue"]["keys"].shape == (12, 2)
    assert extra["momentum"]["image.class_embedding"].shape == (20,)


@pytest.mark.parametrize("model", ["blip-tiny-retrieval", "blip-tiny"])
def test_retrieval_trains_contrast_and_matching_without_the_writer(
    data: Path, tmp_path: Path, model: str
) -> None:
    told = config(data, "retrieval", model=model, steps=2, ema=None)
    before = seesay.create(model, seed=told.seed).module.state_dict()
    run(told, tmp_path / "run", quiet=True, device="cpu")
    after = seesay.load(tmp_path / "run", dtype="float32").module.state_dict()
    assert not [name for name in after if torch.equal(after[name], before[name])]
    assert not [name for name in after if "causal" in name or name.startswith("lm_head")]


def test_a_frozen_tower_stays_and_half_precision_learns(data: Path, tmp_path: Path) -> None:
    told = config(data, steps=2, precision="bf16", tune=TuneConfig(freeze=("image",)))
    outcome = run(told, tmp_path / "run", quiet=True, device="cpu")
    assert outcome.loss > 0
    before = seesay.create("blip-tiny", seed=told.seed).module.state_dict()
    after = seesay.load(tmp_path / "run", dtype="float32").module.state_dict()
    for name in before:
        if name.startswith("image."):
            assert torch.equal(before[name], after[name]), name
    assert not any(
        n.startswith("image.") for n in read_state(tmp_path / "run/last")["extra"]["momentum"]
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.micro_batch=2"], "data.micro_batch=2"),
        (["objective.chunk=2"], "objective.chunk=2"),
        (["objective.views=1"], "objective.views=1"),
        (["tune.cache=image"], "tune.cache"),
        (["objective.prompt=a sketch of"], "learns whole captions"),
        (["data.batch_size=1"], "another pair"),
        (["model=clip-tiny"], "does not both embed and match"),
        (["model=blip-tiny-captioning"], "blip-tiny-captioning"),
        (["model=blip-tiny-retrieval"], "cannot write"),
    ],
)
def test_what_cannot_be_is_said_before_the_first_step(
    data: Path, tmp_path: Path, settings: list[str], message: str
) -> None:
    told = override(config(data), settings)
    with pytest.raises(UsageError, match=message):
        run(told, tmp_path / "run", quiet=True, device="cpu")


def test_settings_out_of_bounds_are_refused() -> None:
    for wrong in (
        {"decay": 1.5},
        {"queue": -1},
        {"alpha": 1.0},
        {"alpha_epochs": -1.0},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            MomentumConfig(**wrong)
    with pytest.raises(ValueError, match="max_length"):
        ObjectiveConfig(max_length=2)
    with pytest.raises(ValueError, match="two pairs"):
        TrainConfig(data=DataConfig(batch_size=1))
    assert override(recipe("blip-scratch"), ["objective.momentum.queue=0"])


def test_smoothing_is_what_is_usual_unless_it_is_told() -> None:
    assert ObjectiveConfig().smoothing == 0
    assert ObjectiveConfig(name="pretraining").smoothing == 0.1
    assert ObjectiveConfig(name="captioning", label_smoothing=0.0).smoothing == 0
    assert ObjectiveConfig(label_smoothing=0.2).smoothing == 0.2


def test_the_published_rate_falls_by_a_tenth_each_epoch() -> None:
    schedule = dataclasses.replace(recipe("blip-pretrain").schedule, warmup=0)
    steps = 20 * 50
    for epoch in range(20):
        assert factor(50 * epoch, steps, schedule) == pytest.approx(0.9**epoch, rel=1e-3)
    with pytest.raises(ValueError, match="end=0"):
        ScheduleConfig(kind="exponential")
