"""Whole runs, as users start them: they learn, refuse what cannot be, and lose nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import seesay
from seesay.cli.main import run as command
from seesay.config import to_dict
from seesay.data import open_dataset
from seesay.errors import InputError, StorageError, UsageError
from seesay.evaluate import retrieval
from seesay.index.lock import WriterLock
from seesay.train.config import (
    DataConfig,
    LoraConfig,
    ObjectiveConfig,
    OptimConfig,
    TrainConfig,
    TuneConfig,
)
from seesay.train.contrastive import prepare
from seesay.train.run import run
from seesay.train.state import read_state
from seesay.train.towers import Inputs, Towers
from train import made


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "tiny"
    seesay.create("clip-tiny", seed=3).save(folder)
    return folder


def test_a_tiny_model_memorises_eight_pictures(tmp_path: Path) -> None:
    table = made.pictures(tmp_path / "pictures", count=8)
    config = made.config(
        table,
        steps=80,
        ema=None,
        optim=OptimConfig(lr=5e-3, weight_decay=0.0),
        data=DataConfig(path=str(table), batch_size=8, workers=0),
    )
    outcome = run(config, tmp_path / "run", quiet=True, device="cpu")
    assert outcome.loss < 0.2
    assert outcome.metrics["image_to_text_r@1"] == outcome.metrics["text_to_image_r@1"] == 1.0
    model = seesay.load(tmp_path / "run")
    found = model.match(table.with_name("000.png"), ["red on the right", "blue on the left"])
    assert found[0].itc > found[1].itc
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert told["data"]["records"] == 8
    assert told["machine"]["torch"] == torch.__version__
    assert not hasattr(model.module, "view_head")


def test_the_command_killed_at_any_moment_ends_where_an_undisturbed_one_does(
    data: Path, tmp_path: Path
) -> None:
    config = made.config(data, steps=30, save_every=4)
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(to_dict(config)))
    run(config, tmp_path / "whole", quiet=True, device="cpu")
    paths = ":".join(p for p in sys.path if p)
    line = [sys.executable, "-m", "seesay", "train", str(file), "--out", str(tmp_path / "cut")]
    threads = str(torch.get_num_threads())  # other numbers round otherwise
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": threads}
    log, draw = tmp_path / "cut" / "metrics.jsonl", random.Random()
    for step in sorted(draw.sample(range(2, 29), 2)):
        process = subprocess.Popen([*line, "--quiet", "--device", "cpu"], env=environment)
        until = time.monotonic() + 90
        while process.poll() is None and time.monotonic() < until:
            if log.exists() and f'"step": {step},' in log.read_text():
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run([*line, "--quiet", "--device", "cpu"], env=environment, timeout=120)
    assert done.returncode == 0
    one, other = read_state(tmp_path / "whole" / "last"), read_state(tmp_path / "cut" / "last")
    for part in ("weights", "ema"):
        for name, tensor in one[part].items():
            assert torch.equal(tensor, other[part][name]), name
    assert one["outcome"] == other["outcome"]


def test_a_run_is_resumed_with_its_own_settings_alone(data: Path, tmp_path: Path) -> None:
    config = made.config(data, steps=2, evaluate=made.EvaluateConfig())
    run(config, tmp_path / "run", quiet=True, device="cpu")
    with pytest.raises(UsageError, match=r"other settings: optim.*; steps: 2 -> 4"):
        run(
            dataclasses.replace(config, steps=4, optim=OptimConfig()),
            tmp_path / "run",
            quiet=True,
            device="cpu",
        )
    with pytest.raises(UsageError, match="holds a run already"):
        run(config, tmp_path / "run", resume="never", quiet=True, device="cpu")
    with pytest.raises(UsageError, match="no checkpoint"):
        run(config, tmp_path / "new", resume=str(tmp_path), quiet=True, device="cpu")
    longer = dataclasses.replace(config, steps=4)
    outcome = run(longer, tmp_path / "on", resume=str(tmp_path / "run"), quiet=True, device="cpu")
    assert outcome.step == 4
    with pytest.raises(UsageError, match="holds a run already"):
        run(longer, tmp_path / "on", resume=str(tmp_path / "run"), quiet=True, device="cpu")
    # a run that has nothing left to do still leaves a model where it was asked to
    run(config, tmp_path / "copy", resume=str(tmp_path / "run"), quiet=True, device="cpu")
    assert read_state(tmp_path / "copy" / "last")["outcome"]["step"] == 2
    # what decides nothing about the weights may change
    often = dataclasses.replace(config, save_every=1)
    assert run(often, tmp_path / "run", quiet=True, device="cpu").step == 2


def test_a_run_is_not_resumed_on_other_data_or_from_another_model(
    base: Path, tmp_path: Path
) -> None:
    table = made.pictures(tmp_path / "pictures")
    model = tmp_path / "model"
    shutil.copytree(base, model)
    config = made.config(
        table, steps=2, model=str(model), init="pretrained", evaluate=made.EvaluateConfig()
    )
    run(config, tmp_path / "run", quiet=True, device="cpu")
    text = table.read_text()
    table.write_text(text.replace("red on the left", "blue on the left"))
    with pytest.raises(UsageError, match="the data has changed"):
        run(config, tmp_path / "run", quiet=True, device="cpu")
    table.write_text(text)
    seesay.create("clip-tiny", seed=9).save(model)
    with pytest.raises(UsageError, match="the model has changed"):
        run(config, tmp_path / "run", quiet=True, device="cpu")


def test_a_run_that_gave_up_is_over_and_one_at_a_time_writes_a_folder(
    data: Path, tmp_path: Path
) -> None:
    config = made.config(
        data,
        steps=9,
        evaluate_every=1,
        patience=2,
        metric="-image_to_text_mean_rank",
        evaluate=made.EvaluateConfig(path=str(data), limit=1),
    )
    first = run(config, tmp_path, quiet=True, device="cpu")
    assert first.step == 3
    before = (tmp_path / "metrics.jsonl").read_text()
    again = run(config, tmp_path, quiet=True, device="cpu")
    assert (again.step, (tmp_path / "metrics.jsonl").read_text()) == (3, before)
    with WriterLock(tmp_path), pytest.raises(StorageError, match="being written"):
        run(config, tmp_path, quiet=True, device="cpu")


def test_without_being_told_a_run_measures_and_saves_on_its_way(data: Path, tmp_path: Path) -> None:
    run(made.config(data, steps=6), tmp_path, quiet=True, device="cpu")
    told = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    assert [row["step"] for row in told if "evaluation" in row] == [0, 2, 4, 6]
    figures = [row["evaluation"]["mean_recall"] for row in told if "evaluation" in row]
    best = read_state(tmp_path / "best")["outcome"]
    assert best["best"] == max(figures[1:])
    # what was measured in training is what the kept model gives
    model = seesay.load(tmp_path / "best", dtype="float32", device="cpu")
    report = retrieval(model, open_dataset(data), resamples=0)
    assert report.metrics["mean_recall"] == pytest.approx(best["best"])


def test_links_that_a_kill_left_behind_are_mended(data: Path, tmp_path: Path) -> None:
    config = made.config(data, steps=4, save_every=2, evaluate=made.EvaluateConfig())
    run(config, tmp_path, quiet=True, device="cpu")
    (tmp_path / "last").unlink()
    run(config, tmp_path, quiet=True, device="cpu")
    assert read_state(tmp_path / "last")["outcome"]["step"] == 4


def test_parts_of_a_batch_are_refused_where_batch_normalisation_learns(
    data: Path, tmp_path: Path
) -> None:
    parts = DataConfig(path=str(data), batch_size=6, micro_batch=3, workers=0)
    config = made.config(data, steps=1, model="clip-tiny-resnet", data=parts)
    with pytest.raises(UsageError, match="batch normalisation"):
        run(config, tmp_path, quiet=True, device="cpu")


@pytest.mark.parametrize("name", ["clip-tiny", "florence-tiny", "siglip-tiny", "mini-tiny"])
def test_a_share_without_rows_still_takes_its_part(name: str) -> None:
    model = seesay.create(name)
    pixels = torch.zeros(0, 3, *model.processor.image.size)
    ids, mask = torch.zeros(0, 1, dtype=torch.long), torch.zeros(0, 1, dtype=torch.bool)
    images, texts = Towers(model.module)(Inputs(pixels, ids, mask))
    assert images.shape == texts.shape == (0, model.config.embed_width)
    (images.sum() + texts.sum()).backward()


def test_adapters_begin_alike_in_every_process(base: Path) -> None:
    drawn = []
    for other in range(2):
        torch.manual_seed(other)
        model = seesay.load(base, dtype="float32")
        prepare(model, TrainConfig(tune=TuneConfig(lora=LoraConfig())))
        drawn.append({n: p for n, p in model.module.named_parameters() if "lora_A" in n})
    assert drawn[0]
    assert all(torch.equal(p, drawn[1][name]) for name, p in drawn[0].items())


def test_bad_rows_stop_training_before_it_begins_or_are_left_out_when_told(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = data.with_name("bad.csv")
    bad.write_text(data.read_text() + "gone.png,a picture that is not there,0\n")
    config = made.config(bad, steps=2, evaluate=made.EvaluateConfig())
    with pytest.raises(InputError, match=r"bad.csv:16.*no such file"):
        run(config, tmp_path / "run", quiet=True, device="cpu")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    told = dataclasses.replace(config, data=dataclasses.replace(config.data, on_missing="skip"))
    assert run(told, tmp_path / "run", quiet=True, device="cpu").step == 2
    assert "left out 1 bad rows" in caplog.text


def test_adapters_are_trained_alone_and_the_run_loads_as_a_model(
    data: Path, base: Path, tmp_path: Path
) -> None:
    lora = LoraConfig(rank=2, train=("logit_scale",))
    config = made.config(
        data, model=str(base), init="pretrained", ema=None, tune=TuneConfig(lora=lora)
    )
    run(config, tmp_path, quiet=True, device="cpu")
    assert (tmp_path / "best" / "adapter_config.json").is_file()
    trained = read_state(tmp_path / "last")["weights"]
    assert all("lora_" in name or name == "logit_scale" for name in trained)
    before, after = seesay.load(base, dtype="float32"), seesay.load(tmp_path, dtype="float32")
    texts = ["red on the left", "blue on the right"]
    assert not torch.allclose(before.embed_texts(texts), after.embed_texts(texts), atol=1e-5)
    beside = seesay.load(base, dtype="float32", adapter=tmp_path, merge=False)
    torch.testing.assert_close(beside.embed_texts(texts), after.embed_texts(texts))


def test_frozen_towers_are_read_once_and_do_not_move(
    data: Path, base: Path, tmp_path: Path
) -> None:
    config = made.config(
        data,
        model=str(base),
        init="pretrained",
        ema=None,
        data=DataConfig(path=str(data), batch_size=7, workers=0),
        tune=TuneConfig(freeze=("image", "text"), cache=("image", "text")),
    )
    run(config, tmp_path / "run", quiet=True, device="cpu")
    before, after = (seesay.load(p, dtype="float32").module for p in (base, tmp_path / "run"))
    moved = {
        name
        for name, tensor in before.state_dict().items()
        if not torch.equal(tensor, after.state_dict()[name])
    }
    assert moved == {"image_projection.weight", "text_projection.weight", "logit_scale"}
    # the same steps without caches end at the same weights, but for the caches' half precision
    plain = dataclasses.replace(config, tune=TuneConfig(freeze=("image", "text")))
    run(plain, tmp_path / "plain", quiet=True, device="cpu")
    other = seesay.load(tmp_path / "plain", dtype="float32").module.state_dict()
    for name in moved:
        torch.testing.assert_close(after.state_dict()[name], other[name], rtol=1e-2, atol=1e-3)


def test_pictures_without_captions_have_a_part_in_the_views_alone(tmp_path: Path) -> None:
    table = made.pictures(tmp_path / "pictures")
    lines = table.read_text().splitlines()
    silent = [line.split(",")[0] + ",," for line in lines[4:9]]
    table.write_text("\n".join(["filepath,title,label", *lines[1:4], *lines[9:], *silent]) + "\n")
    config = made.config(
        table,
        steps=2,
        ema=None,
        evaluate=made.EvaluateConfig(),
        objective=ObjectiveConfig(views=1.0),
        data=DataConfig(path=str(table), batch_size=14, workers=0),
    )
    outcome = run(config, tmp_path / "run", quiet=True, device="cpu")
    told = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert told[0]["loss"] == pytest.approx(told[0]["contrast"] + told[0]["views"], rel=1e-5)
    assert outcome.step == 2


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"objective": ObjectiveConfig(name="sigmoid")}, "no logit_bias"),
        ({"tune": TuneConfig(freeze=("immage",))}, "matches no parameter"),
        ({"tune": TuneConfig(freeze=("*",))}, "leaves nothing to train"),
        ({"tune": TuneConfig(cache=("image",))}, "not frozen"),
        ({"model": ""}, "which model"),
        ({"data": DataConfig()}, "which data"),
        ({"metric": "recal"}, "Did you mean"),
    ],
)
def test_what_cannot_be_is_said_before_or_at_once(
    data: Path, tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    fitting = {"data": DataConfig(path=str(data), batch_size=7, workers=0), "steps": 1}
    with pytest.raises(UsageError, match=said):
        run(made.config(data, **(fitting | changed)), tmp_path / "run", quiet=True, device="cpu")


def test_the_command_tells_how_it_ended_and_prints_its_settings(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", "scratch", "--model", "clip-tiny", "--data", str(data), "--eval", str(data)]
    line += ["--set", "epochs=null", "--set", "steps=2", "--set", "data.batch_size=7"]
    line += ["--out", str(tmp_path / "run"), "--device", "cpu", "--json", "--quiet"]
    assert command([*line, "--print"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["batch_size"] == 7
    assert not (tmp_path / "run").exists()
    assert command(line) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["step"], Path(told["model"]).name) == (2, "best")
    assert command(["train", "scrach", "--out", "x"]) == 2
    assert "Did you mean scratch" in capsys.readouterr().err


def test_an_adapter_wants_a_base_that_can_be_found_again(data: Path, tmp_path: Path) -> None:
    config = made.config(data, tune=TuneConfig(lora=LoraConfig()))
    with pytest.raises(UsageError, match="can be loaded again"):
        run(config, tmp_path, quiet=True, device="cpu")


def test_a_checkpoint_is_no_folder_for_a_run(data: Path, base: Path) -> None:
    with pytest.raises(UsageError, match="is a checkpoint"):
        run(made.config(data), base, quiet=True, device="cpu")


def test_a_table_without_captions_or_labels_is_refused_as_its_check_says(
    data: Path, tmp_path: Path
) -> None:
    table = data.with_name("silent.csv")
    table.write_text("filepath\n000.png\n001.png\n")
    assert command(["data", "check", str(table), "--quiet"]) == 4
    with pytest.raises(InputError, match=r"silent.csv:2: has no caption"):
        run(made.config(table), tmp_path, quiet=True, device="cpu")


def test_bad_rows_of_the_evaluation_are_told(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = data.with_name("bad-test.csv")
    bad.write_text(data.read_text() + "gone.png,a picture that is not there,0\n")
    config = made.config(data, steps=1, evaluate=made.EvaluateConfig(path=str(bad)))
    run(config, tmp_path, quiet=True, device="cpu")
    assert "bad-test.csv: 1 rows are not measured" in caplog.text
