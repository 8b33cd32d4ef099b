"""Folders of pictures, COCO, Karpathy's splits, Flickr30k."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from data.made import pictures, write
from seesay.data import open_dataset
from seesay.errors import InputError, MissingExtra, UsageError


def test_folders_are_classes(tmp_path: Path) -> None:
    pictures(tmp_path, "dog/1.jpg", "dog/deep/2.png", "猫/3.jpg", "stray.jpg", ".hidden/4.jpg")
    write(tmp_path / "dog" / "readme.md", "no picture")
    dataset = open_dataset(tmp_path)
    assert dataset.classes == ("dog", "猫")
    assert [(r.where, r.label) for r in dataset] == [
        ("stray.jpg", None),
        ("dog/1.jpg", 0),
        ("dog/deep/2.png", 0),
        ("猫/3.jpg", 1),
    ]
    assert {r.texts for r in dataset} == {()}


def test_a_flat_folder_has_no_classes(tmp_path: Path) -> None:
    dataset = open_dataset(pictures(tmp_path, "a.jpg", "b.JPG"))
    assert dataset.classes is None
    assert dataset.labels.tolist() == [-1, -1]


def test_text_files_beside_pictures_are_captions_one_a_line(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.png", "c.jpg", "sub/d.webp")
    write(tmp_path / "a.txt", "\ufeffone\r\n\r\n  two \n")
    write(tmp_path / "b.txt", " \n")
    write(tmp_path / "sub" / "d.txt", b"caf\xe9")
    dataset = open_dataset(tmp_path)
    assert [r.texts[:2] for r in dataset][:3] == [("one", "two"), (), ()]
    assert dataset.classes is None
    assert [(f.kind, f.where, f.row) for f in dataset.findings] == [
        ("empty-caption", "b.txt", 1),
        ("empty-caption", "c.jpg", 2),
        ("encoding", "sub/d.txt", 3),
    ]


def test_parts_are_not_taken_for_classes(tmp_path: Path) -> None:
    pictures(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg", "test/cat/3.jpg")
    with pytest.raises(InputError, match=r"which part.*\n.*split=test or split=train"):
        open_dataset(tmp_path)
    assert open_dataset(tmp_path, split="train").classes == ("cat", "dog")
    with pytest.raises(InputError, match="no folder 'dev'"):
        open_dataset(tmp_path, split="dev")


def test_the_digest_tells_of_names_captions_and_labels_not_of_the_place(tmp_path: Path) -> None:
    for place in ("here", "there"):
        pictures(tmp_path / place, "a/1.jpg", "b/2.jpg")
    here, there = (open_dataset(tmp_path / place).digest for place in ("here", "there"))
    assert here == there
    (tmp_path / "there" / "b").rename(tmp_path / "there" / "c")
    assert open_dataset(tmp_path / "there").digest != here


def coco(**changes: Any) -> dict[str, Any]:
    return {
        "images": [
            {"id": 9, "file_name": "x.jpg", "width": 40, "height": 30},
            {"id": 5, "file_name": "y.jpg", "width": 40, "height": 30},
        ],
        "annotations": [
            {"id": 1, "image_id": 5, "caption": "one"},
            {"id": 2, "image_id": 9, "caption": "two"},
            {"id": 3, "image_id": 5, "caption": "three\n"},
        ],
    } | changes


def test_coco_captions_are_grouped_by_picture(tmp_path: Path) -> None:
    pictures(tmp_path, "val2014/x.jpg", "val2014/y.jpg")
    path = write(tmp_path / "annotations" / "captions_val2014.json", json.dumps(coco()))
    dataset = open_dataset(path)
    assert [(r.texts, r.image_id) for r in dataset] == [(("two",), "9"), (("one", "three"), "5")]
    assert dataset[0].image == str(tmp_path / "val2014" / "x.jpg")
    assert dataset[0].where == "captions_val2014.json:image 9"
    assert dataset.picture(1).size == (40, 30)
    other = pictures(tmp_path / "other", "x.jpg")
    assert open_dataset(path, root=other)[0].image == str(other / "x.jpg")


def test_coco_oddities_are_named(tmp_path: Path) -> None:
    content = coco()
    content["images"] += [
        {"id": 5, "file_name": "z.jpg"},
        {"id": 6},
        {"id": 7, "file_name": "../../passwd"},
        {"id": 8, "file_name": "/etc/passwd"},
        {"id": 10, "file_name": "no-captions.jpg"},
    ]
    content["annotations"] += [
        {"id": 4, "image_id": 77, "caption": "whose?"},
        {"id": 5, "image_id": 9, "caption": ""},
        {"id": 6},
    ]
    dataset = open_dataset(write(tmp_path / "c.json", json.dumps(content)))
    assert [r.image_id for r in dataset] == ["9", "5", "10"]
    assert [(f.kind, f.where) for f in dataset.findings] == [
        ("bad-row", "c.json:images[3]"),
        ("bad-row", "c.json:image 5"),
        ("bad-row", "c.json:annotations[5]"),
        ("bad-row", "c.json:annotation 4"),
        ("blank-caption", "c.json:image 9"),
        ("bad-row", "c.json:image 7"),
        ("bad-row", "c.json:image 8"),
        ("empty-caption", "c.json:image 10"),
    ]


@pytest.mark.parametrize(
    ("note", "told"),
    [
        ({"bbox": [0, 0, 40, 30], "category_id": 1}, None),
        ({"bbox": [39.5, 29.5, 1, 1], "category_id": 1}, None),
        ({"bbox": [0, 0, 0, 30]}, "no area"),
        ({"bbox": [5, 5, -3, 3]}, "no area"),
        ({"bbox": [30, 0, 20, 5]}, "leaves the picture of 40x30"),
        ({"bbox": [-2, 0, 5, 5]}, "leaves"),
        ({"bbox": [0, 0, 5]}, "not four numbers"),
        ({"bbox": "0,0,1,1"}, "not four numbers"),
        ({"bbox": [0, 0, float("nan"), 1]}, "not finite"),
        ({"bbox": [0, 0, 5, 5], "category_id": 2}, "category 2 is not listed"),
    ],
)
def test_boxes_are_checked(tmp_path: Path, note: dict[str, Any], told: str | None) -> None:
    content = coco(annotations=[{"id": 3, "image_id": 9, **note}], categories=[{"id": 1}])
    dataset = open_dataset(write(tmp_path / "c.json", json.dumps(content)))
    assert len(dataset) == 2
    found = [(f.kind, f.where, f.row) for f in dataset.findings]
    assert found == ([("bad-box", "c.json:annotation 3", 0)] if told else [])
    assert told is None or told in dataset.findings[0].what


def test_karpathy_splits_of_coco_and_flickr(tmp_path: Path) -> None:
    pictures(tmp_path, "val2014/a.jpg", "train2014/b.jpg", "flickr30k-images/c.jpg")
    images = [
        {"filepath": "val2014", "filename": "a.jpg", "split": "test", "cocoid": 42, "imgid": 0,
         "sentences": [{"raw": "one"}, {"raw": "two "}]},
        {"filepath": "train2014", "filename": "b.jpg", "split": "train", "cocoid": 43, "imgid": 1,
         "sentences": [{"raw": "three"}]},
        {"filepath": "train2014", "filename": "d.jpg", "split": "restval", "cocoid": 44,
         "sentences": []},
        {"filename": None, "split": "test"},
    ]  # fmt: skip
    path = write(tmp_path / "dataset_coco.json", json.dumps({"images": images, "dataset": "coco"}))
    [record] = open_dataset(path, split="test")
    assert (record.texts, record.image_id) == (("one", "two"), "42")
    assert record.image == str(tmp_path / "val2014" / "a.jpg")
    both = open_dataset(path, split="train+restval")
    assert [r.image_id for r in both] == ["43", "44"]
    assert [(f.kind, f.row) for f in both.findings] == [("empty-caption", 1)]
    assert len(open_dataset(path)) == 3
    with pytest.raises(UsageError, match=r"no split 'val'\n.*restval, test, train"):
        open_dataset(path, split="val")
    images = [{"filename": "c.jpg", "split": "val", "imgid": 3, "sentences": [{"raw": "x"}]}]
    path = write(tmp_path / "dataset_flickr30k.json", json.dumps({"images": images}))
    assert open_dataset(path).picture(0).size == (40, 30)


TOKEN = "a.jpg#0\tTwo dogs .\na.jpg#1\tDogs | play #2 .\nb.jpg#0\tA cat .\nnonsense\n"
BARS = "image_name| comment_number| comment\na.jpg| 0| Two dogs .\na.jpg| 1| Dogs | play #2 .\nb.jpg| 0| A cat .\nnonsense\n"  # noqa: E501


@pytest.mark.parametrize(
    ("name", "text"), [("results_20130124.token", TOKEN), ("results.csv", BARS)]
)
def test_flickr30k_as_it_is_published(tmp_path: Path, name: str, text: str) -> None:
    pictures(tmp_path, "flickr30k_images/a.jpg", "flickr30k_images/b.jpg")
    dataset = open_dataset(write(tmp_path / name, text))
    assert dataset.form == "flickr30k"
    assert [r.texts for r in dataset] == [("Two dogs .", "Dogs | play #2 ."), ("A cat .",)]
    assert dataset.picture(0).size == (40, 30)
    assert [f.kind for f in dataset.findings] == ["bad-row"]


def test_names_of_flickr_stay_below_their_folder(tmp_path: Path) -> None:
    dataset = open_dataset(write(tmp_path / "r.token", "../../a.jpg#0\tx\nb.jpg#0\ty\n"))
    assert [r.texts for r in dataset] == [("y",)]
    assert dataset.findings[0].kind == "bad-row"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    pictures(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "b").chmod(0)
    try:
        dataset = open_dataset(tmp_path)
    finally:
        (tmp_path / "b").chmod(0o700)
    assert len(dataset) == 1
    assert "may not be read" in dataset.findings[0].what


@pytest.fixture
def rows() -> Any:
    datasets = pytest.importorskip("datasets")
    from data.made import jpeg

    columns = {
        "image": [{"bytes": jpeg(i), "path": None} for i in range(4)],
        "caption": ["one", ["two"][0], "", "four"],
        "label": [1, 0, 1, 0],
    }
    kinds = datasets.Features(
        {
            "image": datasets.Image(),
            "caption": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
        }
    )
    return datasets.Dataset.from_dict(columns, features=kinds)


def test_a_saved_dataset_is_read_without_decoding(tmp_path: Path, rows: Any) -> None:
    rows.save_to_disk(str(tmp_path / "saved"))
    dataset = open_dataset(tmp_path / "saved")
    assert dataset.form == "datasets"
    assert [r.texts for r in dataset] == [("one",), ("two",), (), ("four",)]
    assert (dataset.classes, dataset.labels.tolist()) == (("cat", "dog"), [1, 0, 1, 0])
    from data.made import jpeg

    assert dataset.image_bytes(2) == jpeg(2)
    assert dataset.select([2]).image_bytes(0) == jpeg(2)
    assert dataset.picture(3).size == (40, 30)


def test_parquet_shards_and_dictionaries_have_splits(tmp_path: Path, rows: Any) -> None:
    import datasets

    for part in ("train", "test"):
        (tmp_path / "shards" / "data").mkdir(parents=True, exist_ok=True)
        rows.to_parquet(str(tmp_path / "shards" / "data" / f"{part}-00000-of-00001.parquet"))
    both = datasets.DatasetDict({"train": rows, "test": rows.select([0])})
    both.save_to_disk(str(tmp_path / "saved"))
    for name, count in (("shards", 4), ("saved", 1)):
        with pytest.raises(UsageError, match=r"which part.*\n.*split="):
            open_dataset(tmp_path / name)
        dataset = open_dataset(tmp_path / name, split="test")
        assert len(dataset) == count
        assert dataset.picture(0).size == (40, 30)


@pytest.mark.parametrize(
    ("package", "name"), [("datasets", "hub:owner/name"), ("pyarrow", "t.parquet")]
)
def test_a_missing_package_is_named_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, name: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "t.parquet", b"PAR1")
    with pytest.raises(MissingExtra, match=rf"needs {package}\n.*seesay\[data\]"):
        open_dataset(name)
