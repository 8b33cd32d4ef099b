"""The log has every step once, whatever happened to the process that wrote it."""

from __future__ import annotations

import errno
import io
import json
import math
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from seesay.errors import MissingExtra, StorageError
from seesay.train import curves, progress
from seesay.train import log as log_module
from seesay.train.curves import Curves, Series, smoothed, thinned
from seesay.train.log import Log, NullLog
from seesay.train.progress import duration

draw = Curves.draw


@pytest.fixture(autouse=True)
def no_picture(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Drawing takes a while; those who look at the picture call `draw`."""
    drawn: list[Path] = []
    monkeypatch.setattr(Curves, "draw", lambda self, path: drawn.append(path))
    return drawn


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def run(folder: Path, first: int, last: int, **options: Any) -> None:
    """Log steps `first` to `last`, with an evaluation after every fifth."""
    with Log(folder, 20, start=first - 1, quiet=True, **options) as log:
        for step in range(first, last + 1):
            log.step(step, {"loss": 1 / step, "lr": 1e-3, "epoch": step / 7}, samples=8)
            if step % 5 == 0:
                log.evaluation(step, {"image_to_text_r@1": step / 20, "loss": 1 / step})


def test_every_step_is_a_line_and_every_evaluation_another(tmp_path: Path) -> None:
    run(tmp_path, 1, 10)
    found = rows(tmp_path)
    assert [row["step"] for row in found] == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 10]
    assert found[1]["loss"] == 0.5
    assert found[1]["lr"] == 1e-3
    assert found[1]["epoch"] == 2 / 7
    assert found[1]["samples_per_second"] > 0
    assert found[5]["evaluation"] == {"image_to_text_r@1": 0.25, "loss": 0.2}
    assert [row["seconds"] for row in found] == sorted(row["seconds"] for row in found)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc here")
def test_steps_say_how_much_memory_the_process_holds(tmp_path: Path) -> None:
    run(tmp_path, 1, 1)
    assert 20 < rows(tmp_path)[0]["memory_mb"] < 100_000


def test_lines_are_on_disk_before_the_next_step(tmp_path: Path) -> None:
    log = Log(tmp_path, 20, quiet=True)
    log.step(1, {"loss": 1.0}, samples=1)
    assert len(rows(tmp_path)) == 1
    log.close()
    log.close()  # a second time is nothing


def test_a_resumed_run_has_each_step_once(tmp_path: Path) -> None:
    run(tmp_path, 1, 13)
    before = rows(tmp_path)
    run(tmp_path, 9, 20)  # the last saved state was that of step 8
    found = rows(tmp_path)
    assert [row["step"] for row in found if "loss" in row] == list(range(1, 21))
    assert [row["step"] for row in found if "evaluation" in row] == [5, 10, 15, 20]
    assert found[:9] == before[:9]
    assert found[9]["seconds"] >= found[8]["seconds"]


@pytest.mark.parametrize(
    "torn", ['{"step": 9, "lo', '{"step": 9, "loss": 0.1}', "\x00\x00", "[9]\n"]
)
def test_the_half_written_line_of_a_killed_run_is_mended(tmp_path: Path, torn: str) -> None:
    run(tmp_path, 1, 8)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(torn)
    run(tmp_path, 9, 12)
    assert [row["step"] for row in rows(tmp_path) if "loss" in row] == list(range(1, 13))


def test_a_fresh_run_starts_a_fresh_log(tmp_path: Path) -> None:
    run(tmp_path, 1, 8)
    run(tmp_path, 1, 2)
    assert [row["step"] for row in rows(tmp_path)] == [1, 2]


def test_a_kill_while_old_rows_are_dropped_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, 1, 8)
    before = (tmp_path / "metrics.jsonl").read_bytes()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(log_module.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        Log(tmp_path, 20, start=4, quiet=True)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_what_is_no_finite_number_is_null(tmp_path: Path) -> None:
    with Log(tmp_path, 20, quiet=True) as log:
        log.step(1, {"loss": math.nan, "grad_norm": math.inf}, samples=1)
        log.evaluation(1, {"top1": math.nan})
    first, second = rows(tmp_path)
    assert (first["loss"], first["grad_norm"], second["evaluation"]) == (None, None, {"top1": None})
    run(tmp_path, 2, 3)  # and is read back


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    log = Log(tmp_path, 20, quiet=True)
    log._file.close()
    log._file = Full()
    with pytest.raises(StorageError, match="No space left on device"):
        log.step(1, {"loss": 1.0}, samples=1)


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        Log(tmp_path / "file" / "run", 20, quiet=True)


@pytest.mark.parametrize(
    ("options", "package"),
    [({}, "matplotlib"), ({"tensorboard": True}, "tensorboard"), ({"wandb": "x"}, "wandb")],
)
def test_what_is_missing_is_said_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], package: str
) -> None:
    monkeypatch.setattr(log_module, "find_spec", lambda name: None if name == package else True)
    with pytest.raises(MissingExtra, match=package):
        Log(tmp_path, 20, quiet=True, **options)
    assert not list(tmp_path.iterdir())


def test_tensorboard_and_wandb_get_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, int, str, float]] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            assert purge_step == 1

        def add_scalar(self, name: str, value: float, step: int) -> None:
            sent.append(("board", step, name, value))

        def close(self) -> None:
            sent.append(("board", -1, "closed", 0))

    class Run:
        def log(self, metrics: dict[str, float], step: int) -> None:
            sent.extend(("wandb", step, name, value) for name, value in metrics.items())

        def finish(self) -> None:
            sent.append(("wandb", -1, "closed", 0))

    ids = []

    def init(**options: Any) -> Run:
        ids.append(options["id"])
        return Run()

    board = types.ModuleType("torch.utils.tensorboard")
    board.SummaryWriter = Writer  # type: ignore[attr-defined]
    wandb = types.ModuleType("wandb")
    wandb.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setattr(log_module, "find_spec", lambda name: True)
    run(tmp_path, 1, 5, tensorboard=True, wandb="project")
    for where in ("board", "wandb"):
        assert (where, 4, "loss", 0.25) in sent
        assert (where, 5, "evaluation/image_to_text_r@1", 0.25) in sent
        assert (where, -1, "closed", 0) in sent
    run(tmp_path, 6, 7, wandb="project")
    run(tmp_path, 1, 2, wandb="project")
    assert ids[0] == ids[1] != ids[2]  # resumed, then begun anew


def test_nothing_optional_is_imported_unless_asked_for() -> None:
    import subprocess

    code = (
        "import sys, seesay.train.log; print('matplotlib' in sys.modules, 'wandb' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_picture_is_drawn_at_evaluations_and_at_the_end(
    tmp_path: Path, no_picture: list[Path]
) -> None:
    run(tmp_path, 1, 4)
    assert no_picture == [tmp_path / "curves.png"]
    no_picture.clear()
    log = Log(tmp_path, 20, quiet=True)
    log._drawn -= log_module.DRAW_EVERY
    for _ in range(3):
        log.evaluation(1, {"top1": 0.5})
    assert len(no_picture) == 1  # three evaluations within a second are one picture
    log._drawn -= log_module.DRAW_ANYWAY
    log.step(1, {"loss": 1.0}, samples=1)
    log.close()
    assert len(no_picture) == 3


def test_the_picture_is_whole_and_needs_no_global_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Curves, "draw", draw)
    run(tmp_path, 1, 20)
    with Image.open(tmp_path / "curves.png") as picture:
        picture.load()
        assert picture.size[0] > 1000
    assert not list(tmp_path.glob("*.partial"))
    assert "matplotlib.pyplot" not in sys.modules


def test_a_run_of_no_steps_has_no_picture(tmp_path: Path) -> None:
    draw(Curves(), tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())


def test_evaluation_metrics_share_a_panel_where_they_share_a_scale() -> None:
    found = Curves()
    housekeeping = {"step": 1, "epoch": 0.1, "seconds": 2.0, "memory_mb": 3.0, "alpha": 0.4}
    found.add_step(1, {"loss": 2.0, "itc": 1.5, "itm_accuracy": 0.7, **housekeeping})
    recalls = {"image_to_text_r@1": 0.1, "image_to_text_r@5": 0.2, "text_to_image_r@1": 0.3}
    found.add_evaluation(1, {**recalls, "image_to_text_median_rank": 12, "loss": 1.5})
    panels = {title: list(lines) for title, lines, _ in found._panels()}
    assert panels == {
        "loss": ["training", "evaluation loss"],
        "itc": ["itc"],
        "itm accuracy": ["itm_accuracy"],
        "evaluation: image to text": ["image_to_text_r@1", "image_to_text_r@5"],
        "evaluation: text to image": ["text_to_image_r@1"],
        "image to text median rank": ["image_to_text_median_rank"],
    }


def test_smoothing_starts_at_the_first_value_and_steps_over_gaps() -> None:
    found = smoothed([4.0, 2.0, math.nan, 2.0], span=2)
    assert found[0] == 4.0
    assert math.isclose(found[1], (0.5 * 4 + 2) / 1.5)
    assert found[2] == found[1]
    assert 2 < found[3] < found[1]


def test_thinning_keeps_the_last_point() -> None:
    series = Series(list(range(1, 10_004)), [0.0] * 10_003)
    kept = thinned(series, 100)
    assert len(kept.steps) <= 100
    assert kept.steps[-1] == 10_003
    assert thinned(kept, 100) is kept
    assert curves.MAX_POINTS >= 1000


def test_a_pipe_gets_a_line_now_and_then_and_one_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Log(tmp_path, 100) as log:
        for step in range(1, 31):
            now[0] += 0.5
            log.step(step, {"loss": 2.0}, samples=8)
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert [line.split(",")[0] for line in lines] == ["step 20/100", "step 30/100"]
    assert "loss 2, 16 samples/s, 40s left" in lines[0]


def test_quiet_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, 1, 5)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Log(tmp_path, 4) as log:
        for step in range(1, 5):
            log.step(step, {"loss": 2.0}, samples=8)
        log.evaluation(4, {"top1": 0.5})
    text = capsys.readouterr().err
    assert "training" in text
    assert "4/4" in text
    assert "top1 0.5" in text


def test_other_processes_keep_no_log(tmp_path: Path) -> None:
    with NullLog() as log:
        log.step(1, {"loss": 1.0}, samples=1)
        log.evaluation(1, {"top1": 1.0})
        log.note("nothing")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(4.4, "4s"), (61, "1m 01s"), (3600 * 5 + 430, "5h 07m"), (86400 * 2 + 3600 * 3, "2d 03h")],
)
def test_durations_are_said_as_people_do(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize("norms", [(4.5, 0.0, 0.0), (0.0, 0.0), (1.0, math.nan, 0.0)])
def test_steps_that_learnt_nothing_are_drawn_without_a_word(
    tmp_path: Path, norms: tuple[float, ...], recwarn: pytest.WarningsRecorder
) -> None:
    curves = Curves()
    for step, norm in enumerate(norms, 1):
        curves.add_step(step, {"loss": norm, "lr": 1e-6, "grad_norm": norm})
    draw(curves, tmp_path / "curves.png")
    assert not [str(warning.message) for warning in recwarn]
