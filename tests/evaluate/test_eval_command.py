"""`seesay eval` on real pictures with the shipped model, checked against a few lines of numpy."""

from __future__ import annotations

import csv
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seesay
from seesay.cli.main import run

GALLERY = Path(__file__).parents[2] / "examples" / "gallery"


def listing(folder: Path, language: str, pictures: int = 1000) -> Path:
    """The gallery with one caption a row, as a CSV that other libraries read too."""
    path = folder / f"{language}.csv"
    with open(GALLERY / "photos.tsv", encoding="utf-8", newline="") as source:
        rows = [r for r in csv.DictReader(source, delimiter="\t") if r["kind"] == "photo"][
            :pictures
        ]
    with open(path, "w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(["filepath", "title"])
        for row in rows[:pictures]:
            for text in row[language].split(";;"):
                writer.writerow([GALLERY / row["file"], text.strip()])
    return path


@lru_cache
def mini() -> seesay.Model:
    return seesay.load("seesay/mini", dtype="float32", optimize=True)


@lru_cache
def image_matrix(files: tuple[str, ...]) -> np.ndarray:
    return mini().embed_images(files).double().numpy()


def by_hand(path: Path) -> dict[str, float]:
    """Every figure from one matrix of similarities, by counting."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    model = mini()
    files = list(dict.fromkeys(row["filepath"] for row in rows))
    images = image_matrix(tuple(files))
    texts = model.embed_texts([row["title"] for row in rows]).double().numpy()
    owner = np.array([files.index(row["filepath"]) for row in rows])
    scores = texts @ images.T
    to_image = np.array(
        [1 + int((line > line[mine]).sum()) for line, mine in zip(scores, owner, strict=True)]
    )
    to_text = np.array(
        [
            1 + int((scores[owner != i, i] > scores[owner == i, i].max()).sum())
            for i in range(len(files))
        ]
    )
    figures = {}
    for name, places in (("image_to_text", to_text), ("text_to_image", to_image)):
        figures |= {f"{name}_r@{k}": float((places <= k).mean()) for k in (1, 5, 10)}
        figures[f"{name}_mean_rank"] = float(places.mean())
        figures[f"{name}_median_rank"] = float(np.median(places))
    return figures


def call(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = run(["eval", *args])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("language", ["english", "chinese"])
def test_retrieval_on_the_gallery_is_what_a_matrix_says(
    language: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = listing(tmp_path, language)
    out = tmp_path / "report"
    options = ["--dtype", "float32", "--json", "--resamples", "100", "--out", str(out)]
    code, stdout, _ = call(capsys, "retrieval", str(path), *options)
    assert code == 0
    told = json.loads(stdout)
    for key, value in by_hand(path).items():
        assert told["metrics"][key] == pytest.approx(value), key
    assert told["metrics"]["text_to_image_r@1"] > 20 * told["chance"]["text_to_image_r@1"]
    saved = json.loads((out / "report.json").read_text("utf-8"))
    assert saved["metrics"] == told["metrics"]
    assert saved["model"]["name"] == "seesay/mini"
    assert saved["model"]["processor"]["image"]["size"]
    page = (out / "report.html").read_text("utf-8")
    assert 100_000 < len(page) < 20_000_000


def test_what_cannot_be_read_is_named_counted_and_strict_minds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    path = listing(tmp_path, "english", 8)
    with open(path, "a", encoding="utf-8") as file:
        file.write("broken.jpg,a broken picture\n")
    options = ["--resamples", "0", "--limit", "1000"]
    code, stdout, stderr = call(capsys, "retrieval", str(path), "--json", *options)
    assert code == 0
    assert json.loads(stdout)["skipped"]["reasons"] == {"unreadable picture": 1}
    assert "skipped" in stderr
    assert "broken.jpg" in stderr
    code, stdout, stderr = call(capsys, "retrieval", str(path), "--strict", "-q", *options)
    assert code == 3
    assert stdout.startswith(" ")
    assert "text to image R@1" in stdout
    assert stderr == ""


def test_many_skipped_rows_are_summed_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = kinds(tmp_path)
    for i in range(25):
        (folder / "photo" / f"bad{i:02}.jpg").write_text("no picture")
    args = ["zeroshot", str(folder), "--templates", "none", "--resamples", "0"]
    code, _, stderr = call(capsys, *args)
    assert code == 0
    assert stderr.count("bad") == 20
    assert "skipped 25 in all: 25 unreadable picture" in stderr


def kinds(folder: Path) -> Path:
    """Photographs and drawings, as a folder of each."""
    with open(GALLERY / "photos.tsv", encoding="utf-8", newline="") as source:
        rows = list(csv.DictReader(source, delimiter="\t"))
    for kind in ("photo", "drawing"):
        (folder / "kinds" / kind).mkdir(parents=True)
        for row in [r for r in rows if r["kind"] == kind][:12]:
            (folder / "kinds" / kind / row["file"]).symlink_to(GALLERY / row["file"])
    return folder / "kinds"


def test_zeroshot_on_folders_agrees_with_classify(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = kinds(tmp_path)
    paths = sorted(folder.glob("*/*.jpg"))
    model = mini()
    given = model.classify(paths, ["drawing", "photo"], "none")
    right = [p.parent.name == result.label for p, result in zip(paths, given, strict=True)]
    options = ["--templates", "none", "--dtype", "float32", "--resamples", "10", "--json"]
    code, stdout, _ = call(capsys, "zeroshot", str(folder), *options)
    assert code == 0
    told = json.loads(stdout)
    assert told["metrics"]["top1"] == pytest.approx(np.mean(right))
    assert told["settings"]["templates"] == ["{}"]
    names = tmp_path / "names.txt"
    names.write_text("图画\n照片\n", encoding="utf-8")
    code, stdout, _ = call(capsys, "zeroshot", str(folder), "--classes", str(names), *options)
    assert json.loads(stdout)["settings"]["classes"] == ["图画", "照片"]


def test_matching_and_cra_print_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = listing(tmp_path, "english", 40)
    code, stdout, _ = call(capsys, "matching", str(path), "--resamples", "10", "--limit", "30")
    assert code == 0
    assert "(best F1 on the other half of the pictures)" in stdout
    code, stdout, _ = call(capsys, "cra", str(path), "--resamples", "10", "--limit", "30")
    assert code == 0
    assert "30 pool" in stdout


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["retrieval", "nowhere.csv"], 4, "nowhere.csv"),
        (["retrieval", "{data}", "--k", "0"], 2, "1,5,10"),
        (["retrieval", "{data}", "--k", "a"], 2, "1,5,10"),
        (["retrieval", "{data}", "--model", "clip-tini"], 2, "clip-tiny"),
        (["retrieval", "{data}", "--text-column", "titel"], 4, "title"),
        (["zeroshot", "{data}"], 4, "labels"),
        (["retrieval", "{data}", "--out", "{data}"], 2, "--out"),
        (["matching", "{data}", "--negatives", "soft"], 2, "soft"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    args: list[str],
    code: int,
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = str(listing(tmp_path, "english"))
    given: list[Any] = [arg.replace("{data}", data) for arg in args]
    found, stdout, stderr = call(capsys, *given)
    assert found == code, stderr
    assert stdout == ""
    assert says in stderr
    assert "Traceback" not in stderr
