"""Listings with columns: CSV, TSV, JSON lines, JSON lists, parquet, imagefolder metadata."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data.made import pictures, write
from seesay.data import Dataset, open_dataset
from seesay.errors import InputError, UsageError


def kinds(dataset: Dataset) -> list[tuple[str, str]]:
    return [(finding.kind, finding.where) for finding in dataset.findings]


def test_a_csv_as_open_clip_wants_it(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "deep/b.jpg")
    path = write(tmp_path / "t.csv", "filepath\ttitle\na.jpg\ta cat\ndeep/b.jpg\ta dog, asleep\n")
    first, second = open_dataset(path)
    assert first.image == str(tmp_path / "a.jpg")
    assert (first.texts, first.label, first.where) == (("a cat",), None, "t.csv:2")
    assert second.texts == ("a dog, asleep",)
    assert open_dataset(path).picture(1).size == (40, 30)


@pytest.mark.parametrize("separator", ["\t", ",", ";", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_separator_line_ends_and_byte_order_mark_are_recognised(
    tmp_path: Path, separator: str, end: str, mark: str
) -> None:
    rows = [["image", "caption"], ["ü 1.jpg", "一只猫"], ["b.jpg", "two words"]]
    text = mark + end.join(separator.join(row) for row in rows) + end
    dataset = open_dataset(write(tmp_path / "t.csv", text))
    assert [r.texts for r in dataset] == [("一只猫",), ("two words",)]
    assert dataset[0].image == str(tmp_path / "ü 1.jpg")
    assert kinds(dataset) == ([("mark", "t.csv:1")] if mark else [])


def test_quoted_newlines_and_quotes_keep_the_line_numbers_right(tmp_path: Path) -> None:
    text = 'image,caption\na.jpg,"one\r\ntwo ""three"""\nb.jpg,four\n\nc.jpg,five\n'
    dataset = open_dataset(write(tmp_path / "t.csv", text))
    assert [r.where for r in dataset] == ["t.csv:2", "t.csv:4", "t.csv:6"]
    assert dataset[0].texts == ('one\r\ntwo "three"',)


def test_utf_16_as_spreadsheets_save_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", "image\tcaption\na.jpg\té 猫\n".encode("utf-16"))
    assert open_dataset(path)[0].texts == ("é 猫",)


def test_a_line_in_another_encoding_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", b"image,caption\na.jpg,fine\nb.jpg,caf\xe9\n")
    dataset = open_dataset(path)
    assert kinds(dataset) == [("encoding", "t.csv:3")]
    assert dataset.findings[0].row == 1
    assert r"caf\xe9" in dataset.findings[0].what


def test_file_names_of_any_bytes_are_found(tmp_path: Path) -> None:
    name = b"caf\xe9.jpg"
    pictures(tmp_path, name.decode("utf-8", "surrogateescape"))
    path = write(tmp_path / "t.csv", b"image,caption\n" + name + b",fine\n")
    dataset = open_dataset(path)
    assert not dataset.findings
    assert dataset.picture(0).size == (40, 30)


@pytest.mark.parametrize(
    ("head", "options", "told"),
    [
        ("img,captoin", {}, "no column with the pictures' file names.*'img', 'captoin'"),
        ("filpath,title", {}, "Did you mean filepath"),
        ("image,caption", {"text_column": "captoin"}, "no column 'captoin'.*mean caption"),
        ("image,title,caption", {}, "title and caption: which.*\n.*text_column=title"),
        ("image,image,caption", {}, "two columns are called image"),
        ("image,caption", {"split": "train"}, "no column 'split'"),
    ],
)
def test_a_head_line_without_the_columns_says_which_and_what_is_near(
    tmp_path: Path, head: str, options: dict[str, str], told: str
) -> None:
    path = write(tmp_path / "t.csv", f"{head}\na.jpg,b{',c' * (head.count(',') - 1)}\n")
    with pytest.raises(InputError, match=told):
        open_dataset(path, **options)


def test_columns_and_separator_can_be_said(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "a#b#c\nx.jpg#words, and more#dog\ny.jpg#w#cat\n")
    dataset = open_dataset(
        path, separator="#", image_column="a", text_column="b", label_column="c", root=tmp_path
    )
    assert dataset[0].texts == ("words, and more",)
    assert dataset.classes == ("cat", "dog")
    assert dataset.labels.tolist() == [1, 0]


def test_rows_that_cannot_be_used_are_left_out_and_named(tmp_path: Path) -> None:
    rows = ["image,caption", "a.jpg,fine", "b.jpg,one,two", ",no name", "only.jpg", "c.jpg,  "]
    dataset = open_dataset(write(tmp_path / "t.csv", "\n".join(rows)))
    assert [r.texts for r in dataset] == [("fine",), ()]
    expected = [("bad-row", 3), ("bad-row", 4), ("bad-row", 5), ("empty-caption", 6)]
    assert kinds(dataset) == [(kind, f"t.csv:{line}") for kind, line in expected]


def test_an_unclosed_quote_is_one_clear_error(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", 'image,caption\na.jpg,"never closed\nb.jpg,fine\n')
    with pytest.raises(InputError, match=r"t\.csv:2.*\n.*quotation mark"):
        open_dataset(path)


def test_an_empty_file_and_a_folder_of_that_name_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is empty"):
        open_dataset(write(tmp_path / "t.csv", ""))
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(InputError, match="is no data that is known"):
        open_dataset(tmp_path / "d.csv")


def test_a_table_may_name_absolute_paths_but_not_climb_out(tmp_path: Path) -> None:
    elsewhere = pictures(tmp_path / "elsewhere", "a.jpg")
    rows = f"image,caption\n{elsewhere}/a.jpg,x\n../elsewhere/a.jpg,y\nhttp://h.example/a.jpg,z\n"
    dataset = open_dataset(write(tmp_path / "in" / "t.csv", rows))
    assert [r.image for r in dataset] == [str(elsewhere / "a.jpg")]
    assert [f.kind for f in dataset.findings] == ["bad-row", "bad-row"]
    assert "leaves" in dataset.findings[0].what
    assert "remote" in dataset.findings[1].what
    with_root = open_dataset(tmp_path / "in" / "t.csv", root=tmp_path)
    assert [f.where for f in with_root.findings] == ["t.csv:3", "t.csv:4"]


def test_labels_are_numbers_names_or_classes_of_a_list(tmp_path: Path) -> None:
    def read(*labels: str) -> Dataset:
        rows = "".join(f"{i}.jpg,{label}\n" for i, label in enumerate(labels))
        return open_dataset(write(tmp_path / "t.csv", "image,label\n" + rows))

    assert read("2", "0", "", "3.0", "-1").labels.tolist() == [2, 0, -1, 3, -1]
    assert read("2", "0").classes is None
    named = read("dog", "猫", "dog", "")
    assert (named.classes, named.labels.tolist()) == (("dog", "猫"), [0, 1, 0, -1])
    write(tmp_path / "classes.txt", "zebra\ndog\n")
    listed = read("dog", "0", "unicorn", "")
    assert (listed.classes, listed.labels.tolist()) == (("zebra", "dog"), [1, 0, 2, -1])


def test_rows_of_the_same_picture_share_its_number(tmp_path: Path) -> None:
    rows = "image,caption\na.jpg,1\nb.jpg,2\n./a.jpg,3\na.jpg,4\n"
    dataset = open_dataset(write(tmp_path / "t.csv", rows))
    assert dataset.image_numbers.tolist() == [0, 1, 0, 0]
    rows = "image,caption,image_id\na.jpg,1,7\nb.jpg,2,7\nc.jpg,3,8\n"
    dataset = open_dataset(write(tmp_path / "t.csv", rows))
    assert dataset.image_numbers.tolist() == [0, 0, 1]


def test_a_column_of_splits_chooses(tmp_path: Path) -> None:
    rows = "image,caption,split\na.jpg,1,train\nb.jpg,2,val\nc.jpg,3,restval\n"
    path = write(tmp_path / "t.csv", rows)
    assert [r.texts[0] for r in open_dataset(path, split="train+restval")] == ["1", "3"]
    assert len(open_dataset(path)) == 3


def test_json_lines_with_one_or_many_captions(tmp_path: Path) -> None:
    lines = [
        json.dumps({"image": "a.jpg", "text": ["one", "two", ""]}),
        "{not json",
        "",
        json.dumps({"image": "b.jpg", "text": "three"}, ensure_ascii=False),
        json.dumps([1]),
        json.dumps({"text": "no picture"}),
        json.dumps({"image": {"bytes": "x"}, "text": "y"}),
    ]
    dataset = open_dataset(write(tmp_path / "t.jsonl", "\ufeff" + "\r\n".join(lines)))
    assert [r.texts for r in dataset] == [("one", "two"), ("three",)]
    assert kinds(dataset) == [
        ("blank-caption", "t.jsonl:1"),
        ("bad-row", "t.jsonl:2"),
        ("bad-row", "t.jsonl:5"),
        ("bad-row", "t.jsonl:6"),
        ("bad-row", "t.jsonl:7"),
    ]


def test_a_json_list_as_blip_publishes_it(tmp_path: Path) -> None:
    pictures(tmp_path, "images/val/a.jpg")
    rows = [{"image": "val/a.jpg", "caption": ["one", "two"]}, {"image": "b.jpg", "caption": "x"}]
    dataset = open_dataset(write(tmp_path / "t.json", json.dumps(rows)))
    assert dataset[0].image == str(tmp_path / "images" / "val" / "a.jpg")
    assert dataset[0].texts == ("one", "two")
    assert dataset[1].where == "t.json[1]"


@pytest.mark.parametrize("content", ["", "[]", "[1, 2]", "{", "[" * 3000])
def test_json_that_is_no_list_of_objects_is_one_error(tmp_path: Path, content: str) -> None:
    for name in ("t.json", "t.jsonl"):
        with pytest.raises(InputError):
            open_dataset(write(tmp_path / name, content))


def test_imagefolder_metadata_in_all_three_forms(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    names, texts = ["a.jpg", "sub/b.jpg"], ["one", "two"]
    write(tmp_path / "csv" / "metadata.csv", "file_name,text\na.jpg,one\nsub/b.jpg,two\n")
    lines = [{"file_name": n, "text": t} for n, t in zip(names, texts, strict=True)]
    write(tmp_path / "jsonl" / "metadata.jsonl", "\n".join(map(json.dumps, lines)))
    (tmp_path / "parquet").mkdir()
    table = arrow.table({"file_name": names, "text": texts})
    pyarrow.parquet.write_table(table, tmp_path / "parquet" / "metadata.parquet")
    read = [open_dataset(pictures(tmp_path / f, *names)) for f in ("csv", "jsonl", "parquet")]
    for dataset in read:
        assert dataset.form == "imagefolder"
        assert [r.texts for r in dataset] == [("one",), ("two",)]
        assert [dataset.picture(i).size for i in range(2)] == [(40, 30)] * 2
        assert not dataset.findings
    assert len({dataset.digest for dataset in read}) == 1


def test_imagefolder_names_stay_below_their_folder(tmp_path: Path) -> None:
    rows = "file_name,text\n/etc/hostname,x\n../secret.jpg,y\na/../../s.jpg,z\na.jpg,w\n"
    write(tmp_path / "d" / "metadata.csv", rows)
    dataset = open_dataset(tmp_path / "d")
    assert [r.texts for r in dataset] == [("w",)]
    assert [f.kind for f in dataset.findings] == ["bad-row"] * 3


def test_imagefolder_parts_and_mistakes(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write(tmp_path / part / "metadata.csv", f"file_name,text\na.jpg,{part}\n")
    assert open_dataset(tmp_path, split="test")[0].texts == ("test",)
    with pytest.raises(InputError, match=r"which part.*\n.*split=test or split=train"):
        open_dataset(tmp_path)
    with pytest.raises(InputError, match="no part 'valid'"):
        open_dataset(tmp_path, split="valid")
    write(tmp_path / "train" / "metadata.jsonl", "{}")
    with pytest.raises(InputError, match="keep one"):
        open_dataset(tmp_path / "train")
    write(tmp_path / "test" / "metadata.csv", "image,text\na.jpg,x\n")
    with pytest.raises(InputError, match="no column 'file_name'"):
        open_dataset(tmp_path / "test")


def test_damaged_parquet_is_one_error(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(InputError, match="not readable parquet"):
        open_dataset(write(tmp_path / "t.parquet", b"PAR1 nonsense PAR1"))


def test_options_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", '{"image": "a.jpg", "text": "x"}')
    with pytest.raises(UsageError, match="separator=',' means nothing"):
        open_dataset(path, separator=",")
    with pytest.raises(UsageError, match="root='nowhere' is not a folder"):
        open_dataset(path, root="nowhere")


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no owner/name\n.*hub:owner/name"):
        open_dataset("owner/name")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"looked for .*\.tar.*filepath and title.*COCO"):
        open_dataset(tmp_path / "empty")


def test_a_million_rows_would_fit(tmp_path: Path) -> None:
    rows = "".join(
        f"photos/{i:08}.jpg\ta caption of some forty characters, {i}\n" for i in range(5000)
    )
    dataset = open_dataset(write(tmp_path / "t.tsv", "filepath\ttitle\n" + rows))
    assert dataset.nbytes / len(dataset) < 150
    assert dataset[4999].texts == ("a caption of some forty characters, 4999",)
    assert dataset[-1] == dataset[4999]
    part = dataset[10:20:3]
    assert [r.where for r in part] == ["t.tsv:12", "t.tsv:15", "t.tsv:18", "t.tsv:21"]
    assert list(part) == [dataset[i] for i in (10, 13, 16, 19)]
    assert np.array_equal(dataset.select([3, 3]).image_numbers, [0, 0])
