"""`seesay data check`: what is found, what stops training, and how it is told."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from data.made import jpeg, pictures, write
from seesay.cli.main import run
from seesay.data import Dataset, open_dataset
from seesay.data.check import KINDS, check
from seesay.data.record import Record
from seesay.errors import InputError
from seesay.processing.image import measure, open_picture

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def call(*args: object) -> tuple[int, str, str]:
        code = run([str(arg) for arg in args])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def table(tmp_path: Path) -> str:
    """One row of everything that can be wrong with a row."""
    pictures(tmp_path, "a.jpg", "b.jpg", "c.jpg", "cut.jpg")
    (tmp_path / "copy.jpg").write_bytes(jpeg(0))
    (tmp_path / "cut.jpg").write_bytes(jpeg(3)[:-60])
    write(tmp_path / "text.jpg", "no picture")
    write(tmp_path / "empty.jpg", "")
    (tmp_path / "folder.jpg").mkdir()
    write(tmp_path / "classes.txt", "cat\ndog\n")
    rows = [
        "image,caption,label", "a.jpg,one,cat", "gone.jpg,two,", "text.jpg,three,", "folder.jpg,4,",
        "empty.jpg,five,", "b.jpg,,", "b.jpg,,dog", "c.jpg,six,7", "a.jpg,one,cat", "copy.jpg,7,",
        "../out.jpg,8,", "cut.jpg,nine,", "gone.jpg,ten,",
    ]  # fmt: skip
    return write(tmp_path / "t.csv", "\n".join(rows).encode() + b"\nc.jpg,caf\xe9,\n")


def found(dataset: Dataset, **options: object) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for finding in check(dataset, **options).all:  # type: ignore[arg-type]
        kinds.setdefault(finding.kind, []).append(finding.where.removeprefix("t.csv:"))
    return kinds


def test_every_finding_names_its_line(table: str) -> None:
    expected = {
        "bad-row": ["12"],
        "missing": ["3", "14"],
        "unreadable": ["4", "5", "6"],
        "encoding": ["15"],
        "empty-caption": ["7"],
        "label-range": ["9"],
        "blank-caption": ["8"],
        "duplicate-row": ["10"],
    }
    assert found(open_dataset(table)) == expected
    decoded = found(open_dataset(table), look="decode", workers=2)
    more = {"unreadable": ["4", "5", "6", "13"], "duplicate-picture": ["11"]}
    assert decoded == expected | more
    assert list(decoded) == [kind for kind in KINDS if kind in decoded], "what stops comes first"
    existing = found(open_dataset(table), look="exists")
    assert existing == expected | {"unreadable": ["5", "6"]}


def test_training_gets_one_error_or_the_rows_that_are_good(table: str) -> None:
    dataset = open_dataset(table)
    findings = check(dataset, look="decode")
    error = findings.error()
    assert error is not None
    assert "t.csv: 10 rows cannot be trained on: t.csv:12: ../out.jpg leaves" in error.what
    assert "and 7 more" in error.what
    good = dataset.select(findings.good_rows())
    assert [record.where for record in good] == [f"t.csv:{line}" for line in (2, 8, 10, 11)]
    again = check(good, look="decode")
    assert again.error() is None
    assert set(again.counts) == {"duplicate-row", "duplicate-picture"}


def test_members_of_shards_are_looked_at_too(tmp_path: Path) -> None:
    from data.test_shards import archive

    members = [("1.jpg", jpeg(1)), ("1.txt", b"x"), ("2.jpg", b"none"), ("2.txt", b"y"),
               ("3.jpg", jpeg(1)), ("3.txt", b"z")]  # fmt: skip
    path = write(tmp_path / "t.tar", archive(members))
    assert list(found(open_dataset(path))) == ["unreadable"]
    assert list(found(open_dataset(path), look="decode")) == ["unreadable", "duplicate-picture"]


def test_the_table_shows_a_few_and_the_exit_code_says_whether_it_stops(
    say: Say, table: str, tmp_path: Path
) -> None:
    code, out, err = say("data", "check", table, "--quiet")
    assert code == 4
    assert err == ""
    assert out.startswith("t.csv (table): 13 records, 9 pictures, 11 captions (0 to 1 each)")
    assert "STOPS  missing: 2\n         t.csv:3  " in out
    assert "gone.jpg: no such file" in out
    assert "note   duplicate-row: 1\n         t.csv:10  is t.csv:2 again" in out
    clean = write(tmp_path / "clean.csv", "image,caption\na.jpg,x\nb.jpg,y\na.jpg,x\n")
    code, out, _ = say("data", "check", clean, "--decode")
    assert code == 0
    assert "duplicate-row" in out
    code, out, _ = say("data", "check", write(tmp_path / "none.csv", "image,caption\n"))
    assert code == 4


def test_json_has_every_finding_and_stable_keys(say: Say, table: str) -> None:
    code, out, _ = say("data", "check", table, "--json", "--decode")
    document = json.loads(out)
    assert code == 4
    assert list(document) == [
        "dataset", "format", "records", "images", "captions", "captions_per_record", "classes",
        "stopping", "counts", "findings",
    ]  # fmt: skip
    assert document["stopping"] == 10
    assert len(document["findings"]) == sum(document["counts"].values())
    assert document["findings"][1] == {
        "kind": "missing",
        "stops": True,
        "where": "t.csv:3",
        "what": document["findings"][1]["what"],
        "row": 1,
    }


def test_mistakes_at_the_command_line_are_one_line(say: Say, tmp_path: Path) -> None:
    code, out, err = say("data", "check", tmp_path / "nowhere.csv")
    assert (code, out) == (4, "")
    assert err.startswith("seesay: there is no ")
    path = write(tmp_path / "t.csv", "img,txt\na,b\n")
    code, _, err = say("data", "check", path)
    assert code == 4
    assert "it has 'img', 'txt'" in err
    code, out, _ = say("data", "check", path, "--image-column", "img", "--text-column", "txt")
    assert "missing: 1" in out


def test_names_that_are_no_text_are_told_in_valid_json(say: Say, tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", b"image,caption\ncaf\xe9\x1b.jpg,x\n")
    code, out, _ = say("data", "check", path, "--json")
    assert code == 4
    assert r"caf\xe9" in json.loads(out)["findings"][0]["what"]
    assert "\x1b" not in say("data", "check", path)[1]


def test_an_empty_dataset_is_no_crash() -> None:
    findings = check(Dataset("x", list[Record](), form="x"))
    assert (findings.records, findings.images, findings.captions) == (0, 0, 0)
    assert findings.captions_per_record == (0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_header_tells_the_size_of_the_upright_picture(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    path = tmp_path / "a.jpg"
    assert measure(path) == measure(path.read_bytes()) == open_picture(path).size


def test_a_header_is_refused_where_the_picture_would_be(tmp_path: Path) -> None:
    write(tmp_path / "empty.jpg", "")
    write(tmp_path / "text.jpg", "words")
    write(tmp_path / "head.png", b"\x89PNG\r\n\x1a\n" + bytes(40))
    Image.new("1", (9000, 9000)).save(tmp_path / "large.png")
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    for name in ("empty.jpg", "text.jpg", "head.png", "large.png", "folder.jpg", "pipe.jpg", "no"):
        with pytest.raises(InputError) as told:
            measure(tmp_path / name)
        with pytest.raises(InputError) as whole:
            open_picture(tmp_path / name)
        assert whole.value.what.endswith(told.value.what), name
