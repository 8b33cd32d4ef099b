"""`seesay eval caption|vqa|nlvr` and `retrieval --rerank`, from a terminal's point of view."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import seesay
from seesay.cli.main import run


def call(capsys: pytest.CaptureFixture[str], *args: Any) -> tuple[int, str, str]:
    code = run(["eval", *map(str, args), "--quiet", "--dtype", "float32", "--resamples", "5"])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asked")
    captions, questions, pairs = ["filepath,title"], ["image,question,answer"], []
    for i, name in enumerate(("red", "green", "blue", "white")):
        Image.new("RGB", (40, 40), name).save(folder / f"{i}.png")
        captions += [f"{i}.png,a {name} square", f"{i}.png,a square that is {name}"]
        questions += [f"{i}.png,what color is it?,{name}"]
        label = {"label": str(bool(i % 2)), "sentence": "one is red", "identifier": f"dev-{i}-0-0"}
        pairs.append(json.dumps({**label, "images": [f"{i}.png", f"{(i + 1) % 4}.png"]}))
    for name, lines in (("c.csv", captions), ("q.csv", questions), ("n.jsonl", pairs)):
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    for kind in ("captioning", "vqa", "nlvr", "retrieval"):
        seesay.create(f"blip-tiny-{kind}", seed=0).save(folder / kind)
    return folder


def test_caption_writes_what_it_can_score_again(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "said.json"
    options = ("--num-beams", 2, "--max-length", 9, "--save-predictions", out, "--json")
    code, stdout, _ = call(
        capsys, "caption", folder / "c.csv", "--model", folder / "captioning", *options
    )
    assert code == 0
    told = json.loads(stdout)
    assert told["settings"]["options"]["num_beams"] == 2
    code, stdout, _ = call(capsys, "caption", folder / "c.csv", "--predictions", out, "--json")
    assert code == 0
    assert json.loads(stdout)["metrics"] == told["metrics"]
    code, stdout, _ = call(capsys, "caption", folder / "c.csv", "--predictions", out)
    assert "CIDEr-D" in stdout
    assert "BLEU-4" in stdout


def test_vqa_and_nlvr_print_figures_and_controls(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ("--model", folder / "vqa")
    code, stdout, _ = call(capsys, "vqa", folder / "q.csv", *model, "--controls")
    assert code == 0
    assert "shuffled accuracy" in stdout
    assert "question only accuracy" in stdout
    answers = ("--answers", "red,green,blue,white", "--top", 2, "--json")
    code, stdout, _ = call(capsys, "vqa", folder / "q.csv", *model, *answers)
    assert json.loads(stdout)["settings"]["mode"] == "rank"
    said = tmp_path / "said.json"
    said.write_text(json.dumps([{"question_id": i, "answer": "red"} for i in range(5)]))
    code, stdout, _ = call(capsys, "vqa", folder / "q.csv", "--predictions", said, "--json")
    assert json.loads(stdout)["metrics"]["accuracy"] == 0.25
    model = ("--model", folder / "nlvr")
    code, stdout, _ = call(capsys, "nlvr", folder / "n.jsonl", *model, "--controls")
    assert code == 0
    assert "consistency" in stdout


def test_retrieval_reranks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--model", folder / "retrieval", "--rerank", 2)
    code, stdout, _ = call(capsys, "retrieval", folder / "c.csv", *options)
    assert code == 0
    assert "itc image to text R@1" in stdout
    model = ("--model", folder / "retrieval")
    code, stdout, _ = call(capsys, "matching", folder / "c.csv", *model)
    assert code == 0
    assert "what a match head decides by" in stdout


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["caption", "c.csv", "--model", "clip-tiny"], 2, "released weights"),
        (["caption", "c.csv", "--predictions", "nowhere.json"], 4, "nowhere.json"),
        (["caption", "c.csv", "--predictions", "q.csv", "--model", "x"], 2, "--model"),
        (["vqa", "q.csv", "--answers", "a", "--answers-file", "b"], 2, "--answers-file"),
        (["vqa", "q.csv", "--model", "vqa", "--mode", "rank"], 2, "nothing to rank"),
        (["vqa", "c.csv", "--model", "vqa"], 4, "question"),
        (["nlvr", "q.csv", "--model", "nlvr"], 4, "one picture each"),
        (["retrieval", "c.csv", "--rerank", "0"], 2, "--rerank"),
        (["caption", "c.csv", "--model", "captioning", "--num-beams", "0"], 2, "num_beams"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    args: list[str], code: int, says: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [
        str(folder / arg) if (folder / arg).exists() and i else arg for i, arg in enumerate(args)
    ]
    found, stdout, stderr = call(capsys, *given)
    assert found == code, stderr
    assert stdout == ""
    assert says in stderr
    assert "Traceback" not in stderr
