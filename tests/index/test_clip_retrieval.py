"""clip-retrieval's folders, read and written."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from fakemodel import WIDTH, FakeModel, vector

from seesay.errors import IndexDamaged, ModelMismatch, UsageError
from seesay.index import Collection, clip_retrieval
from seesay.index.clip_retrieval import read_clip_retrieval, write_clip_retrieval

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    (tmp_path / "photos").mkdir()
    for i in range(25):
        (tmp_path / "photos" / f"{i:02}.jpg").write_text(f"picture {i}")
    made = Collection.open(tmp_path / "index")
    made.add(tmp_path / "photos", FakeModel())
    return made


def old_folder(place: Path, parts: list[tuple[list[str], np.ndarray]], **columns: object) -> Path:
    """Write a folder as clip-retrieval's inference does."""
    (place / "img_emb").mkdir(parents=True)
    (place / "metadata").mkdir()
    for number, (paths, vectors) in enumerate(parts):
        np.save(place / "img_emb" / f"img_emb_{number}.npy", vectors)
        table = pa.table({"image_path": paths, "caption": ["a caption"] * len(paths)})
        pq.write_table(table, place / "metadata" / f"metadata_{number}.parquet")
    return place


def test_written_folder_is_what_its_readers_expect(tmp_path: Path, collection: Collection) -> None:
    write_clip_retrieval(collection, tmp_path / "out")
    vectors = np.load(tmp_path / "out/img_emb/img_emb_0.npy", allow_pickle=False)
    table = pq.read_table(tmp_path / "out/metadata/metadata_0.parquet")
    assert vectors.dtype == np.float16
    assert np.array_equal(vectors, collection.vectors)
    assert table.column("image_path").to_pylist() == collection.paths


@pytest.mark.parametrize("part", [1_000_000, 7])
def test_there_and_back_is_the_same(
    tmp_path: Path, collection: Collection, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_retrieval, "PART", part)
    write_clip_retrieval(collection, tmp_path / "out")
    back = read_clip_retrieval(tmp_path / "out", tmp_path / "back", FakeModel())
    assert back.paths == collection.paths
    assert np.allclose(back.vectors, collection.vectors, atol=1e-3)
    assert back.search("picture 7", 1)[0].path.endswith("07.jpg")
    model = FakeModel()
    report = back.add(tmp_path / "photos", model)
    assert (report.unchanged, report.encoded) == (25, 0), "what was imported is not encoded again"


def test_part_ten_comes_after_part_two(tmp_path: Path) -> None:
    parts = [([f"/data/{n}.jpg"], vector(f"v{n}".encode())[None].numpy() * 3) for n in range(12)]
    old_folder(tmp_path / "old", parts)
    found = read_clip_retrieval(tmp_path / "old", tmp_path / "new", FakeModel())
    for n in range(12):
        assert found.search(f"v{n}", 1)[0].path == f"/data/{n}.jpg"
    assert found.search("v3", 1)[0].score == pytest.approx(1, abs=1e-3), "scaled to unit length"
    assert Collection.open(tmp_path / "new").paths == found.paths


def test_pictures_that_are_not_here_stay_with_their_own_vectors(
    tmp_path: Path, collection: Collection
) -> None:
    paths = ["/data/a.jpg", "/data/b.jpg"]
    rows = np.stack([vector(b"a").numpy(), vector(b"b").numpy()])
    old_folder(tmp_path / "old", [(paths, rows)])
    found = read_clip_retrieval(tmp_path / "old", tmp_path / "new", FakeModel())
    found.add(tmp_path / "photos", FakeModel())
    assert len(found) == 27
    assert found.search("a", 1)[0].path == "/data/a.jpg"
    assert found.search("b", 1)[0].path == "/data/b.jpg"
    assert found.search("picture 3", 1)[0].path.endswith("03.jpg")


def test_odd_names_do_not_stop_the_writing(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with open(os.fsencode(tmp_path) + b"/photos/\xff\n.jpg", "w") as file:
        file.write("odd")
    collection = Collection.open(tmp_path / "i")
    collection.add(tmp_path / "photos", FakeModel())
    write_clip_retrieval(collection, tmp_path / "out")
    names = pq.read_table(tmp_path / "out/metadata/metadata_0.parquet").column("image_path")
    assert names.to_pylist() == [f"{tmp_path}/photos/\\xff\n.jpg"]


def test_empty_collection_is_written(tmp_path: Path) -> None:
    write_clip_retrieval(Collection.create(tmp_path / "i", FakeModel()), tmp_path / "out")
    assert (tmp_path / "out/img_emb/img_emb_0.npy").exists()


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch marker-of-a-pickle",)


def test_foreign_and_damaged_folders_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = np.ones((2, WIDTH), np.float32)
    good = [(["/a.jpg", "/b.jpg"], rows)]

    def refuse(name: str, error: type[Exception] = IndexDamaged) -> None:
        with pytest.raises(error):
            read_clip_retrieval(tmp_path / name, tmp_path / f"{name}-new", FakeModel())
        assert not (tmp_path / f"{name}-new").exists()

    (tmp_path / "empty").mkdir()
    refuse("empty")
    refuse("none")
    old_folder(tmp_path / "rows", [(["/a.jpg"], rows)])
    refuse("rows")
    old_folder(tmp_path / "nan", [(["/a.jpg", "/b.jpg"], rows * np.nan)])
    refuse("nan")
    old_folder(tmp_path / "wide", [(["/a.jpg", "/b.jpg"], np.ones((2, 5), np.float16))])
    refuse("wide", ModelMismatch)
    old_folder(tmp_path / "mixed", [*good, (["/c.jpg"], np.ones((1, 5)))])
    refuse("mixed")
    old_folder(tmp_path / "pickle", good)
    np.save(tmp_path / "pickle/img_emb/img_emb_0.npy", np.array([Bomb()], object))
    refuse("pickle")
    assert not (tmp_path / "marker-of-a-pickle").exists()
    for name in ("img_emb/img_emb_0.npy", "metadata/metadata_0.parquet"):
        for cut in (0, 10, -1):
            place = tmp_path / f"cut-{Path(name).stem}-{cut}"
            old_folder(place, good)
            (place / name).write_bytes((place / name).read_bytes()[:cut])
            refuse(place.name)
    place = old_folder(tmp_path / "column", good)
    pq.write_table(pa.table({"url": ["a", "b"]}), place / "metadata/metadata_0.parquet")
    refuse("column")


def test_what_is_there_is_not_overwritten(tmp_path: Path, collection: Collection) -> None:
    with pytest.raises(UsageError, match="exists"):
        write_clip_retrieval(collection, tmp_path / "photos")
    with pytest.raises(UsageError, match="no collection"):
        write_clip_retrieval(Collection.open(tmp_path / "none"), tmp_path / "out")
