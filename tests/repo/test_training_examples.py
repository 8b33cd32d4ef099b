"""The commands of docs/training-examples.md take too long to run here; they are parsed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from repo.blocks import Block, blocks
from repo.source_tree import ROOT
from seesay.cli.main import cli, run
from seesay.data import open_dataset
from seesay.recipes import recipe

PAGE = ROOT / "docs" / "training-examples.md"


def commands(name: str) -> list[list[str]]:
    listed = [dataclasses.replace(block, language="sh") for block in blocks(PAGE)]
    return [words for block in listed for words in Block.commands(block) if words[0] == name]


@pytest.mark.parametrize("words", commands("train"), ids=lambda words: words[-1])
def test_every_training_command_resolves(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, "--print"]) == 0, capsys.readouterr().err
    assert '"split": "train"' in capsys.readouterr().out
    recipe(words[1])


def test_the_columns_and_splits_it_speaks_of_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert len(commands("train")) >= 4
    for words in commands("eval"):
        options = dict(zip(words[3::2], words[4::2], strict=True))
        column = options.get("--text-column")
        found = open_dataset(Path(words[2]), split=options["--split"], text_column=column)
        assert len(found) == 226
        assert all(record.texts for record in found)
        command = cli.get_command(None, "eval").get_command(None, words[1])  # type: ignore[attr-defined]
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(options) <= known
