"""Kills, full disks, other settings: what was found out is kept, and the files are the same."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.capfilt_models import Compared, Model
from data.made import write
from index.processes import die_at, end, kill_after, start
from seesay.data import open_dataset
from seesay.data.capfilt import capfilt
from seesay.data.capfilt_journal import Journal, Judged, Seen
from seesay.errors import StorageError, UsageError

COUNT = 60


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Small pictures, one of them damaged, with captions."""
    rows = ["image,caption"]
    for i in range(COUNT):
        pixels = np.random.default_rng(i).integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,picture number {i}")
    (tmp_path / "7.png").write_bytes(b"nothing")
    return write(tmp_path / "web.csv", "\n".join(rows) + "\n")


def verdict(text: str) -> float:
    """A probability that depends on the words alone."""
    return (sum(map(ord, text)) % 100) / 100


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that is left, in folders too."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def bootstrap(table: str, out: Path, **how: Any) -> None:
    how = {"captioner": Model(verdict), "batch_size": 4, "human": table, "blip_json": True, **how}
    capfilt(table, out, **how)


def test_a_run_that_is_killed_again_and_again_leaves_the_bytes_of_one_that_was_not(
    table: str, tmp_path: Path
) -> None:
    bootstrap(table, tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    assert set(whole) == {
        "captions.json", "captions.jsonl", "journal.capfilt", "rejected.jsonl", "statistics.json",
    }  # fmt: skip
    rng, kills, out = random.Random(0), 0, tmp_path / "killed"
    done = 0
    while True:
        seconds = (0.02 + kills / 400) * (0.2 + rng.random())
        if (status := kill_after(start(lambda: bootstrap(table, out)), seconds)) == 0:
            break
        assert status == -signal.SIGKILL
        kills += 1
        assert kills < 200
        if (out / "journal.capfilt").exists():
            lines = (out / "journal.capfilt").read_bytes().count(b"\n")
            assert lines >= done, "what was found out is never lost"
            done = lines
        for name in ("captions.jsonl", "statistics.json"):
            if (out / name).exists():
                assert (out / name).read_bytes() == whole[name]
    assert kills > 5
    assert contents(out) == whole


def test_a_death_at_any_change_of_the_file_system_loses_nothing(table: str, tmp_path: Path) -> None:
    first = {"limit": 10, "threshold": 0.3, "blip_json": False}
    bootstrap(table, tmp_path / "first", **first)
    bootstrap(table, tmp_path / "second", limit=13)
    before, after = contents(tmp_path / "first"), contents(tmp_path / "second")
    deaths = 0
    for step in range(2, 100):  # the first is to make the folder, which is there
        out = tmp_path / str(step)
        bootstrap(table, out, **first)

        def work(step: int = step, out: Path = out) -> None:
            die_at(step, before=step % 2 == 0)
            bootstrap(table, out, limit=13)

        status = end(start(work))
        for name, data in contents(out).items():
            if name in before and name != "journal.capfilt":
                assert data in (before[name], after[name]), "half a file"
        bootstrap(table, out, limit=13)
        assert contents(out) == after, step
        if status == 0:
            break
        deaths += 1
    assert deaths >= 10


def test_a_full_disk_is_told_and_what_was_found_out_is_kept(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap(table, tmp_path / "whole")
    whole, out, real = contents(tmp_path / "whole"), tmp_path / "full", os.write
    room = [3000]

    def full(file: int, data: Any) -> int:
        if room[0] <= 0:
            raise OSError(28, "No space left on device")
        part = bytes(data)[: room[0]]  # a disk that fills up takes what still fits
        room[0] -= len(part)
        return real(file, part)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageError, match="No space left"):
        bootstrap(table, out)
    monkeypatch.undo()
    begun = (out / "journal.capfilt").read_bytes()
    assert len(begun) == 3000
    assert contents(out).keys() == {"journal.capfilt"}
    seen: list[int] = []
    bootstrap(table, out, progress=lambda done, _: seen.append(done))
    assert seen[0] == begun.count(b"\n") - 1 > 4, "those that fitted are not asked for again"
    assert contents(out) == whole


@pytest.mark.parametrize("name", [".captions.jsonl", ".rejected.jsonl", ".statistics.json"])
def test_files_of_before_stay_when_the_new_ones_cannot_be_written(
    table: str, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out"
    bootstrap(table, out)
    before = contents(out)
    os.symlink("/dev/full", out / name)
    with pytest.raises(StorageError, match="No space left"):
        bootstrap(table, out, threshold=0.9)
    assert contents(out) == before


def test_an_end_that_is_cut_or_damaged_is_done_again(table: str, tmp_path: Path) -> None:
    bootstrap(table, tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    journal = whole["journal.capfilt"]
    rng = random.Random(1)
    for i in range(12):
        out = tmp_path / str(i)
        out.mkdir()
        place = rng.randrange(len(journal))
        if i % 2:
            damaged = journal[:place]
        else:
            place = max(place, journal.index(b"\n") + 1)
            damaged = journal[:place] + bytes([journal[place] ^ 1]) + journal[place + 1 :]
        (out / "journal.capfilt").write_bytes(damaged)
        bootstrap(table, out)
        assert contents(out) == whole, (i, place)


def test_what_was_begun_otherwise_is_not_gone_on_with(table: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bootstrap(table, out, limit=5)
    before = contents(out)
    other = write(tmp_path / "other.csv", "image,caption\n1.png,other\n")
    for changed, word in (
        ({"captioner": Model(verdict, "another")}, "captioner, filter"),
        ({"filter": Model(verdict, "another")}, "filter"),
        ({"rank": Compared(verdict), "candidates": 1}, "rank"),
        ({"seed": 1}, "options"),
        ({"top_p": 0.5}, "options"),
        ({"prompt": "a drawing of "}, "prompt"),
    ):
        with pytest.raises(UsageError, match=f"begun with other {word}"):
            bootstrap(table, out, **changed)
    with pytest.raises(UsageError, match="begun with other data"):
        bootstrap(other, out)
    assert contents(out) == before
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "journal.capfilt").write_text("a diary\nof mine\n")
    with pytest.raises(UsageError, match="something else"):
        bootstrap(table, tmp_path / "foreign")
    assert (tmp_path / "foreign" / "journal.capfilt").read_text() == "a diary\nof mine\n"


def test_two_processes_do_not_write_one_folder(table: str, tmp_path: Path) -> None:
    with (
        Journal(tmp_path / "journal.capfilt", {"data": "1"}),
        pytest.raises(StorageError, match="another process"),
    ):
        Journal(tmp_path / "journal.capfilt", {"data": "1"})


def test_a_journal_gives_back_what_it_was_given(tmp_path: Path) -> None:
    given = [
        Seen((Judged("web", "caf\udce9 \n 猫\u2028", None), Judged("synthetic", "a", 0.1))),
        Seen((), "a.csv:3: \udcff.jpg is no picture"),
        Seen(()),
    ]
    with Journal(tmp_path / "sub" / "j", {"seed": (1, 2)}) as journal:
        journal.append(given[:1])
        journal.append(given[1:])
        assert list(journal) == given
    with Journal(tmp_path / "sub" / "j", {"seed": (1, 2)}) as journal:
        assert journal.done == 3
        assert list(journal) == given


def test_memory_stays_bounded_however_many_pictures_there_are(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than three batches are decoded and not yet done with."""
    dataset = open_dataset(table)
    decoded, done, most = [0], [0], [0]
    real = dataset.picture

    def picture(i: int) -> Any:
        decoded[0] += 1
        most[0] = max(most[0], decoded[0] - done[0])
        return real(i)

    monkeypatch.setattr(dataset, "picture", picture)

    def progress(count: int, _: int) -> None:
        done[0] += count

    capfilt(dataset, tmp_path / "out", captioner=Model(), batch_size=4, progress=progress)
    assert decoded[0] == COUNT
    assert 4 < most[0] <= 12
    figures = json.loads((tmp_path / "out" / "statistics.json").read_text())
    assert figures["pictures"] == COUNT
