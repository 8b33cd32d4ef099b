"""The command line as a user meets it: output, exit codes, one-line errors."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seesay.cli.main import run


@pytest.fixture
def pictures(tmp_path):
    """A folder with three pictures and one broken file."""
    folder = tmp_path / "pictures"
    (folder / "deep er").mkdir(parents=True)
    for name, colour in (("red.png", "red"), ("blue.jpg", "blue"), ("deep er/grün.png", "green")):
        Image.new("RGB", (40, 30), colour).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nonsense")
    return folder


@pytest.fixture
def say(capsys):
    """Run a command in this process: (exit code, stdout, stderr)."""

    def call(*args):
        code = run([str(arg) for arg in args])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


GALLERY = Path(__file__).parents[2] / "examples" / "gallery"
MINI = ("--model", "seesay/mini")


def test_classify_prints_json_alone_on_stdout_and_names_what_it_skipped(say, pictures):
    code, out, err = say("classify", pictures, "--labels", "red,蓝色", "--json", *MINI)
    document = json.loads(out)
    assert code == 0
    assert {r["image"].rsplit("/", 1)[1] for r in document["results"]} == {
        "red.png",
        "blue.jpg",
        "grün.png",
    }
    for result in document["results"]:
        assert sum(s["score"] for s in result["scores"]) == pytest.approx(1, abs=1e-4)
    assert "broken.jpg" in document["failed"][0]["error"]
    assert "broken.jpg" in err


def test_strict_makes_a_skipped_file_exit_3_and_all_failed_exits_4(say, pictures):
    assert say("classify", pictures, "--labels", "a,b", "--strict", *MINI)[0] == 3
    code, _, err = say("classify", pictures / "broken.jpg", "--labels", "a,b", *MINI)
    assert code == 4
    assert "broken.jpg" in err
    code, _, err = say("classify", pictures / "absent.jpg", "--labels", "a,b", *MINI)
    assert code == 4
    assert "no such file" in err


def test_labels_may_be_separated_by_chinese_commas(say, pictures):
    _, out, _ = say("classify", pictures / "red.png", "--labels", "猫，狗", "--json", *MINI)
    assert {s["label"] for s in json.loads(out)["results"][0]["scores"]} == {"猫", "狗"}


def test_match_scores_every_text(say, pictures):
    code, out, _ = say("match", pictures / "red.png", "red", "蓝", "--json", *MINI)
    results = json.loads(out)["results"]
    assert code == 0
    assert [r["text"] for r in results] == ["red", "蓝"]
    assert all(-1 <= r["itc"] <= 1 for r in results)


def test_embed_takes_images_and_texts_and_gives_unit_vectors(say, pictures):
    _, out, _ = say("embed", pictures / "red.png", "--text", "red", "--json", *MINI)
    results = json.loads(out)["results"]
    assert len(results) == 2
    for result in results:
        assert np.linalg.norm(result["vector"]) == pytest.approx(1, abs=1e-4)


def test_relevance_draws_over_the_picture(say, pictures, tmp_path):
    target, picture = tmp_path / "map.png", GALLERY / "honey-bee.jpg"
    code, out, _ = say("relevance", picture, "a bee", "--save-annotated", target, "--json", *MINI)
    assert code == 0
    assert Image.open(target).size == Image.open(picture).size
    result = json.loads(out)["results"][0]
    assert max(max(row) for row in result["grid"]) == pytest.approx(1)
    assert "picture" not in result


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["serch", "x"], 2, "Did you mean search"),
        (["classify"], 2, "Missing"),
        (["match", "a.jpg", "cat", "--model", "clip-vit-b-23"], 2, "clip-vit-b-32"),
        (["match", "a.jpg", "cat", "--device", "quantum"], 2, "quantum"),
        (["match", "a.jpg", "cat", "--dtype", "float12"], 2, "float12"),
        (["embed"], 2, "nothing to do"),
        (["info", "/nowhere/at/all"], 2, "nowhere"),
    ],
)
def test_mistakes_are_one_line_with_the_way_out(say, args, code, said):
    got, out, err = say(*args)
    assert (got, out) == (code, "")
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize("args", [["--debug", "info", "x/../y"], ["info", "x/../y", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(say, args):
    code, _, err = say(*args)
    assert code == 2
    assert "Traceback" in err


@pytest.mark.parametrize("command", ["classify", "match", "embed", "relevance"])
def test_json_is_valid_for_any_file_name(say, tmp_path, command):
    odd = os.path.join(os.fsencode(tmp_path), b"a\xff\x1b[31m\nb.png")
    shutil.copy(GALLERY / "espresso.jpg", odd)
    rest = {"classify": ["--labels", "a,b"], "embed": []}.get(command, ["coffee"])
    code, out, _ = say(command, os.fsdecode(odd), *rest, "--json", *MINI)
    assert code == 0
    assert json.loads(out)["results"][0]["image"].endswith("\x1b[31m\nb.png")
    _, out, _ = say(command, os.fsdecode(odd), *rest, *MINI)
    assert "\x1b" not in out
    assert len(out.splitlines()) == 1


def test_what_failed_is_named_in_json_with_its_request(say, pictures):
    _, out, _ = say("match", pictures / "broken.jpg", "a", "--json", *MINI)
    (failed,) = json.loads(out)["failed"]
    assert failed["image"].endswith("broken.jpg")
    assert failed["text"] == "a"
    assert failed["error"]


def test_embed_writes_vectors_and_names(say, pictures, tmp_path):
    target = tmp_path / "vectors.npz"
    code, out, _ = say("embed", pictures, "--out", target, *MINI)
    written = np.load(target)
    assert (code, out) == (0, "")
    assert written["vectors"].shape == (3, 384)
    assert np.linalg.norm(written["vectors"], axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert len(written["names"]) == 3


def test_a_picture_format_nobody_knows_is_refused_before_any_work(say, tmp_path):
    args = ["relevance", GALLERY / "owl.jpg", "owl", "--save-annotated", tmp_path / "a.foo"]
    code, _, err = say(*args)
    assert code == 2
    assert "a.foo" in err


def test_a_terminal_without_chinese_gets_escapes(pictures):
    args = [sys.executable, "-m", "seesay.cli.main", "--help"]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(args, capture_output=True, env=environment)
    assert done.returncode == 0
    assert b"classify" in done.stdout


def test_models_and_info_answer_in_json(say):
    listed = json.loads(say("models", "--json")[1])
    assert {"clip-vit-b-32", "seesay/mini"} <= {record["name"] for record in listed}
    shown = json.loads(say("info", "seesay/mini", "--json")[1])
    assert shown["parameters"] > 1_000_000
    assert "embed" in shown["tasks"]
    described = json.loads(say("info", "clip-vit-l-14", "--json")[1])
    assert described["config"]["image"]["width"] == 1024


def test_doctor_reports_every_check(say):
    code, out, _ = say("doctor", "--json")
    checks = {c["check"]: c["ok"] for c in json.loads(out)}
    assert checks["default model"]
    assert code == (0 if all(checks.values()) else 4)


def test_help_is_quick_because_it_imports_no_torch():
    script = (
        "import sys; from seesay.cli.main import run; run(['--help']); run(['classify', '--help']);"
        "sys.exit(any(m in sys.modules for m in ('torch', 'PIL', 'numpy', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0


def test_a_closed_pipe_is_not_an_error(pictures):
    command = f"{sys.executable} -m seesay.cli.main models | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_have_their_exit_codes(number, code):
    script = (
        # whoever runs the tests in the background has Ctrl-C ignored, and so would we
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "import time; from seesay.cli import main;"
        "main.cli.main = lambda **_: (print('busy', flush=True), time.sleep(60));"
        "main.main([])"
    )
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", script], stdout=pipe, stderr=pipe)
    assert process.stdout.readline() == b"busy\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"Traceback" not in err
