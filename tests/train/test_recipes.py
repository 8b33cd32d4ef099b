"""Every recipe stands for a run that can be, and can be copied and changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seesay import registry
from seesay.cli.main import run as command
from seesay.config import from_dict, to_dict
from seesay.errors import UsageError
from seesay.recipes import RECIPES, recipe
from seesay.train.config import TrainConfig
from seesay.train.optim import factor


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_whole(name: str) -> None:
    config = recipe(name)
    declared, variant = registry.variant(config.model)
    beginning = variant.weights or variant.hub or variant.released
    assert beginning or config.init == "random"
    assert config.steps or config.epochs
    assert factor(0, 1000, config.schedule) <= 1
    assert from_dict(TrainConfig, json.loads(json.dumps(to_dict(config)))) == config
    if config.objective.name == "sigmoid":
        assert declared.name == "siglip"


@pytest.mark.parametrize("name", RECIPES)
def test_a_copied_recipe_is_the_same_and_can_be_changed(name: str, tmp_path: Path) -> None:
    target = tmp_path / "mine.py"
    assert command(["cp", name, str(target)]) == 0
    assert recipe(str(target)) == recipe(name)
    target.write_text(
        target.read_text().replace("TrainConfig(\n", "TrainConfig(\n        seed=5,\n", 1)
    )
    assert recipe(str(target)).seed == 5, target.read_text()
    assert command(["cp", name, str(target)]) == 2


def test_what_is_no_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean clip"):
        recipe("clap")
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def recipe():\n    return 3\n")
    with pytest.raises(UsageError, match="no function recipe"):
        recipe(str(wrong))
    wrong.write_text("def recipe(:\n")
    with pytest.raises(UsageError, match=r"wrong\.py: SyntaxError"):
        recipe(str(wrong))
    with pytest.raises(UsageError, match="there is no file"):
        recipe("mine.py")
    (tmp_path / "config.json").write_text("{]")
    with pytest.raises(UsageError, match="no configuration"):
        recipe(str(tmp_path))
    with pytest.raises(UsageError, match=r"end it in \.py"):
        command_or_raise(["cp", "clip", "mine.txt"])


def command_or_raise(line: list[str]) -> None:
    from seesay.cli.commands.train import cp

    cp.main(line[1:], standalone_mode=False)
