"""Pickles with what training left beside the weights are read, and nothing in them runs."""

from __future__ import annotations

import argparse
import collections
import os
import pathlib
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seesay.checkpoints.files import read_tensors
from seesay.errors import CheckpointError

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "a.count": torch.tensor(3)}
RAN: list[str] = []


def run(*_: Any) -> None:
    RAN.append("ran")


class Asks:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


class Node(dict):  # type: ignore[type-arg]
    """A dictionary with a class of its own, as settings are kept in."""


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A package that is there when the file is written, and must not be asked when it is read."""
    module = types.ModuleType("omegaconf")
    Node.__module__, Node.__qualname__ = "omegaconf", "Node"
    run.__module__, run.__qualname__ = "omegaconf", "run"
    module.Node, module.run = Node, run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "omegaconf", module)
    RAN.clear()
    return module


LEFT: dict[str, Any] = {
    "an optimiser": {"state": {0: {"step": 3, "moment": torch.ones(2)}}, "param_groups": []},
    "arguments": argparse.Namespace(lr=1e-4, output=pathlib.PurePosixPath("x").name),
    "paths": {"output": pathlib.PosixPath("out/x")},
    "scores": {"best": np.float64(81.2), "all": collections.defaultdict(list, {"a": [1]})},
    "types": {"kind": dict, "of": [int, str]},
}


@pytest.mark.parametrize("what", LEFT)
def test_what_training_leaves_is_passed_over(what: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": WEIGHTS, "left": LEFT[what], "epoch": 7}, path)
    found = read_tensors(path)
    assert found.keys() == WEIGHTS.keys()
    assert all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)


def test_classes_of_packages_are_neither_imported_nor_called(
    tmp_path: Path, foreign: types.ModuleType
) -> None:
    path = tmp_path / "checkpoint.pth"
    node = Node(lr=1e-4, deeper=Node(b=1))
    node.frozen = True  # type: ignore[attr-defined]
    torch.save({"model": WEIGHTS, "config": node, "hook": Asks(run, "rm")}, path)
    assert not RAN
    del sys.modules["omegaconf"]
    sys.modules["omegaconf"] = None  # type: ignore[assignment]  # an import would fail
    assert read_tensors(path).keys() == WEIGHTS.keys()
    sys.modules["omegaconf"] = foreign
    assert read_tensors(path).keys() == WEIGHTS.keys()
    assert not RAN


def test_a_class_in_the_place_of_a_tensor_is_refused(
    tmp_path: Path, foreign: types.ModuleType
) -> None:
    torch.save({"model": WEIGHTS | {"b": Asks(run)}}, tmp_path / "checkpoint.pth")
    with pytest.raises(CheckpointError, match="'b' is OrderedDict, not a tensor"):
        read_tensors(tmp_path / "checkpoint.pth")
    torch.save({"model": Node(WEIGHTS)}, tmp_path / "checkpoint.pth")
    assert read_tensors(tmp_path / "checkpoint.pth").keys() == WEIGHTS.keys()
    assert not RAN


@pytest.mark.parametrize(
    "hostile",
    [
        Asks(os.mkdir, "made"),
        Asks(os.system, "touch made"),
        Asks(eval, "open('made', 'w')"),
        Asks(exec, "open('made', 'w')"),
        Asks(getattr, os, "mkdir"),
        Asks(__import__, "os"),
        Asks(pathlib.Path.touch, pathlib.PosixPath("made")),
        Asks(torch.hub.load, "made", "made"),
        Asks(np.save, "made", 3),
        Asks(torch.save, 3, "made"),
    ],
)
@pytest.mark.parametrize("place", ["beside", "within"])
def test_code_is_refused_wherever_it_stands(
    hostile: Any, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    held = {"model": WEIGHTS | {"b": hostile}} if place == "within" else {"model": WEIGHTS}
    try:
        torch.save(held | {"config": hostile}, "checkpoint.pth")
    except (TypeError, AttributeError):
        pytest.skip("cannot even be written")
    with pytest.raises(CheckpointError, match="never run"):
        read_tensors(Path("checkpoint.pth"))
    assert not Path("made").exists()


def test_a_small_file_cannot_ask_for_much_memory(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": WEIGHTS | {"b": torch.zeros(1).expand(10**5, 10**5)}}, path)
    assert path.stat().st_size < 10_000
    with pytest.raises(CheckpointError, match=r"'b' .* takes more than the whole file"):
        read_tensors(path)
    torch.save({"model": WEIGHTS | {"b": torch.zeros(1).expand(3)}}, path)
    assert read_tensors(path)["b"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", [torch.eye(3).to_sparse(), torch.empty(3, device="meta")])
def test_tensors_that_are_no_weights_are_refused(kind: torch.Tensor, tmp_path: Path) -> None:
    torch.save({"model": WEIGHTS | {"b": kind}}, tmp_path / "checkpoint.pth")
    with pytest.raises(CheckpointError, match="'b' is a tensor of another kind"):
        read_tensors(tmp_path / "checkpoint.pth")


def test_a_file_that_asks_for_thousands_of_classes_is_refused_at_once(
    tmp_path: Path, foreign: types.ModuleType
) -> None:
    """torch's reader takes the square of their number: minutes for what is a file of 100 KB."""
    for i in range(300):
        name = f"Node{i}"
        made = type(name, (dict,), {"__module__": "omegaconf", "__qualname__": name})
        setattr(foreign, name, made)
    nodes = [getattr(foreign, f"Node{i}")() for i in range(300)]
    torch.save({"model": WEIGHTS, "config": nodes}, tmp_path / "checkpoint.pth")
    with pytest.raises(CheckpointError, match="300 classes"):
        read_tensors(tmp_path / "checkpoint.pth")
    torch.save({"model": WEIGHTS, "config": nodes[:9]}, tmp_path / "checkpoint.pth")
    assert read_tensors(tmp_path / "checkpoint.pth").keys() == WEIGHTS.keys()
