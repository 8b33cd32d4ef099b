"""The example that makes a small BLIP of one's own words: it is made, trained and asked."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

import seesay
from repo.source_tree import ROOT
from seesay.cli.main import run as command
from train import asked, made

SCRIPT = ROOT / "examples" / "small_blip.py"


def test_it_knows_the_words_of_the_data_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = asked.questions(tmp_path / "questions")
    monkeypatch.setattr("sys.argv", ["small_blip.py", str(questions), str(tmp_path / "small")])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert "wrote" in capsys.readouterr().out
    model = seesay.load(tmp_path / "small", dtype="float32")
    tokens = model.processor.tokenizer.ids
    assert tokens(["what colour is it, do you think? a zebra"])[0].count(1) == 1
    assert model.config.text.vocab_size < 50


def test_it_is_trained_by_the_recipes(tmp_path: Path) -> None:
    table = made.pictures(tmp_path / "pictures")
    build = runpy.run_path(str(SCRIPT))["build"]
    build([*made.COLOURS, "on", "the", "left", "right"]).save(tmp_path / "it")
    line = ["train", "caption", "--data", str(table), "--model", str(tmp_path / "it"), "--quiet"]
    line += ["--set", "init=random", "--set", "steps=2", "--set", "data.batch_size=4"]
    assert command([*line, "--out", str(tmp_path / "run"), "--device", "cpu"]) == 0
    picture = table.with_name("000.png")
    assert isinstance(seesay.load(tmp_path / "run").caption(picture)[0].text, str)
