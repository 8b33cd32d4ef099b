"""CapFilt with real models on real drawings, and as a command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import seesay
from data.made import pictures, write
from repo.source_tree import ROOT
from seesay.cli.main import run
from seesay.data import open_dataset
from seesay.data.capfilt import capfilt
from seesay.model import Model

DRAWINGS = ROOT / "examples" / "drawings"


def undecided() -> Model:
    """A tiny BLIP whose matching head says yes as often as no."""
    model = seesay.create("blip-tiny")
    torch.manual_seed(3)
    for parameter in model.module.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    pairs = model.match([str(DRAWINGS / "noto" / "anchor.png")] * 3, ["anchor", "red", "a dog"])
    margins = torch.tensor([pair.probability for pair in pairs]).logit()
    with torch.no_grad():
        model.module.itm_head.bias[1] -= margins.mean()
    return model


@pytest.fixture(scope="module")
def model() -> Model:
    return undecided()


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def test_scores_are_those_of_the_match_task_and_batches_change_nothing(
    model: Model, tmp_path: Path
) -> None:
    found = []
    for size in (1, 8):
        out = tmp_path / str(size)
        capfilt(DRAWINGS, out, captioner=model, limit=6, candidates=2, batch_size=size)
        found.append(rows(out / "captions.jsonl") + rows(out / "rejected.jsonl"))
    alone, together = found
    assert [row["caption"] for row in alone] == [row["caption"] for row in together]
    assert {row["source"] for row in alone} == {"web", "synthetic"}
    assert len({row["kept"] for row in alone}) == 2
    scores = [row["probability"] for row in alone]
    assert scores == pytest.approx([row["probability"] for row in together], abs=1e-4)
    told = model.match([row["image"] for row in alone], [row["caption"] for row in alone])
    assert scores == pytest.approx([pair.probability for pair in told], abs=1e-4)
    assert open_dataset(tmp_path / "8" / "captions.jsonl").picture(0).size[0] > 30


def test_beams_are_those_of_the_caption_task(model: Model, tmp_path: Path) -> None:
    how = {"num_beams": 2, "max_length": 9}
    capfilt(
        DRAWINGS, tmp_path, captioner=model, limit=3, threshold=0.0, prompt="a drawing of",
        do_sample=False, **how,
    )  # fmt: skip
    kept = [row for row in rows(tmp_path / "captions.jsonl") if row["source"] == "synthetic"]
    told = model.caption([row["image"] for row in kept], "a drawing of", **how)
    assert [row["caption"] for row in kept] == [output.text for output in told]


def test_ranks_are_those_of_the_vectors(model: Model, tmp_path: Path) -> None:
    clip = seesay.create("clip-tiny")
    capfilt(DRAWINGS, tmp_path, captioner=model, rank=clip, limit=4, candidates=3, max_length=8)
    everything = rows(tmp_path / "captions.jsonl") + rows(tmp_path / "rejected.jsonl")
    images = clip.embed_images([row["image"] for row in everything])
    texts = clip.embed_texts([row["caption"] for row in everything])
    cosines = (images * texts).sum(-1).tolist()
    assert [row["similarity"] for row in everything] == pytest.approx(cosines, abs=1e-5)
    assert len(rows(tmp_path / "captions.jsonl")) == 8


def test_the_command_goes_on_where_it_was_and_prints_the_figures(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.save(tmp_path / "blip")
    pictures(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    table = write(tmp_path / "t.csv", "image,caption\na.jpg,one\nb.jpg,two\nc.jpg,three\n")
    (tmp_path / "b.jpg").write_bytes(b"none")
    out = tmp_path / "out"
    command = ["data", "capfilt", table, "--out", str(out), "--captioner", str(tmp_path / "blip")]
    command += ["--threshold", "0", "--dtype", "float32", "--max-length", "8"]
    assert run([*command, "--limit", "1", "--quiet"]) == 0
    first = (out / "captions.jsonl").read_bytes()
    capsys.readouterr()
    assert run([*command, "--human", table, "--blip-json"]) == 0
    told = capsys.readouterr()
    assert "3 pictures, 2 with a kept caption, 1 skipped" in told.out
    assert "7 captions to train on" in told.out
    assert "skipped t.csv:3" in told.err
    assert (out / "captions.jsonl").read_bytes().startswith(first)
    assert len(json.loads((out / "captions.json").read_text())) == 7
    assert run([*command, "--strict", "--json", "-q"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((out / "statistics.json").read_text())
    assert document["sources"]["web"]["kept"] == 2
    assert document["settings"]["options"]["max_length"] == 8


def test_the_command_says_what_is_wrong_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seesay.create("clip-tiny").save(tmp_path / "clip")
    (tmp_path / "a.jpg").write_bytes(b"none")
    clip, out = str(tmp_path / "clip"), str(tmp_path / "out")
    for words, code, message in (
        ([str(tmp_path), "--captioner", clip, "--out", out], 2, "writes no captions"),
        ([str(tmp_path), "--captioner", clip], 2, "--out"),
        ([str(tmp_path), "--out", out], 2, "--captioner"),
        ([str(tmp_path), "--captioner", clip, "--filter", clip, "--rank", clip, "--out", out], 2,
         "filtered or ranked"),
        ([str(tmp_path / "none"), "--captioner", clip, "--out", out], 4, "there is no"),
    ):  # fmt: skip
        assert run(["data", "capfilt", *words]) == code
        assert message in capsys.readouterr().err


def test_the_command_fails_when_no_picture_can_be_read(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.save(tmp_path / "blip")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"none")
    words = ["--captioner", str(tmp_path / "blip"), "--out", str(tmp_path / "out")]
    assert run(["data", "capfilt", str(tmp_path / "in"), *words]) == 4
    assert "a.jpg" in capsys.readouterr().err
