"""Kills, full disks and several processes: what was there stays, what was done is not redone."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakemodel import FakeModel, vector
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from processes import die_at, end, kill_after, start

from seesay.errors import StorageError
from seesay.index import Collection
from seesay.index.journal import Journal


def expected(contents: dict[str, bytes]) -> tuple[list[str], np.ndarray]:
    """The oracle: what a collection of these files must hold."""
    good = {path: data for path, data in contents.items() if not data.startswith(b"bad")}
    paths = sorted(good, key=os.fsencode)
    rows = [vector(good[path]).numpy().astype(np.float16) for path in paths]
    return paths, np.array(rows)


def same(collection: Collection, contents: dict[str, bytes]) -> bool:
    paths, rows = expected(contents)
    return collection.paths == paths and (not paths or np.array_equal(collection.vectors, rows))


class Folder(RuleBasedStateMachine):
    """Random changes of a folder, updates and crashes, against a dict from path to contents."""

    names = st.sampled_from(["a", "b", "c", "sub/a", "sub/b", "odd\n\udcff", "é", "é"])
    data = st.sampled_from([b"one", b"two", b"six", b"bad", b"bad too", b"longer contents"])

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="seesay-test-"))
        self.photos = self.place / "photos"
        (self.photos / "sub").mkdir(parents=True)
        self.disk: dict[str, bytes] = {}
        self.indexed: dict[str, bytes] = {}
        self.finished: set[str] = set()
        self.known: set[bytes] = set()

    @initialize()
    def make(self) -> None:
        Collection.create(self.place / "index", FakeModel())

    def teardown(self) -> None:
        shutil.rmtree(self.place)

    def path(self, name: str) -> str:
        return os.path.join(self.photos, name + ".jpg")

    @rule(name=names, data=data)
    def write(self, name: str, data: bytes) -> None:
        path = self.path(name)
        Path(path).write_bytes(data)
        self.disk[path] = data

    @rule(name=names, data=data)
    def write_with_old_time(self, name: str, data: bytes) -> None:
        self.write(name, data)
        stamp = 10**18 + int.from_bytes(data[:3], "big")
        os.utime(self.path(name), ns=(stamp, stamp))

    @rule(name=names)
    def delete(self, name: str) -> None:
        path = self.path(name)
        if self.disk.pop(path, None) is not None:
            os.unlink(path)

    @rule(old=names, new=names)
    def rename(self, old: str, new: str) -> None:
        if self.path(old) in self.disk:
            os.rename(self.path(old), self.path(new))
            self.disk[self.path(new)] = self.disk.pop(self.path(old))

    @rule(name=names)
    def touch(self, name: str) -> None:
        if self.path(name) in self.disk:
            os.utime(self.path(name))

    @rule()
    def update(self) -> None:
        model = FakeModel()
        collection = Collection.open(self.place / "index")
        report = collection.add(self.photos, model)
        assert same(collection, self.disk)
        bad = {path for path, data in self.disk.items() if data.startswith(b"bad")}
        assert {failure.path for failure in report.failed} == set(collection.failed) == bad
        digests = [hashlib.sha256(data).hexdigest() for data in model.encoded]
        assert len(set(digests)) == len(digests) == report.encoded
        assert not self.finished & set(digests), "finished before a crash, encoded again"
        assert not self.known & set(model.encoded), "in the collection, encoded again"
        before = {p: d for p, d in self.indexed.items() if not d.startswith(b"bad")}
        after = {p: d for p, d in self.disk.items() if not d.startswith(b"bad")}
        assert report.unchanged == sum(before.get(path) == data for path, data in after.items())
        assert report.changed == sum(before.get(p, d) != d for p, d in after.items())
        assert report.added + report.renamed == len(after.keys() - before.keys())
        assert report.removed + report.renamed == len(before.keys() - after.keys())
        self.settle(collection)

    def settle(self, collection: Collection) -> None:
        self.indexed = dict(self.disk)
        self.known = {data for data in self.disk.values() if not data.startswith(b"bad")}
        self.finished = set()
        assert not (collection.path / "journal").exists()

    @rule(step=st.integers(1, 40), before=st.booleans())
    def crash(self, step: int, before: bool) -> None:
        log = self.place / "finished"
        log.write_text("")

        def work() -> None:
            append = Journal.append
            handle = os.open(log, os.O_WRONLY | os.O_APPEND)
            write = os.write

            def logged(journal: Journal, digests: list[str], *rest: Any) -> None:
                append(journal, digests, *rest)
                write(handle, "".join(f"{digest}\n" for digest in digests).encode())

            Journal.append = logged  # type: ignore[method-assign]
            collection = Collection.open(self.place / "index")
            die_at(step, before=before)
            collection.add(self.photos, FakeModel(batch_size=2))

        status = end(start(work))
        assert status in (0, -signal.SIGKILL)
        self.finished |= set(log.read_text().split())
        collection = Collection.open(self.place / "index")
        assert same(collection, self.indexed) or same(collection, self.disk)
        if status == 0:
            self.settle(collection)
        elif not same(collection, self.indexed):
            self.indexed = dict(self.disk)
            self.known = {data for data in self.disk.values() if not data.startswith(b"bad")}
        else:
            self.known = {data for data in self.indexed.values() if not data.startswith(b"bad")}

    @invariant()
    def opens(self) -> None:
        if (self.place / "index").exists():
            assert same(Collection.open(self.place / "index"), self.indexed)


TestFolder = Folder.TestCase
TestFolder.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(200):
        (folder / f"{i:03}.jpg").write_text(f"picture {i}")
    return folder


def contents_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.iterdir()}


def test_indexing_that_is_killed_again_and_again_ends_and_repeats_nothing(
    tmp_path: Path, photos: Path
) -> None:
    log = tmp_path / "encoded"
    log.touch()

    class Logged(FakeModel):
        def stream_images(self, images: Any, **options: Any) -> Any:
            for chunk in super().stream_images(images, **options):
                yield chunk
                # reached when the next chunk is asked for: this one is in the journal
                with open(log, "a") as file:
                    file.write("".join(f"{data.decode()}\n" for data in self.encoded))
                    self.encoded.clear()

    def work() -> None:
        Collection.open(tmp_path / "index").add(photos, Logged(pause=0.004))

    rng = random.Random(0)
    kills = 0
    while (status := kill_after(start(work), 0.03 + (0.1 + kills / 100) * rng.random())) != 0:
        assert status == -signal.SIGKILL
        kills += 1
        assert kills < 100
        if (tmp_path / "index").exists():
            assert len(Collection.open(tmp_path / "index")) in (0, 200)
    encoded = log.read_text().split("\n")
    assert kills >= 2
    assert len(encoded) == len(set(encoded)), "what was finished was encoded again"
    assert same(Collection.open(tmp_path / "index"), contents_of(photos))
    assert sorted(os.listdir(tmp_path / "index")) == ["CURRENT", "generations", "lock"]


def test_killed_searches_leave_no_trace(tmp_path: Path, photos: Path) -> None:
    Collection.open(tmp_path / "index").add(photos, FakeModel())
    before = sorted(str(path) for path in (tmp_path / "index").rglob("*"))

    def work() -> None:
        while True:
            found = Collection.open(tmp_path / "index").search("picture 7", model=FakeModel())
            assert found[0].path.endswith("007.jpg")

    rng = random.Random(1)
    for _ in range(15):
        assert kill_after(start(work), rng.random() * 0.06) == -signal.SIGKILL
    assert sorted(str(path) for path in (tmp_path / "index").rglob("*")) == before
    Collection.open(tmp_path / "index").add(photos, FakeModel())


def test_readers_see_whole_states_while_a_writer_works(tmp_path: Path, photos: Path) -> None:
    index = tmp_path / "index"
    Collection.open(index).add(photos, FakeModel())
    versions = [f"picture {i}{v}" for i in range(200) for v in ("", " b", " c")]
    rows = {
        hashlib.sha256(text.encode()).hexdigest(): vector(text.encode()).numpy().astype(np.float16)
        for text in versions
    }
    ended = tmp_path / "ended"

    def read() -> None:
        seen = set()
        last = False
        while not last:
            last = ended.exists()
            collection = Collection.open(index)
            items = collection._current().items()
            assert len(items) == len(collection) in (200, 199)
            for item, row in zip(items, collection.vectors, strict=True):
                assert np.array_equal(rows[item.sha256], row)
            seen.add(collection._current().pointer)
        assert len(seen) > 1

    def change() -> None:
        rng = random.Random(os.getpid())
        for _ in range(40):
            number = rng.randrange(200)
            path = photos / f"{number:03}.jpg"
            temporary = photos / f".{os.getpid()}"
            temporary.write_text(f"picture {number}{rng.choice(['', ' b', ' c'])}")
            temporary.rename(path)
            if rng.random() < 0.2:
                path.unlink()
                Collection.open(index).add(photos, FakeModel())
                path.write_text(f"picture {number}")
            Collection.open(index).add(photos, FakeModel())
        ended.touch()

    children = [start(read), start(read), start(change)]
    assert [end(child) for child in children] == [0, 0, 0]


def test_second_writer_is_told_who_is_first(tmp_path: Path, photos: Path) -> None:
    index = tmp_path / "index"
    Collection.create(index, FakeModel())
    child = start(lambda: Collection.open(index).add(photos, FakeModel(pause=5)))
    try:
        deadline = time.monotonic() + 20
        while not (index / "lock").exists() or not (index / "lock").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with pytest.raises(StorageError, match=f"by process {child} on .* since 20") as caught:
            Collection.open(index).add(photos, FakeModel())
        assert caught.value.exit_code == 5
        assert len(Collection.open(index)) == 0, "reading needs no lock"
    finally:
        os.kill(child, signal.SIGKILL)
        end(child)
    assert Collection.open(index).add(photos, FakeModel()).added == 200


def test_two_writers_in_one_process_are_kept_apart(tmp_path: Path, photos: Path) -> None:
    index = tmp_path / "index"
    first, second = Collection.create(index, FakeModel()), Collection.open(index)

    def meddle(_: object) -> None:
        with pytest.raises(StorageError, match=f"by process {os.getpid()}"):
            second.add(photos, FakeModel())

    assert first.add(photos, progress=meddle).added == 200
    assert second.add(photos, FakeModel()).unchanged == 200


def test_writers_of_many_processes_lose_nothing(tmp_path: Path, photos: Path) -> None:
    index = tmp_path / "index"
    names = sorted(os.listdir(photos))

    def work(part: int) -> None:
        mine = [photos / name for name in names[part::4]]
        for start_at in range(0, len(mine), 10):
            while True:
                try:
                    Collection.open(index).add(mine[start_at : start_at + 10], FakeModel())
                    break
                except StorageError:
                    time.sleep(0.005)

    children = [start(lambda part=part: work(part)) for part in range(4)]
    assert [end(child) for child in children] == [0, 0, 0, 0]
    assert same(Collection.open(index), contents_of(photos))


@pytest.mark.parametrize("limit", [0, 50, 1500, 3000, 6000, 12_000, 20_000])
def test_file_size_limit_leaves_the_old_state_and_the_work_done(
    tmp_path: Path, photos: Path, limit: int
) -> None:
    index = tmp_path / "index"
    Collection.open(index).add([photos / "000.jpg", photos / "001.jpg"], FakeModel())
    old = contents_of(index / "generations" / os.listdir(index / "generations")[0])

    def work() -> None:
        collection = Collection.open(index)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        with pytest.raises(StorageError, match="cannot be written: File too large") as caught:
            collection.add(photos, FakeModel())
        assert caught.value.exit_code == 5

    assert end(start(work)) == 0
    place = index / "generations" / os.listdir(index / "generations")[0]
    assert contents_of(place) == old
    assert os.listdir(index / "generations") == [place.name], "no half-written files"
    assert len(Collection.open(index)) == 2
    model = FakeModel()
    Collection.open(index).add(photos, model)
    assert same(Collection.open(index), contents_of(photos))
    if limit >= 12_000:
        assert len(model.encoded) < 100, "what was encoded before the disk was full is used"


def test_full_disk_leaves_the_old_state(tmp_path: Path, photos: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=80k", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no file system of our own: {mounted.stderr.strip()}")
    try:
        collection = Collection.open(disk / "index")
        collection.add([photos / "000.jpg"], FakeModel())
        with pytest.raises(StorageError, match="No space left"):
            collection.add(photos, FakeModel())
        assert len(Collection.open(disk / "index")) == 1
        (photos / "000.jpg").unlink()
        for path in photos.iterdir():
            if path.name > "050.jpg":
                path.unlink()
        assert collection.add(photos, FakeModel()).removed == 1
        assert same(Collection.open(disk / "index"), contents_of(photos))
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
