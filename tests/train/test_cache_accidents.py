"""Whatever happens while features are computed, none that was kept is lost, and none is wrong."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seesay.errors import InputError, StorageError
from seesay.train import caches
from seesay.train.featurestore import FeatureStore, alone
from train.counted import Counted, close, dataset, draw, exact


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    return Counted(tmp_path / "cache")


def test_a_bad_picture_is_named_and_costs_no_other_one(counted: Counted, tmp_path: Path) -> None:
    records = draw(tmp_path / "p", 9)
    (tmp_path / "p" / "8.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"made:8.*8\.png"):
        counted(dataset(records))
    counted(dataset(records[:8]))
    assert counted.computed == 0


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    records = draw(tmp_path / "p", 40)
    script = f"""
import sys, time
from pathlib import Path
from train.counted import Counted, dataset, draw
from seesay.train import caches
caches.FLUSH_SECONDS = 0.0
counted = Counted(Path({str(tmp_path / "cache")!r}), batch_size=2)
original = caches._pool
def slow(*arguments):
    time.sleep(0.1)
    return original(*arguments)
caches._pool = slow
counted(dataset(draw(Path({str(tmp_path / "p")!r}), 40)))
"""
    paths = {"PYTHONPATH": ":".join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", script], env=paths)
    journals = tmp_path / "cache"
    until = time.monotonic() + 60
    while sum(len(p.read_bytes().splitlines()) for p in journals.glob("*/journal.jsonl")) < 4:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    counted, data = Counted(tmp_path / "cache"), dataset(records)
    features = counted(data)
    assert 0 < counted.computed <= 34
    for i in range(0, 40, 7):
        close(features([i])[0], exact(counted.model, data, i))


def full_disk(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """Writing fails after so many bytes, with part of the last write done."""
    left = [room]
    real = os.pwrite

    def pwrite(handle: int, data: Any, offset: int) -> int:
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = real(handle, bytes(data)[: left[0]], offset)
        left[0] -= done
        return done

    monkeypatch.setattr(os, "pwrite", pwrite)


@pytest.mark.parametrize("room", [100, 150, 500, 900])
def test_a_full_disk_is_an_error_and_leaves_what_was_there(
    counted: Counted, tmp_path: Path, room: int
) -> None:
    records = draw(tmp_path / "p", 12)
    first = counted(dataset(records[:3]))(range(3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(caches, "FLUSH_SECONDS", 0.0)
        full_disk(patch, room)
        with pytest.raises(StorageError, match="No space left"):
            counted(dataset(records))
    features = counted(dataset(records))
    assert 0 < counted.computed <= 9
    assert torch.equal(features(range(3)), first)
    close(features([11])[0], exact(counted.model, dataset(records), 11))


def test_of_two_processes_one_computes_and_the_other_waits(
    counted: Counted, tmp_path: Path
) -> None:
    records = draw(tmp_path / "p", 3)
    counted(dataset(records[:1]))
    (place,) = (tmp_path / "cache").glob("image-*")
    first = Counted(tmp_path / "cache")
    with alone(place):
        assert len(counted(dataset(records[:1]))) == 1, "reading waits for nobody"
        pool = ThreadPoolExecutor(2)
        waiting = [pool.submit(each, dataset(records)) for each in (first, counted)]
        time.sleep(0.5)
        assert not any(future.done() for future in waiting)
    one, other = (future.result(60) for future in waiting)
    pool.shutdown()
    assert sorted([first.computed, counted.computed]) == [0, 2]
    assert torch.equal(one(range(3)), other(range(3)))


@pytest.mark.parametrize("name", ["rows.bin", "journal.jsonl", "pictures.bin"])
@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "gone", "noise"])
def test_damage_is_noticed_told_and_computed_again(
    counted: Counted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    harm: str,
) -> None:
    monkeypatch.setattr(caches, "FLUSH_SECONDS", 0.0)
    data = dataset(draw(tmp_path / "p", 8))
    wanted = counted(data)(range(8))
    (path,) = (tmp_path / "cache").rglob(name)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-3] ^= 4
    bad = {"flip": bytes(flipped), "cut": whole[:-3], "empty": b"", "noise": b"\x93" * len(whole)}
    path.unlink()
    if harm != "gone":
        path.write_bytes(bad[harm])
    with caplog.at_level(logging.WARNING, "seesay"):
        features = counted(data)
    assert torch.equal(features(range(8)), wanted)
    lost = 0 if name == "pictures.bin" else 4 if harm in ("flip", "cut") else 8
    assert counted.computed == lost, "only what was damaged is computed again"
    assert bool(caplog.messages) == (harm != "gone" or name == "rows.bin")
    caplog.clear()
    counted(data)
    assert (counted.computed, caplog.messages) == (0, [])


@pytest.mark.parametrize("name", ["rows.bin", "journal.jsonl"])
def test_wherever_a_file_is_cut_no_row_is_wrong_and_all_can_be_had_again(
    tmp_path: Path, name: str
) -> None:
    keys = np.array([f"key {i:02}" for i in range(8)], "S16")
    rows = np.arange(24, dtype=np.float16).reshape(8, 3)
    store = FeatureStore(tmp_path / "whole", 3)
    for start in (0, 2, 5):
        store.append(keys[start : start + 3], rows[start : start + 3])
    files = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    for length in range(len(files[name]) + 1):
        place = tmp_path / f"{length}"
        place.mkdir()
        for path, data in files.items():
            (place / path).write_bytes(data[:length] if path == name else data)
        cut = FeatureStore(place, 3)
        found = cut.find(keys) >= 0
        assert (cut.read(cut.find(keys)[found]) == rows[found]).all()
        if not found.all():
            cut.append(keys[~found], rows[~found])
        again = FeatureStore(place, 3)
        assert (again.read(again.find(keys)) == rows).all()
    assert found.all()


def test_many_keys_are_looked_up_at_once(tmp_path: Path) -> None:
    keys = np.frombuffer(np.random.default_rng(0).bytes(1_600_000), "S16")
    store = FeatureStore(tmp_path, 1)
    store.append(keys, (np.arange(100_000) % 1000)[:, None].astype(np.float16))
    began = time.perf_counter()
    assert (store.find(keys) == np.arange(100_000)).all()
    assert (store.find(keys[:5][::-1]) == np.arange(5)[::-1]).all()
    assert (store.find(np.array([b"no such key"], "S16")) == -1).all()
    assert time.perf_counter() - began < 5
