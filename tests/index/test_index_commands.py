"""`seesay index` and `seesay search`, as a user of the shell meets them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fakemodel import FakeModel
from PIL import Image

from seesay.cli.main import run
from seesay.index import Collection


@pytest.fixture(autouse=True)
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the models that were loaded."""
    names: list[str] = []
    load = lambda name, **_: names.append(name) or FakeModel(name)  # noqa: E731
    monkeypatch.setattr("seesay.model.load", load)
    return names


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name, content in (("a", "apple"), ("b", "bear"), ("sub/c", "cat"), ("sub/c2", "cat")):
        (folder / f"{name}.jpg").write_text(content)
    return folder


@pytest.fixture
def index(tmp_path: Path, photos: Path) -> Path:
    assert run(["index", str(photos), "--out", str(tmp_path / "photos.index"), "-q"]) == 0
    return tmp_path / "photos.index"


def document(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> Any:
    capsys.readouterr()
    assert run([*args, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_index_reports_as_data(
    index: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "d.jpg").write_text("bad")
    (photos / "e.jpg").write_text("eel")
    found = document(capsys, "index", str(photos), "--out", str(index))
    assert found == {
        "index": str(index),
        "model": "seesay/mini",
        "pictures": 5,
        "added": 1,
        "changed": 0,
        "renamed": 0,
        "removed": 0,
        "unchanged": 4,
        "encoded": 1,
        "failed": [
            {
                "path": str(photos / "d.jpg"),
                "uri": f"file://{photos}/d.jpg",
                "reason": "is not an image",
            }
        ],
    }
    document(capsys, "index", "--out", str(index), "--strict", code=3)


def test_search_answers_as_data(
    index: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = document(capsys, "search", str(index), "bear", "-k", "2")
    assert {key: value for key, value in found.items() if key != "results"} == {
        "index": str(index),
        "model": "seesay/mini",
        "pictures": 4,
        "query": "bear",
        "image": None,
    }
    first = found["results"][0]
    assert first == {
        "rank": 1,
        "score": pytest.approx(1, abs=1e-3),
        "path": str(photos / "b.jpg"),
        "uri": f"file://{photos}/b.jpg",
        "width": 0,
        "height": 0,
    }
    assert len(found["results"]) == 2


def test_table_names_files_from_here(
    index: Path, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    assert run(["search", str(index), "cat", "-k", "1"]) == 0
    assert capsys.readouterr().out == "  1  1.000  sub/c.jpg\n"


def test_words_need_no_quotes_and_folders_no_index(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "two.jpg").write_text("two words")
    assert run(["search", str(photos), "two", "words", "-k", "1", "-f", "-q"]) == 0
    assert capsys.readouterr().out == f"{photos}/two.jpg\n"
    (photos / "three.jpg").write_text("three words")
    assert run(["search", str(photos), "three words", "-k1", "-f", "--no-update"]) == 0
    assert "three" not in capsys.readouterr().out
    assert run(["search", str(photos), "three words", "-k1", "-f"]) == 0
    assert "three" in capsys.readouterr().out
    assert (photos / ".seesay" / "CURRENT").exists()


def test_paths_alone_are_bytes_as_they_are(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    folder = os.fsencode(tmp_path) + b"/odd"
    os.mkdir(folder)
    name = folder + b"/-new\nline \xff.jpg"
    with open(name, "w") as file:
        file.write("odd")
    assert run(["search", os.fsdecode(folder), "odd", "-0", "-q"]) == 0
    assert capfdbinary.readouterr().out == name + b"\0"
    assert run(["search", os.fsdecode(folder), "odd", "-f", "-q"]) == 0
    assert capfdbinary.readouterr().out == name + b"\n"
    assert run(["search", os.fsdecode(folder), "odd", "--json", "-q"]) == 0
    found = json.loads(capfdbinary.readouterr().out.decode("utf-8"))
    assert found["results"][0]["uri"] == f"file://{tmp_path}/odd/-new%0Aline%20%FF.jpg"
    assert run(["search", os.fsdecode(folder), "odd", "-q"]) == 0
    assert capfdbinary.readouterr().out.decode("utf-8").count("\n") == 1


def test_image_words_and_both(
    index: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = document(capsys, "search", str(index), "--image", str(photos / "a.jpg"), "-k1")
    assert found["results"][0]["path"] == str(photos / "a.jpg")
    found = document(capsys, "search", str(index), "bear", "-i", str(photos / "a.jpg"), "-k2")
    assert {row["path"] for row in found["results"]} == {
        str(photos / "a.jpg"),
        str(photos / "b.jpg"),
    }


def test_page_and_drawings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "real"
    folder.mkdir()
    Image.new("RGB", (30, 20), "red").save(folder / "<b>.png")
    page = tmp_path / "out.html"
    assert run(["search", str(folder), "x", "--html", str(page), "-p"]) == 0
    out, err = capsys.readouterr()
    assert "▀" in out
    assert f"wrote {page}" in err
    assert "data:image/jpeg;base64," in page.read_text()
    assert "<b>" not in page.read_text()


def test_duplicates_in_every_form(
    index: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = document(capsys, "search", str(index), "--duplicates")
    assert found["threshold"] == 0.97
    assert [[row["path"] for row in group] for group in found["groups"]] == [
        [str(photos / "sub/c.jpg"), str(photos / "sub/c2.jpg")]
    ]
    capsys.readouterr()
    assert run(["search", str(index), "--duplicates", "-f"]) == 0
    assert capsys.readouterr().out == f"{photos}/sub/c2.jpg\n", "those one might delete"
    page = tmp_path / "duplicates.html"
    assert run(["search", str(index), "--duplicates", "--html", str(page)]) == 0
    assert "Group 1" in page.read_text()
    assert "c2.jpg" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["search", "{index}"], 2, "nothing to search for"),
        (["search", "{tmp}/none", "x"], 2, "no index and no folder"),
        (["index"], 2, "which index?"),
        (["index", "{tmp}/none", "--out", "{tmp}/i"], 2, "no file or folder"),
        (["index", "{photos}", "--out", "{photos}/a.jpg"], 4, "not an index"),
        (["index", "{photos}", "--out", "{photos}"], 4, "not an index"),
        (["search", "{index}", "x", "--model", "other"], 4, "search with seesay/mini"),
        (["search", "{index}", "a - a"], 2, "cancel each other"),
        (["search", "{index}", "x", "-k", "0"], 2, "k=0"),
    ],
)
def test_mistakes_have_their_exit_code_and_say_why(
    index: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    code: int,
    says: str,
) -> None:
    capsys.readouterr()
    assert run([arg.format(index=index, photos=photos, tmp=tmp_path) for arg in args]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err


def test_damaged_index_is_exit_code_4_until_overwritten(
    index: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = next(index.rglob("vectors.f16"))
    vectors.write_bytes(vectors.read_bytes()[:-1] + b"x")
    assert run(["search", str(index), "cat"]) == 4
    assert "--overwrite" in capsys.readouterr().err
    assert run(["index", str(photos), "--out", str(index)]) == 4
    assert run(["index", str(photos), "--out", str(index), "--overwrite", "-q"]) == 0
    assert len(Collection.open(index)) == 4


def test_overwrite_with_another_model_and_never_something_else(
    index: Path, photos: Path, capsys: pytest.CaptureFixture[str], loads: list[str]
) -> None:
    loads.clear()
    args = ["index", str(photos), "--out", str(index), "--model", "other"]
    assert run(args) == 4
    assert run([*args, "--overwrite"]) == 0
    assert loads == ["other", "other"], "each run loads its model once"
    assert document(capsys, "search", str(index), "cat")["model"] == "other"
    assert run(["index", str(photos), "--out", str(photos), "--overwrite"]) == 4
    assert (photos / "a.jpg").exists()


def test_overwrite_keeps_the_old_index_until_the_new_one_is_made(
    index: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Collection.open(index).paths
    assert run(["index", str(tmp_path / "typo"), "--out", str(index), "--overwrite", "-q"]) == 2
    assert Collection.open(index).paths == before
    found = document(capsys, "index", "--out", str(index), "--overwrite")
    assert found["pictures"] == len(before), "the folders of old are looked through again"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "photos.index"]


def test_pictures_in_a_folder_called_generations_are_pictures(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ai").mkdir()
    (photos / "sub").rename(tmp_path / "ai" / "generations")
    assert len(document(capsys, "search", str(tmp_path / "ai"), "cat")["results"]) == 2
    run(["index", str(photos), "--out", str(tmp_path / "ai"), "--overwrite", "-q"])
    assert len(list((tmp_path / "ai" / "generations").iterdir())) == 2


def test_overwrite_refuses_an_index_that_holds_other_things(index: Path, photos: Path) -> None:
    (index / "letter.txt").write_text("dear")
    assert run(["index", str(photos), "--out", str(index), "--overwrite", "-q"]) == 2
    assert (index / "letter.txt").read_text() == "dear"
