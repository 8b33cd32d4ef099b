"""`seesay eval docvqa|read|detect|ground|segment`, from a terminal's point of view."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import seesay
from evaluate.saying import prompted, saying
from evaluate.test_eval_prompts import LEFT, QUAD, RIGHT, row
from seesay.cli.main import run
from seesay.errors import InputError
from seesay.evaluate import instructed
from seesay.evaluate.regions.exact import coco_boxes


def call(capsys: pytest.CaptureFixture[str], *args: Any) -> tuple[int, str, str]:
    code = run(["eval", *map(str, args), "--quiet", "--dtype", "float32", "--resamples", "3"])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prompts")
    rows = []
    for i in range(3):
        name = f"{i}.png"
        rows += [
            row(name, f"<DocVQA>what is in {i}?", ["1", "one"]),
            row(name, "<OCR>", "some text"),
            row(name, "<OCR_WITH_REGION>", f"some text{QUAD}"),
            row(name, "<OD>", f"cat{LEFT}"),
            row(name, f"<CAPTION_TO_PHRASE_GROUNDING>a cat in {i}", f"a cat{LEFT}"),
            row(name, f"<REFERRING_EXPRESSION_SEGMENTATION>the cat in {i}", QUAD),
        ]
    prompted(folder, rows)
    (folder / "table.csv").write_text(
        "image,question,answer\n0.png,what?,a cat\n1.png,what?,a dog\n", encoding="utf-8"
    )
    seesay.create("florence2-tiny", seed=0).save(folder / "model")
    seesay.create("blip-tiny-vqa", seed=0).save(folder / "blip")
    return folder


FIGURES = {
    "docvqa": {"anls", "accuracy"},
    "read": {"cer", "wer", "word_f1", "f1", "place_f1"},
    "detect": {"map", "map50", "map75", "ar100"},
    "ground": {"grounding_accuracy"},
    "segment": {"mask_iou", "cumulative_mask_iou"},
}


@pytest.mark.parametrize("command", FIGURES)
def test_each_command_measures_its_prompts(
    command: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = saying(monkeypatch, lambda *_: f"a cat{LEFT}")
    monkeypatch.setattr("seesay.cli.commands.evaluating.load_model", lambda *_: model)
    written = ("--max-new-tokens", 4, "--limit", 2, "--tiles", "2x1", "--json")
    code, stdout, _ = call(capsys, command, folder / "rows.jsonl", *written)
    assert code == 0
    told = json.loads(stdout)
    assert set(told["metrics"]) == FIGURES[command]
    assert told["counts"]["pictures"] == 2
    assert told["settings"]["tiles"] == [2, 1]
    assert told["settings"]["options"]["max_new_tokens"] == 4


def test_controls_are_told_in_words_and_in_the_report(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = (folder / "rows.jsonl", "--model", folder / "model", "--controls")
    written = ("--num-beams", 1, "--max-new-tokens", 2, "--constrained")
    code, stdout, _ = call(capsys, "docvqa", *data, *written, "--out", tmp_path / "report")
    assert code == 0
    # random weights say the same to everything
    assert "The model is question-blind (answers): ANLS 0.0 %" in stdout
    assert "The model is image-blind (answers): ANLS 0.0 %" in stdout
    told = json.loads((tmp_path / "report" / "report.json").read_text())
    assert len(told["notes"]) == 2
    page = (tmp_path / "report" / "report.html").read_text()
    assert told["notes"][0] in page


def test_documents_are_asked_of_any_model_that_answers(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "said.json"
    data = (folder / "table.csv", "--model", folder / "blip", "--json")
    code, stdout, _ = call(capsys, "docvqa", *data, "--max-length", 4, "--save-predictions", out)
    assert code == 0
    told = json.loads(stdout)
    assert told["settings"]["tasks"] == {"<DocVQA>": 2}
    code, stdout, _ = call(capsys, "docvqa", folder / "table.csv", "--predictions", out, "--json")
    assert code == 0
    assert json.loads(stdout)["metrics"] == told["metrics"]
    code, _, stderr = call(capsys, "detect", folder / "rows.jsonl", "--model", folder / "blip")
    assert code == 2
    assert "cannot" in stderr


def test_boxes_of_a_coco_file_are_exact_and_crowds_count_neither_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (200, 100)).save(tmp_path / "a.png")
    Image.new("RGB", (200, 100)).save(tmp_path / "b.png")
    notes = [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [0, 0, 99.9, 99.9], "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 3, "bbox": [100, 0, 100, 100], "iscrowd": 1},
        {"id": 3, "image_id": 8, "category_id": 3, "bbox": [0, 0, 3, 2.5], "iscrowd": 0},
    ]
    content = {
        "images": [
            {"id": 7, "file_name": "a.png", "width": 200, "height": 100},
            {"id": 8, "file_name": "b.png", "width": 200, "height": 100},
        ],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [{**note, "area": 1} for note in notes],
    }
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(content))
    wanted = coco_boxes(path)
    assert wanted is not None
    assert wanted["7"][1] == {1}
    assert wanted["8"][0][0].box == (0, 0, 3, 2.5)
    small = "<loc_0><loc_0><loc_14><loc_24>"
    said = {"a.png": f"cat{LEFT}{RIGHT}", "b.png": f"cat{small}"}
    model = saying(monkeypatch, lambda image, _: said[image])
    report = instructed(
        model, seesay.data.open_prompts(path), kinds=["boxes"], wanted=wanted, resamples=0
    )
    assert report.metrics["map50"] == pytest.approx(1)  # the box in the crowd is not wrong
    # of the small thing a bin is much: 90 % of the union are missed
    assert report.metrics["map"] == pytest.approx((8 + 2 * 51 / 101) / 10)
    assert coco_boxes(tmp_path / "a.png") is None
    # proposals have no names, and are measured without
    said = {"a.png": LEFT, "b.png": small}
    proposals = seesay.data.open_prompts(path, prompt="<REGION_PROPOSAL>")
    report = instructed(model, proposals, wanted=wanted, resamples=0)
    assert report.metrics["map50"] == pytest.approx(1)


@pytest.mark.parametrize(
    "broken", [{"annotations": [7]}, {"categories": [{"name": "cat"}]}, {"images": "none"}]
)
def test_a_broken_coco_file_is_told(tmp_path: Path, broken: dict[str, Any]) -> None:
    note = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [0, 0, 9, 9]}
    content = {"images": [{"id": 7}], "categories": [{"id": 3, "name": "cat"}]}
    path = tmp_path / "broken.json"
    path.write_text(json.dumps({**content, "annotations": [note], **broken}))
    with pytest.raises(InputError, match=r"broken\.json"):
        coco_boxes(path)
