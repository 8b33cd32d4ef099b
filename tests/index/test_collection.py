"""Searching, opening, models, duplicates: what a collection promises on a good day."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from fakemodel import FakeModel, write
from PIL import Image

from seesay.errors import ItemsFailed, ModelMismatch, StorageError, UsageError
from seesay.index import Collection
from seesay.index.places import place_of


def names(collection: Collection) -> list[str]:
    return [os.path.basename(path) for path in collection.paths]


def test_every_picture_is_found_by_its_own_words(collection: Collection) -> None:
    for word, name in (("apple", "a"), ("bear", "b"), ("cat", "c"), ("dog", "d")):
        hits = collection.search(word, k=2)
        assert os.path.basename(hits[0].path) == f"{name}.jpg"
        assert hits[0].score == pytest.approx(1, abs=1e-3)
        assert [hit.rank for hit in hits] == [1, 2]
        assert hits[0].score > hits[1].score


def test_rows_paths_and_vectors_belong_together(collection: Collection) -> None:
    assert len(collection) == len(collection.paths) == len(collection.vectors) == 4
    assert collection.paths == sorted(collection.paths)
    assert collection.vectors.dtype == np.float16
    assert not collection.vectors.flags.writeable
    scores, rows = collection.search_vectors(torch.from_numpy(collection.vectors.copy()).float(), 1)
    assert rows.flatten().tolist() == [0, 1, 2, 3]
    assert torch.allclose(scores.flatten(), torch.ones(4), atol=1e-3)


def test_another_model_is_refused_with_what_to_do(collection: Collection, photos: Path) -> None:
    other = FakeModel("other")
    for call in (
        lambda: collection.search("cat", model=other),
        lambda: collection.add(photos, other),
    ):
        with pytest.raises(ModelMismatch, match="made with fake, not with other") as caught:
            call()
        assert "search with fake" in (caught.value.hint or "")
        assert caught.value.exit_code == 4


def test_collection_loads_its_model_by_itself(
    collection: Collection, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[tuple[str, str]] = []

    def load(name: str, **options: str) -> FakeModel:
        loaded.append((name, options["device"]))
        return FakeModel(name)

    monkeypatch.setattr("seesay.model.load", load)
    again = Collection.open(collection.path, device="cpu")
    assert len(again.add(photos).failed) == 0
    assert loaded == [], "nothing to encode, nothing to load"
    assert again.search("cat")[0].score > 0.99
    again.search("dog")
    assert loaded == [("fake", "cpu")]

    monkeypatch.setattr("seesay.model.load", lambda name, **_: FakeModel("retrained"))
    with pytest.raises(ModelMismatch, match="not what it was"):
        Collection.open(collection.path).search("cat")


def test_opening_nothing_is_empty_until_added_to(tmp_path: Path) -> None:
    collection = Collection.open(tmp_path / "none")
    assert (len(collection), collection.paths, collection.exists) == (0, [], False)
    with pytest.raises(UsageError, match="add pictures"):
        collection.search("cat")
    assert not (tmp_path / "none").exists()


def test_create_refuses_what_is_there(tmp_path: Path, model: FakeModel) -> None:
    Collection.create(tmp_path / "a" / "i", model)
    with pytest.raises(UsageError, match="exists"):
        Collection.create(tmp_path / "a" / "i", model)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="exists"):
        Collection.create(tmp_path / "file", model)
    assert os.listdir(tmp_path / "a") == ["i"]
    with pytest.raises(StorageError):
        Collection.create(tmp_path / "file" / "below", model)


def test_empty_collection_finds_nothing(tmp_path: Path, model: FakeModel) -> None:
    collection = Collection.create(tmp_path / "i", model)
    assert collection.search("cat", model=model) == []
    assert collection.duplicates() == []
    (tmp_path / "empty").mkdir()
    assert collection.add(tmp_path / "empty").unchanged == 0


def test_real_pictures_have_their_upright_size(tmp_path: Path, model: FakeModel) -> None:
    folder = tmp_path / "real"
    folder.mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (40, 20)).save(folder / "plain.png")
    Image.new("RGB", (40, 20)).save(folder / "turned.jpg", exif=turned)
    Image.new("RGB", (40, 20)).save(folder / "turned.png", exif=turned)
    collection = Collection.open(tmp_path / "i")
    collection.add(folder, model)
    sizes = {os.path.basename(hit.path): hit.size for hit in collection.search("x")}
    assert sizes == {"plain.png": (40, 20), "turned.jpg": (20, 40), "turned.png": (20, 40)}


def test_images_and_words_search_together(
    collection: Collection, photos: Path, model: FakeModel
) -> None:
    by_path = collection.search(image=photos / "a.jpg")
    by_bytes = collection.search(b"apple")
    assert by_path == by_bytes
    assert os.path.basename(by_path[0].path) == "a.jpg"
    both = collection.search("bear", 2, image=photos / "a.jpg")
    assert {os.path.basename(hit.path) for hit in both} == {"a.jpg", "b.jpg"}
    inline = collection.search(f"bear + {photos}/a.jpg", 2)
    assert inline == both
    away = collection.search("apple - bear", 4)
    assert os.path.basename(away[0].path) == "a.jpg"
    assert os.path.basename(away[-1].path) == "b.jpg"


def test_refresh_moves_on_and_old_rows_stay_readable(
    collection: Collection, photos: Path, model: FakeModel
) -> None:
    reader = Collection.open(collection.path)
    before = reader.vectors.copy()
    write(photos, new="newt")
    (photos / "a.jpg").unlink()
    collection.add(photos, model)
    assert len(list((collection.path / "generations").iterdir())) == 1
    assert np.array_equal(reader.vectors, before)
    assert reader.search("apple", model=model)[0].score > 0.99, "an open reader keeps its state"
    reader.refresh()
    assert reader.search("newt", model=model)[0].score > 0.99
    assert len(reader) == 4


@pytest.mark.parametrize("k", [1, 3, 4, 100])
def test_k_limits_the_results(collection: Collection, k: int) -> None:
    assert len(collection.search("cat", k)) == min(k, 4)


def test_bad_requests_are_usage_errors(collection: Collection, photos: Path) -> None:
    with pytest.raises(UsageError, match="k=0"):
        collection.search("cat", 0)
    with pytest.raises(UsageError, match="nothing to search"):
        collection.search()
    with pytest.raises(UsageError, match="cancel"):
        collection.search("cat - cat")
    with pytest.raises(UsageError, match="dimensions"):
        collection.search_vectors(torch.zeros(1, 3))
    with pytest.raises(UsageError, match="threshold"):
        collection.duplicates(0)


def test_duplicates_group_around_their_first(
    tmp_path: Path, photos: Path, model: FakeModel
) -> None:
    write(photos, a2="apple", b2="bear", b3="bear")
    collection = Collection.open(tmp_path / "i")
    collection.add(photos, model)
    groups = collection.duplicates(0.99)
    assert [[os.path.basename(p) for p in group.paths] for group in groups] == [
        ["a.jpg", "a2.jpg"],
        ["b.jpg", "b2.jpg", "b3.jpg"],
    ]
    assert all(score > 0.99 for group in groups for score in group.scores)


def test_missing_query_image_is_named(collection: Collection, model: FakeModel) -> None:
    with pytest.raises((ItemsFailed, OSError)):
        collection.search("./nowhere.jpg")


def test_where_nothing_may_be_written_the_index_is_in_the_cache(
    tmp_path: Path, photos: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("os.access", lambda *_: False)
    place = place_of(photos)
    assert place.parent == tmp_path / "cache" / "seesay" / "indexes"
    Collection.open(place).add(photos, model)
    assert Collection.open(place_of(photos)).paths[0] == str(photos / "a.jpg")
    Collection.create(photos / ".seesay", model)
    assert place_of(photos) == photos / ".seesay", "one that is there is used"
