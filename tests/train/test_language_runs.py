"""Whole runs of what writes and what chooses are measured on their way, by the figures of use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import seesay
from seesay.cli.main import run as command
from seesay.data import open_dataset, open_questions
from seesay.train.config import EvaluateConfig
from seesay.train.run import run
from train import asked, made


@pytest.mark.parametrize(
    ("objective", "listing", "figure"),
    [
        ("captioning", made.pictures, "cider_d"),
        ("vqa", asked.questions, "accuracy"),
        ("nlvr", asked.statements, "accuracy"),
        ("classification", asked.entailments, "accuracy"),
    ],
)
def test_the_best_is_kept_by_what_is_measured(
    tmp_path: Path, objective: str, listing: object, figure: str
) -> None:
    assert callable(listing)
    path = listing(tmp_path / "data")
    measured = EvaluateConfig(path=str(path), limit=4)
    base = str(asked.steady(objective, tmp_path / "base"))
    config = asked.config(
        path,
        objective,
        model=base,
        init="pretrained",
        steps=2,
        evaluate=measured,
        evaluate_every=1,
    )
    outcome = run(config, tmp_path / "run", quiet=True, device="cpu")
    told = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert [row["step"] for row in told if "evaluation" in row] == [0, 1, 2]
    figures = [row["evaluation"][figure] for row in told if "evaluation" in row]
    assert outcome.best == max(figures[1:])
    kept = seesay.load(tmp_path / "run", dtype="float32", device="cpu")
    if objective == "captioning":
        report = seesay.evaluate.captioning(kept, open_dataset(path), limit=4, resamples=0)
    elif objective == "vqa":
        report = seesay.evaluate.answering(kept, open_questions(path), limit=4, resamples=0)
    else:
        return
    assert report.metrics[figure] == pytest.approx(outcome.best)


def test_the_command_says_what_the_model_is_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = asked.questions(tmp_path / "data")
    line = ["train", "vqa", "--model", "blip-tiny", "--data", str(path), "--device", "cpu"]
    line += ["--set", "init=random", "--set", "steps=1", "--set", "data.batch_size=4"]
    assert command([*line, "--out", str(tmp_path / "run")]) == 0
    assert "seesay ask IMAGE 'question' --model" in capsys.readouterr().err
    picture = str(path.with_name("000.png"))
    asking = ["ask", picture, "Which side?", "--model", str(tmp_path / "run"), "--json"]
    assert command(asking) == 0
    json.loads(capsys.readouterr().out)
