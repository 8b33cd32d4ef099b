"""`seesay data make`: the same files for the same seed, which our own readers read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seesay.cli.main import run
from seesay.data import open_dataset, open_questions
from seesay.data.check import check
from seesay.errors import UsageError
from seesay.recipes.made.writing import write_pages, write_scenes


def _files(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages and scenes, made by the command."""
    folder = tmp_path_factory.mktemp("made")
    for kind in ("pages", "scenes"):
        command = ["data", "make", kind, "--out", str(folder / kind), "--count", "12", "-q"]
        assert run([*command, "--seed", "3"]) == 0
    return folder


def test_equal_seeds_make_equal_files(made: Path, tmp_path: Path) -> None:
    for kind, write in (("pages", write_pages), ("scenes", write_scenes)):
        write(tmp_path / kind, 12, 3)
        assert _files(tmp_path / kind) == _files(made / kind)
    write_pages(tmp_path / "other", 1, 4)
    first = "images/train/000000.jpg"
    assert (tmp_path / "other" / first).read_bytes() != (made / "pages" / first).read_bytes()


@pytest.mark.parametrize("kind", ["pages", "scenes"])
def test_training_reads_the_lines(made: Path, kind: str) -> None:
    for split, pictures in {"train": 12, "validation": 1, "test": 1}.items():
        path = made / kind / f"{split}.jsonl"
        questions = open_questions(str(path))
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        assert len(questions) == len(rows) > 4
        assert len({row["image"] for row in rows}) == pictures
        assert questions[0].text == rows[0]["prefix"]
        findings = check(questions, look="decode")
        assert not findings.stopping


def test_questions_open_as_docvqa(made: Path) -> None:
    path = made / "pages" / "train_docvqa.json"
    document = json.loads(path.read_text("utf-8"))
    first = document["data"][0]
    assert {"questionId", "question", "docId", "image", "answers", "data_split"} <= set(first)
    assert len({row["questionId"] for row in document["data"]}) == len(document["data"])
    assert len(open_questions(str(path))) == len(document["data"])


def test_words_are_those_of_the_page(made: Path) -> None:
    texts = json.loads((made / "pages" / "train_text.json").read_text("utf-8"))
    lines = (made / "pages" / "train_words.jsonl").read_text("utf-8").splitlines()
    for number, line in enumerate(lines):
        row = json.loads(line)
        own = [texts["anns"][str(i)] for i in texts["imgToAnns"][str(number)]]
        assert [ann["utf8_string"] for ann in own] == [word["text"] for word in row["words"]]
        letters = "".join(word["text"] for word in row["words"])
        assert "".join(character[0] for character in row["characters"]) == letters


def test_things_open_as_coco(made: Path) -> None:
    path = made / "scenes" / "instances_train.json"
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    assert len(document["categories"]) == 36
    assert not check(open_dataset(str(path)), look="header").stopping
    sizes = {image["id"]: image["width"] for image in document["images"]}
    for annotation in document["annotations"]:
        x, y, width, height = annotation["bbox"]
        assert x + width <= sizes[annotation["image_id"]]
        (outline,) = annotation["segmentation"]
        assert len(outline) % 2 == 0
        assert x - 1 <= min(outline[0::2]) < max(outline[0::2]) <= x + width + 1
        assert y - 1 <= min(outline[1::2]) < max(outline[1::2]) <= y + height + 1


def test_it_is_told_how_a_collection_was_made(made: Path) -> None:
    told = json.loads((made / "pages" / "made.json").read_text("utf-8"))
    assert (told["kind"], told["seed"], told["count"], told["size"]) == ("pages", 3, 12, 384)
    assert (told["level"], told["scale"]) == (3, 1.0)
    assert {"seesay", "pillow", "freetype"} == set(told["versions"])


def test_type_may_stay_small_on_large_pages(tmp_path: Path) -> None:
    def height(*scale: str) -> float:
        folder = tmp_path / ("-".join(scale) or "grown")
        command = ["data", "make", "pages", "--out", str(folder), "--count", "1", "--seed", "6"]
        assert run([*command, "--size", "768", *scale]) == 0
        told = json.loads((folder / "made.json").read_text("utf-8"))
        assert told["scale"] == (float(scale[1]) if scale else 2)
        [line] = (folder / "train_words.jsonl").read_text("utf-8").splitlines()
        boxes = [character[1:] for character in json.loads(line)["characters"]]
        return sum(y2 - y1 for _, y1, _, y2 in boxes) / len(boxes)

    grown, same = height(), height("--scale", "1")
    assert grown > 1.5 * same


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("--scale 5", "scale=5: nothing fits 384 pixels"),
        ("--size 128 --scale 1", "set smaller type with --scale"),
        ("--scale 0.1", "scale=0.1"),
        ("--scale 17", "give one of 0.25 to 16"),
        ("--scale inf", "scale=inf"),
        ("--scale nan", "scale=nan"),
    ],
)
def test_type_that_cannot_be_set_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str, said: str
) -> None:
    out = tmp_path / "x"
    assert run(["data", "make", "pages", "--out", str(out), "--count", "1", *how.split()]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_a_folder_with_something_in_it_is_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="new or empty"):
        write_scenes(made / "scenes", 1, 0)
    with pytest.raises(UsageError, match="levels are 1 to 3"):
        write_pages(tmp_path / "x", 1, 0, level=4)
    assert not (tmp_path / "x").exists()
