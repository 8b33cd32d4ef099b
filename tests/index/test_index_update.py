"""What an update sees, what it counts, and what it never encodes twice."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from fakemodel import FakeModel, write

from seesay.errors import UsageError
from seesay.index import Collection
from seesay.index.places import place_of


def names(collection: Collection) -> list[str]:
    return [os.path.basename(path) for path in collection.paths]


def test_second_run_encodes_nothing(collection: Collection, photos: Path, model: FakeModel) -> None:
    model.encoded.clear()
    report = collection.add(photos, model)
    assert (report.unchanged, report.added, report.encoded) == (4, 0, 0)
    assert model.encoded == []


def test_settled_files_are_not_even_read_again(
    collection: Collection, photos: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in collection.paths:
        os.utime(path, (1_000_000_000, 1_000_000_000))
    collection.add(photos, model)
    generation = collection._current().pointer
    monkeypatch.setattr("seesay.index.update.read", None)
    assert collection.add(photos, model).unchanged == 4
    assert collection._current().pointer == generation, "no change must write no generation"


def test_rehash_sees_what_size_and_time_hide(
    collection: Collection, photos: Path, model: FakeModel
) -> None:
    for path in collection.paths:
        os.utime(path, (1_000_000_000, 1_000_000_000))
    collection.add(photos, model)
    (photos / "a.jpg").write_text("APPLE")
    os.utime(photos / "a.jpg", (1_000_000_000, 1_000_000_000))
    assert collection.add(photos, model).changed == 0
    assert collection.add(photos, model, rehash=True).changed == 1


def test_change_of_same_size_right_after_indexing_is_seen(
    collection: Collection, photos: Path, model: FakeModel
) -> None:
    stamp = os.stat(photos / "a.jpg").st_mtime_ns
    (photos / "a.jpg").write_text("elppa")
    os.utime(photos / "a.jpg", ns=(stamp, stamp))
    assert collection.add(photos, model).changed == 1


def test_add_change_remove_rename_are_counted_and_renames_not_encoded(
    collection: Collection, photos: Path, model: FakeModel
) -> None:
    model.encoded.clear()
    (photos / "sub").rename(photos / "moved")
    (photos / "a.jpg").write_text("apricot")
    (photos / "b.jpg").unlink()
    write(photos, e="eel", f="eel")
    report = collection.add(photos, model)
    counts = (report.added, report.changed, report.removed, report.renamed, report.unchanged)
    assert counts == (2, 1, 1, 2, 0)
    assert sorted(model.encoded) == [b"apricot", b"eel"], "two copies are one encoding"
    assert report.encoded == 2
    assert names(collection) == ["a.jpg", "e.jpg", "f.jpg", "c.jpg", "d.jpg"]


def test_move_from_one_folder_to_another_is_a_rename(
    collection: Collection, tmp_path: Path, photos: Path, model: FakeModel
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (photos / "a.jpg").rename(other / "z.jpg")
    report = collection.add(other, model)
    assert (report.renamed, report.added, report.removed) == (1, 0, 0)
    assert len(collection) == 4


def test_two_folders_and_single_files_live_together(
    collection: Collection, tmp_path: Path, model: FakeModel
) -> None:
    write(tmp_path / "more", x="xylophone")
    (tmp_path / "single.dat").write_text("solo")
    collection.add([tmp_path / "more", tmp_path / "single.dat"], model)
    assert len(collection) == 6
    assert collection.folders == [str(tmp_path / "photos"), str(tmp_path / "more")]
    (tmp_path / "more" / "x.jpg").unlink()
    (tmp_path / "single.dat").unlink()
    assert collection.add(model=model).removed == 1
    assert collection.add(tmp_path / "single.dat", model).removed == 1


def test_folder_that_is_unplugged_keeps_its_pictures(
    collection: Collection, tmp_path: Path, photos: Path, model: FakeModel
) -> None:
    write(tmp_path / "more", x="xylophone")
    collection.add(tmp_path / "more", model)
    photos.rename(tmp_path / "elsewhere")
    assert collection.add(model=model).removed == 0
    assert len(collection) == 5
    with pytest.raises(UsageError, match="no file or folder"):
        collection.add(photos, model)


def test_not_recursive_leaves_folders_alone(tmp_path: Path, photos: Path, model: FakeModel) -> None:
    collection = Collection.open(tmp_path / "i")
    collection.add(photos, model, recursive=False)
    assert names(collection) == ["a.jpg", "b.jpg"]
    collection.add(photos, model)
    assert len(collection) == 4
    assert collection.add(photos, model, recursive=False).removed == 0, "they still exist"


def test_incremental_and_fresh_index_are_the_same(
    collection: Collection, tmp_path: Path, photos: Path, model: FakeModel
) -> None:
    write(photos, z="zebra", b="bee", A="ant")
    (photos / "a.jpg").unlink()
    collection.add(photos, model)
    fresh = Collection.create(tmp_path / "fresh.index", model)
    fresh.add(photos)
    assert fresh.paths == collection.paths
    assert np.array_equal(fresh.vectors, collection.vectors)


def test_index_moves_with_its_pictures(tmp_path: Path, photos: Path, model: FakeModel) -> None:
    collection = Collection.open(place_of(photos))
    collection.add(photos, model)
    assert collection.path == photos / ".seesay"
    photos.rename(tmp_path / "elsewhere")
    moved = Collection.open(tmp_path / "elsewhere" / ".seesay")
    assert moved.search("cat", model=model)[0].path == str(tmp_path / "elsewhere/sub/c.jpg")
    for path in moved.paths:
        os.utime(path, (1_000_000_000, 1_000_000_000))
    report = moved.add(tmp_path / "elsewhere", model)
    assert (report.unchanged, report.encoded) == (4, 0)
    assert moved.folders == [str(tmp_path / "elsewhere")]


def test_broken_pictures_are_named_skipped_and_not_retried(
    collection: Collection, photos: Path, model: FakeModel
) -> None:
    write(photos, broken="bad one", sub__broken="bad two")
    report = collection.add(photos, model)
    assert [(os.path.relpath(f.path, photos), f.reason) for f in report.failed] == [
        ("broken.jpg", "is not an image"),
        ("sub/broken.jpg", "is not an image"),
    ]
    assert (report.added, len(collection)) == (0, 4)
    assert set(collection.failed) == {failure.path for failure in report.failed}

    calls: list[int] = []
    model.stream_images = lambda images, **_: calls.append(len(images))  # type: ignore[method-assign]
    assert len(collection.add(photos, model).failed) == 2
    assert calls == []
    del model.stream_images
    write(photos, broken="good now")
    report = collection.add(photos, model)
    assert (report.added, len(report.failed)) == (1, 1)
    assert collection.search("good now", model=model)[0].path == str(photos / "broken.jpg")


def test_picture_that_breaks_leaves_the_collection(
    collection: Collection, photos: Path, model: FakeModel
) -> None:
    write(photos, a="bad")
    report = collection.add(photos, model)
    assert (report.removed, len(report.failed), len(collection)) == (1, 1, 3)


def test_other_software_gets_another_chance_at_broken_pictures(
    collection: Collection, photos: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(photos, broken="bad one")
    collection.add(photos, model)
    monkeypatch.setattr("seesay.__version__", "99")
    seen: list[int] = []
    real = model.stream_images
    model.stream_images = lambda images, **o: seen.append(len(images)) or real(images, **o)  # type: ignore
    collection.add(photos, model)
    assert seen == [1]


def test_folder_named_like_a_picture_and_vanished_folder(
    collection: Collection, photos: Path, model: FakeModel
) -> None:
    (photos / "b.jpg").unlink()
    (photos / "b.jpg").mkdir()
    write(photos, b__inner="inner")  # b/inner.jpg
    report = collection.add(photos, model)
    assert (report.removed, report.added) == (1, 1)


def test_progress_counts_to_the_end(tmp_path: Path, model: FakeModel) -> None:
    folder = tmp_path / "many"
    write(folder, **{f"p{i}": f"picture {i}" for i in range(600)}, x="bad")
    seen = []
    Collection.open(tmp_path / "i").add(folder, model, progress=seen.append)
    done = [progress.done for progress in seen]
    assert done == sorted(done)
    assert (seen[-1].done, seen[-1].total, seen[-1].failed) == (601, 601, 1)
    assert len(done) > 100, "it moves while a window is encoded"
