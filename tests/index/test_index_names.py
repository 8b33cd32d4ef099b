"""Odd names, links and files that only look like pictures."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest
from fakemodel import FakeModel

from seesay.index import Collection
from seesay.index.items import Item
from seesay.names import shown, uri
from seesay.processing.folder import walk

ODD = [
    b"new\nline.jpg",
    b"carriage\rreturn.jpg",
    b"not-utf8-\xff\xfe.jpg",
    b"latin-\xe9t\xe9.JPG",
    b"surrogate-\xed\xa0\x80.jpg",
    b"-leading-dash.jpg",
    b"--help.jpg",
    b" spaces .jpg",
    b"quote'\"`$(x).jpg",
    b"<img src=x onerror=alert(1)>.jpg",
    b"\x01\x1b[31mred.jpg",
    b"back\\slash.jpg",
    b"percent%20.jpg",
    "emoji \N{CAT FACE} \u9e21.jpg".encode(),
    "\u202eright-to-left.jpg".encode(),
    unicodedata.normalize("NFC", "caf\u00e9.jpg").encode(),
    unicodedata.normalize("NFD", "caf\u00e9.jpg").encode(),
    b"x" * 246 + b".jpg",
    "\u9e21".encode() * 80 + b"123456.jpg",
]


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    folder = tmp_path / "odd"
    folder.mkdir()
    for i, name in enumerate(ODD):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(b"contents %d" % i)
    return folder


def test_odd_names_are_indexed_found_and_renamed(odd: Path, tmp_path: Path) -> None:
    model = FakeModel()
    collection = Collection.open(tmp_path / "index")
    report = collection.add(odd, model)
    assert (report.added, report.failed) == (len(ODD), ())
    assert sorted(os.path.basename(os.fsencode(path)) for path in collection.paths) == sorted(ODD)
    for i, name in enumerate(ODD):
        hit = collection.search(f"contents {i}", 1, model=model)[0]
        assert os.path.basename(os.fsencode(hit.path)) == name
        assert Path(hit.path).read_bytes() == b"contents %d" % i
    for i, name in enumerate(ODD):
        os.rename(
            os.path.join(os.fsencode(odd), name), os.path.join(os.fsencode(odd), b"%d.jpg" % i)
        )
    assert collection.add(odd, model).renamed == len(ODD)


def test_single_odd_files_and_odd_index_names(odd: Path, tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(b"index-\xff\n.d")
    collection = Collection.open(place)
    files = [os.path.join(os.fspath(odd), os.fsdecode(name)) for name in ODD]
    assert collection.add(files, FakeModel()).added == len(ODD)
    assert len(Collection.open(place)) == len(ODD)
    assert os.fsdecode(b"\xff") not in repr(collection)


@pytest.mark.parametrize("name", ODD)
def test_items_round_trip_and_are_shown_as_one_valid_line(name: bytes) -> None:
    item = Item("/base/" + os.fsdecode(name), "ab" * 32, 3, 5, (7, 9), "reason \udcff")
    line = item.to_line("/base")
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert "/base" not in json.loads(line)["path"]
    assert Item.from_line(line, "/base") == item
    assert Item.from_line(item.to_line("/elsewhere"), "/base") == item
    text = shown(item.path)
    assert text.isprintable()
    text.encode("utf-8")
    assert uri(item.path).isascii()


def test_shown_names_are_readable_where_they_can_be() -> None:
    assert shown("/a/\u9e21 caf\u00e9.jpg") == "/a/\u9e21 caf\u00e9.jpg"
    assert shown("/a/\udcff\n.jpg") == "/a/\\xff\\n.jpg"
    assert uri("/a b/\udcff%.jpg") == "file:///a%20b/%FF%25.jpg"


def test_links_do_not_send_the_walk_round(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "o.jpg").write_text("outside")
    (root / "a.jpg").write_text("a")
    (root / "sub" / "loop").symlink_to(root)
    (root / "self.jpg").symlink_to("self.jpg")
    (root / "dangling.jpg").symlink_to("nowhere.jpg")
    (root / "far").symlink_to(tmp_path / "outside")
    (root / "file-link.jpg").symlink_to(tmp_path / "outside" / "o.jpg")
    found = [os.path.relpath(path, root) for path in walk(root)]
    assert found == ["a.jpg", "file-link.jpg"]
    (tmp_path / "door").symlink_to(root)
    assert len(list(walk(tmp_path / "door"))) == 2, "a link the user names is followed"


def test_hidden_and_special_files_are_left_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in (".hidden/a.jpg", ".b.jpg", "._c.jpg", "d.txt", "e.jpg.part", "f.JPEG", "g/h.webp"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    os.mkfifo(root / "pipe.jpg")
    (root / "folder.jpg").mkdir()
    (root / "folder.jpg" / "i.png").write_text("x")
    found = [os.path.relpath(path, root) for path in walk(root)]
    assert found == ["f.JPEG", "folder.jpg/i.png", "g/h.webp"]


def test_pipe_given_by_name_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("a")
    os.mkfifo(tmp_path / "pipe.jpg")
    collection = Collection.open(tmp_path / "i")
    assert collection.add([tmp_path / "a.jpg", tmp_path / "pipe.jpg"], FakeModel()).added == 1


def test_folder_that_may_not_be_entered_is_reported_and_kept(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may enter everything")
    photos = tmp_path / "photos"
    (photos / "closed").mkdir(parents=True)
    (photos / "closed" / "a.jpg").write_text("a")
    collection = Collection.open(tmp_path / "i")
    collection.add(photos, FakeModel())
    (photos / "closed").chmod(0)
    try:
        report = collection.add(photos, FakeModel())
    finally:
        (photos / "closed").chmod(0o700)
    assert [failure.path for failure in report.failed] == [str(photos / "closed")]
    assert report.removed == 0
