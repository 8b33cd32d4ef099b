"""The loop learns, stops when it must, and loses nothing."""

from __future__ import annotations

import json
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from seesay.errors import CheckpointError, StorageError, UsageError
from seesay.train.loop import Diverged, Learner, Outcome, fit
from seesay.train.state import STATE, Checkpoints, read_state
from train.toy import CONFIG, Pair, build, eight, learner

SCRIPT = Path(__file__).with_name("toy.py")


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def start(folder: Path) -> subprocess.Popen[bytes]:
    threads = str(torch.get_num_threads())  # other numbers round otherwise
    paths = {"PYTHONPATH": ":".join(p for p in sys.path if p), "OMP_NUM_THREADS": threads}
    return subprocess.Popen([sys.executable, str(SCRIPT), str(folder)], env=paths)


def reach(folder: Path, step: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the run has logged this step."""
    log = folder / "metrics.jsonl"
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        if log.exists() and f'"step": {step},' in log.read_text():
            return
        time.sleep(0.002)
    assert process.poll() is not None, f"step {step} was not reached in a minute"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Pair]:
    """An undisturbed run."""
    folder, model = tmp_path_factory.mktemp("run") / "whole", build()
    fit(learner(model), CONFIG, folder, quiet=True)
    return folder, model


def test_eight_pairs_are_memorised(whole: tuple[Path, Pair]) -> None:
    told = rows(whole[0])
    assert told[0]["loss"] > 1.5
    assert told[-1]["loss"] < 0.3
    assert {"step", "loss", "lr", "grad_norm", "samples_per_second"} <= told[0].keys()
    assert (whole[0] / "curves.png").read_bytes().startswith(b"\x89PNG")
    model = whole[1].eval()
    with torch.no_grad():
        assert float(model(eight(0))) < 0.05


def test_a_run_killed_again_and_again_ends_where_an_undisturbed_one_does(
    whole: tuple[Path, Pair], tmp_path: Path
) -> None:
    folder, steps = tmp_path / "cut", CONFIG.steps or 0
    draw = random.Random()  # other steps in every run of the tests
    for step in sorted(draw.sample(range(1, steps), 3)):
        process = start(folder)
        reach(folder, step, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start(folder).wait(60) == 0
    undisturbed, cut = (read_state(f / "last") for f in (whole[0], folder))
    for part in ("weights", "buffers", "ema"):
        assert undisturbed[part].keys() == cut[part].keys()
        for name, tensor in undisturbed[part].items():
            assert torch.equal(tensor, cut[part][name]), (part, name)
    for name, moments in undisturbed["moments"].items():
        assert all(torch.equal(m, cut["moments"][name][key]) for key, m in moments.items()), name
    told = rows(folder)
    assert [row["step"] for row in told] == list(range(1, steps + 1))
    assert [row["loss"] for row in told] == [row["loss"] for row in rows(whole[0])]


def test_sigterm_saves_the_step_and_leaves(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(folder)
    reach(folder, 7, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == -signal.SIGTERM
    step = read_state(folder / "last")["outcome"]["step"]
    assert step == rows(folder)[-1]["step"] >= 7
    assert step % 25, "it stopped before a checkpoint was due"


def test_a_finished_run_is_not_run_again(whole: tuple[Path, Pair]) -> None:
    again = build()

    def never(step: int) -> tuple[Tensor, Tensor]:
        raise AssertionError(f"step {step} was run again")

    idle = replace_batch(learner(again), never)
    outcome = fit(idle, CONFIG, whole[0], resume=Checkpoints(whole[0]).last(), quiet=True)
    assert outcome.step == CONFIG.steps
    for a, b in zip(whole[1].parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def replace_batch(learned: Learner, batch: object) -> Learner:
    return replace(learned, batch=batch)  # type: ignore[arg-type]


def test_a_batch_that_is_not_finite_stops_the_run_before_it_does_harm(tmp_path: Path) -> None:
    model = build()

    def poisoned(step: int) -> tuple[Tensor, Tensor]:
        images, texts = eight(step)
        return (images * float("nan") if step == 12 else images), texts

    bad = replace_batch(learner(model), poisoned)
    bad.rows = lambda batch: "rows 3, 14 of pictures.csv"
    with pytest.raises(Diverged, match=r"step 13: loss nan.*\n.*rows 3, 14 of pictures.csv"):
        fit(bad, CONFIG, tmp_path, quiet=True)
    state = read_state(tmp_path / "last")
    assert state["outcome"]["step"] == 12
    assert all(torch.isfinite(w).all() for w in state["weights"].values())
    mended = build()
    config = replace(CONFIG, steps=20)
    assert fit(learner(mended), config, tmp_path, resume=tmp_path / "last", quiet=True).step == 20


def saving(model: Pair) -> Learner:
    """A learner that leaves a model, as real ones do."""

    def export(folder: Path, weights: Mapping[str, Tensor]) -> None:
        save_file(dict(weights), folder / "model.safetensors")

    return replace(learner(model), export=export)


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    model, config = build(), replace(CONFIG, steps=10, save_every=5)
    fit(saving(model), replace(config, steps=5), tmp_path, quiet=True)
    before = (tmp_path / "last" / STATE).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))  # as a disk with no room for more
    try:
        with pytest.raises(
            StorageError, match=r"checkpoint of step 10(.|\n)*step-00000005 is whole"
        ):
            fit(saving(model), config, tmp_path, resume=tmp_path / "last", quiet=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "last" / STATE).read_bytes() == before
    assert not list((tmp_path / "checkpoints").glob(".*"))
    assert fit(learner(build()), config, tmp_path, resume=tmp_path / "last", quiet=True).step == 10


def test_training_ends_when_nothing_gets_better_and_the_best_is_kept(tmp_path: Path) -> None:
    figures = iter([0.9, 0.1, 0.5, 0.4, 0.3, 0.6])  # the first is that of the untrained
    model = build()
    judged = learner(model)
    judged.evaluate = lambda: {"recall": next(figures)}
    config = replace(CONFIG, evaluate_every=10, patience=2, metric="recall", save_every=None)
    outcome = fit(judged, config, tmp_path, quiet=True)
    assert (outcome.step, outcome.best, outcome.best_step) == (40, 0.5, 20)
    assert read_state(tmp_path / "best")["outcome"]["step"] == 20
    assert read_state(tmp_path / "last")["outcome"]["step"] == 40
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    measured = [row["evaluation"]["recall"] for row in rows(tmp_path) if "evaluation" in row]
    assert measured == [0.9, 0.1, 0.5, 0.4, 0.3]


def test_an_unknown_metric_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="Did you mean recall"):
        Outcome(metrics={"recall": 1.0}).judge("recal")


def test_less_is_better_where_the_metric_says_so() -> None:
    outcome = Outcome(step=1, loss=2.0)
    assert outcome.judge("-loss")
    outcome.loss, outcome.step = 3.0, 2
    assert not outcome.judge("-loss")
    assert (outcome.best, outcome.stale) == (2.0, 1)


def test_the_state_of_another_model_is_refused_by_name(whole: tuple[Path, Pair]) -> None:
    model = build()
    model.text.requires_grad_(False)
    with pytest.raises(CheckpointError, match=r"text\.(weight|bias)"):
        fit(learner(model), CONFIG, whole[0], resume=whole[0] / "last", quiet=True)


def test_a_damaged_state_is_refused_and_nothing_in_it_is_run(tmp_path: Path) -> None:
    (tmp_path / STATE).write_bytes(b"cos\nsystem\n(S'touch never'\ntR.")
    with pytest.raises(CheckpointError, match="damaged"):
        read_state(tmp_path)
    with pytest.raises(CheckpointError, match="RUN/last"):
        read_state(tmp_path / "nowhere")


def test_random_numbers_and_modes_are_afterwards_what_they_were(tmp_path: Path) -> None:
    model = build().eval()
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    expected = torch.rand(1), random.random(), np.random.random()
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    fit(learner(model), replace(CONFIG, steps=3), tmp_path, quiet=True)
    assert (torch.rand(1), random.random(), np.random.random()) == expected
    assert not any(child.training for child in model.modules())


def test_patience_without_anything_to_measure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="need data to measure on"):
        fit(learner(build()), replace(CONFIG, patience=2), tmp_path, quiet=True)


def test_a_figure_that_is_no_number_is_never_the_best() -> None:
    outcome = Outcome(step=1, metrics={"recall": float("nan")})
    assert not outcome.judge("recall")
    outcome.metrics = {"recall": 0.1}
    assert outcome.judge("recall")


def test_weights_that_overflowed_are_never_saved(tmp_path: Path) -> None:
    model = build()
    broken = learner(model)

    def overflow() -> None:
        with torch.no_grad():
            model.text.weight.fill_(float("inf"))

    broken.after_step = overflow
    with pytest.raises(Diverged):
        fit(broken, replace(CONFIG, steps=1), tmp_path, quiet=True)
    assert Checkpoints(tmp_path).last() is None
