"""A probe learns what the features of a model tell, and is told from a model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

import seesay
from seesay.errors import CheckpointError, UsageError
from seesay.train.config import DataConfig, ObjectiveConfig, OptimConfig, TrainConfig
from seesay.train.probe import load_probe
from seesay.train.run import run
from train import made


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "tiny"
    seesay.create("clip-tiny", seed=3).save(folder)
    return folder


def test_a_probe_learns_the_classes_of_labelled_pictures(
    data: Path, base: Path, tmp_path: Path
) -> None:
    config = TrainConfig(
        model=str(base),
        steps=60,
        data=DataConfig(path=str(data), batch_size=14),
        evaluate=made.EvaluateConfig(path=str(data)),
        objective=ObjectiveConfig(name="probe"),
        optim=OptimConfig(lr=3e-2, weight_decay=0.0, clip=None),
    )
    outcome = run(config, tmp_path / "run", quiet=True, device="cpu")
    assert outcome.metrics["top1"] == 1.0
    classifier = load_probe(tmp_path / "run", device="cpu")
    labels = ["0", "1", "2", "3", "4", "5", "6"]
    assert classifier.classes == tuple(labels)
    found = classifier.classify([data.parent / f"{i:03}.png" for i in range(7)])
    assert [result.label for result in found] == labels
    seesay.create("clip-tiny", seed=4).save(base.with_name("other"))
    about = json.loads((tmp_path / "run" / "last" / "probe.json").read_text())
    about["model"] = str(base.with_name("other"))
    (tmp_path / "run" / "best" / "probe.json").write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match="another"):
        load_probe(tmp_path / "run", device="cpu")


def test_a_probe_is_told_from_a_model_and_measured_on_some_of_its_classes(
    data: Path, base: Path, tmp_path: Path
) -> None:
    few = data.with_name("few.csv")
    few.write_text("\n".join(data.read_text().splitlines()[:3]) + "\n")
    strange = data.with_name("strange.csv")
    strange.write_text("filepath,title,label\n000.png,red,mauve\n")
    config = TrainConfig(
        model=str(base),
        steps=1,
        data=DataConfig(path=str(data), batch_size=14),
        evaluate=made.EvaluateConfig(path=str(few)),
        objective=ObjectiveConfig(name="probe"),
    )
    run(config, tmp_path / "run", quiet=True, device="cpu")
    with pytest.raises(UsageError, match="linear classifier"):
        seesay.load(tmp_path / "run")
    other = dataclasses.replace(config, evaluate=made.EvaluateConfig(path=str(strange)))
    with pytest.raises(UsageError, match="not trained on: mauve"):
        run(other, tmp_path / "other", quiet=True, device="cpu")
