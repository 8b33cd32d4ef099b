"""Damage of any kind is one clear error: never a crash, never a silent wrong answer."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakemodel import FakeModel

from seesay.errors import IndexDamaged, StorageError
from seesay.index import Collection


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("healthy")
    (place / "photos").mkdir()
    for i in range(30):
        (place / "photos" / f"{i}.jpg").write_text("bad" if i % 10 == 9 else f"picture {i}")
    Collection.open(place / "index").add(place / "photos", FakeModel())
    return place


@pytest.fixture
def index(healthy: Path, tmp_path: Path) -> Path:
    shutil.copytree(healthy, tmp_path / "copy")
    return tmp_path / "copy" / "index"


def files_of(index: Path) -> Iterator[Path]:
    for path in sorted(index.rglob("*")):
        if path.is_file() and path.name not in ("lock", "journal"):
            yield path


def assert_damaged(index: Path) -> None:
    with pytest.raises(IndexDamaged) as caught:
        Collection.open(index)
    assert caught.value.exit_code == 4
    assert str(index) in caught.value.what
    assert caught.value.hint


def test_flipped_bit_anywhere_is_damage(index: Path) -> None:
    rng = random.Random(0)
    tried = 0
    for path in files_of(index):
        content = path.read_bytes()
        places = range(len(content)) if len(content) < 100 else rng.sample(range(len(content)), 60)
        for place in [0, len(content) - 1, *places]:
            altered = bytearray(content)
            altered[place] ^= 1 << rng.randrange(8)
            path.write_bytes(altered)
            assert_damaged(index)
            tried += 1
        path.write_bytes(content)
    assert len(Collection.open(index)) == 27
    assert tried > 300


def test_every_other_byte_in_current_is_damage(index: Path) -> None:
    content = (index / "CURRENT").read_bytes()
    for place in range(len(content)):
        for value in (0, 10, 32, 48, 49, 57, 97, 102, 255):
            if content[place] != value:
                (index / "CURRENT").write_bytes(
                    content[:place] + bytes([value]) + content[place + 1 :]
                )
                assert_damaged(index)


@pytest.mark.parametrize("how", ["half", "empty", "longer", "missing", "folder"])
def test_cut_grown_and_missing_files_are_damage(index: Path, how: str) -> None:
    for path in files_of(index):
        content = path.read_bytes()
        path.unlink()
        if how == "folder":
            path.mkdir()
        elif how != "missing":
            new = {"half": content[: len(content) // 2], "empty": b"", "longer": content + b"\n"}
            path.write_bytes(new[how])
        assert_damaged(index)
        if how == "folder":
            path.rmdir()
        path.write_bytes(content)
    assert len(Collection.open(index)) == 27


def test_missing_generation_is_damage(index: Path) -> None:
    shutil.rmtree(index / "generations")
    assert_damaged(index)


def test_adding_to_a_damaged_index_changes_nothing(index: Path) -> None:
    collection = Collection.open(index)
    vectors = next(index.rglob("vectors.f16"))
    vectors.write_bytes(b"x" * vectors.stat().st_size)
    before = {path: path.read_bytes() for path in files_of(index)}
    (index.parent / "photos" / "new.jpg").write_text("new")
    with pytest.raises(IndexDamaged):
        collection.add(index.parent / "photos", FakeModel())
    assert {path: path.read_bytes() for path in files_of(index)} == before


def reseal(index: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Alter a file and make every digest right again: what an attacker would do."""
    place = next(index.glob("generations/*"))
    (place / name).write_bytes(change((place / name).read_bytes()))
    manifest = json.loads((place / "manifest.json").read_text())
    if name != "manifest.json":
        content = (place / name).read_bytes()
        seal = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        manifest["files"][name] = seal
        (place / "manifest.json").write_text(json.dumps(manifest))
    text = (place / "manifest.json").read_bytes()
    pointer = f"seesay-index 1 {place.name} {hashlib.sha256(text).hexdigest()}\n"
    (index / "CURRENT").write_text(pointer)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("files"),
        lambda m: m.update(count=-27),
        lambda m: m.update(count=10**15),
        lambda m: m.update(count=26),
        lambda m: m.update(width=[]),
        lambda m: m.update(width=8),
        lambda m: m.update(model={"name": 1, "prize": 2}),
        lambda m: m.update(roots=[{"path": None}]),
        lambda m: m["files"].update({"vectors.f16": {"size": "large"}}),
    ],
)
def test_crafted_manifest_with_right_digests_is_damage(
    index: Path, change: Callable[[dict[str, object]], object]
) -> None:
    def alter(content: bytes) -> bytes:
        manifest = json.loads(content)
        change(manifest)
        return json.dumps(manifest).encode()

    reseal(index, "manifest.json", alter)
    assert_damaged(index)


@pytest.mark.parametrize(
    "line",
    [b"{}", b"[]", b"null", b"[" * 100_000, b"\xff", b'{"path": "x", "pixels": 3}', b"1e999"],
)
def test_crafted_items_are_damage(index: Path, line: bytes) -> None:
    reseal(index, "items.jsonl", lambda content: (line + b"\n") * content.count(b"\n"))
    collection = Collection.open(index)
    for call in (lambda: collection.paths, lambda: collection.search("x", model=FakeModel())):
        with pytest.raises(IndexDamaged):
            call()


def test_items_that_do_not_fit_the_vectors_are_damage(index: Path) -> None:
    reseal(index, "items.jsonl", lambda content: content[: content.rindex(b"{")])
    assert_damaged(index)


def test_vectors_that_are_not_finite_are_damage(index: Path) -> None:
    reseal(index, "vectors.f16", lambda content: content[:-2] + b"\x00\x7e")
    with pytest.raises(IndexDamaged, match="finite"):
        Collection.open(index).search("x", model=FakeModel())


def test_newer_format_says_so(index: Path) -> None:
    pointer = (index / "CURRENT").read_text().replace("seesay-index 1 ", "seesay-index 2 ")
    (index / "CURRENT").write_text(pointer)
    with pytest.raises(IndexDamaged, match="format 2"):
        Collection.open(index)


@pytest.mark.parametrize("what", ["file", "folder", "empty"])
def test_something_else_is_no_index(tmp_path: Path, what: str) -> None:
    place = tmp_path / "thing"
    if what == "file":
        place.write_text("hello")
    else:
        place.mkdir()
        if what == "folder":
            (place / "a.jpg").write_text("x")
    with pytest.raises(IndexDamaged, match="not an index"):
        Collection.open(place)


def test_damaged_journal_costs_encodings_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(12):
        (photos / f"{i}.jpg").write_text(f"picture {i}")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    index = tmp_path / "index"
    Collection.create(index, FakeModel())
    with monkeypatch.context() as patch:
        patch.setattr("seesay.index.collection.publish", killed)
        with pytest.raises(KeyboardInterrupt):
            Collection.open(index).add(photos, FakeModel())
    whole = (index / "journal").read_bytes()
    rng = random.Random(1)
    reference = None
    for place in [None, 0, 30, len(whole) - 1, *rng.sample(range(len(whole)), 40)]:
        altered = bytearray(whole)
        if place is not None:
            altered[place] ^= 1 << rng.randrange(8)
        shutil.rmtree(tmp_path / "try", ignore_errors=True)
        shutil.copytree(index, tmp_path / "try")
        (tmp_path / "try" / "journal").write_bytes(altered)
        model = FakeModel()
        collection = Collection.open(tmp_path / "try")
        collection.add(photos, model)
        reference = reference or collection
        assert collection.paths == reference.paths
        assert (collection.vectors == reference.vectors).all()
        header = whole.index(b"\n") + 1
        expected = 0 if place is None else 12 if place < header else 1
        assert len(model.encoded) == expected


def test_unreadable_files_are_a_storage_error(index: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    next(index.rglob("vectors.f16")).chmod(0)
    with pytest.raises(StorageError):
        Collection.open(index)
