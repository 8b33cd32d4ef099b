"""`seesay bench` measures every way of loading a model, and says what it measured."""

from __future__ import annotations

import json

import pytest

from seesay.cli.main import run

SHORT = ["--seconds", "0.001", "--batch-size", "2", "--threads", "1", "--device", "cpu"]


@pytest.mark.parametrize("optimize", ["plain", "packed", "int8"])
def test_it_times_images_and_texts(capsys: pytest.CaptureFixture[str], optimize: str) -> None:
    assert run(["bench", "--model", "clip-tiny", "--optimize", optimize, "--json", *SHORT]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["model"], record["optimize"], record["threads"]) == ("clip-tiny", optimize, 1)
    measured = record["measurements"]
    assert {"decode it fast", "encode one image", "encode 2 images", "encode 2 texts"} <= set(
        measured
    )
    assert all(found["per_second"] > 0 for found in measured.values())


def test_the_table_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--model", "clip-tiny", *SHORT]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("clip-tiny: ")
    assert "a second" in printed.out
    assert "random" in printed.err


def test_an_unknown_precision_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--model", "clip-tiny", "--dtype", "float7", *SHORT]) == 2
    assert "float7" in capsys.readouterr().err
