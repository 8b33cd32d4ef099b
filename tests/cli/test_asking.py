"""Commands of the tasks that write and judge: typed options, many items, bad ones, stable JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from contract.probes import build, picture
from seesay.cli.bind import command
from seesay.cli.fields import fields_of, lines_of, values
from seesay.cli.main import run
from seesay.errors import InputError, UsageError
from seesay.tasks.task import TASKS

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny checkpoints by the word after blip-tiny-."""
    folder = tmp_path_factory.mktemp("models")
    for kind in ("captioning", "vqa", "retrieval", "nlvr", "classification"):
        build(f"blip-tiny-{kind}").save(folder / kind)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        picture(40 + i, 30, i).save(folder / f"{i}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nonsense")
    return folder


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], models: Path) -> Say:
    """Run a command with one of the models: (exit code, stdout, stderr)."""

    def call(name: str, kind: str, *args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([name, *map(str, args), "--model", str(models / kind), "--dtype", "float32"])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_a_folder_is_described_and_bad_files_are_named(say: Say, photos: Path) -> None:
    code, out, err = say("caption", "captioning", photos, "--json", "--batch-size", 2)
    document = json.loads(out)
    assert code == 0
    assert document["task"] == "caption"
    assert [Path(r["image"]).name for r in document["results"]] == ["0.png", "1.png", "2.png"]
    for result in document["results"]:
        [only] = result["captions"]
        assert set(only) == {"text", "score", "logprobs", "finished"}
        assert len(only["logprobs"]) >= 4
    assert "broken.jpg" in document["failed"][0]["error"]
    assert "broken.jpg" in err
    assert say("caption", "captioning", photos, "--strict")[0] == 3
    code, out, _ = say("caption", "captioning", photos / "0.png", "--max-new-tokens", 3)
    assert len(out.splitlines()) == 1


def test_options_of_generation_reach_it_with_their_types(say: Say, photos: Path) -> None:
    image = photos / "1.png"

    def captions(*args: object) -> list[dict[str, Any]]:
        _, out, err = say("caption", "captioning", image, "--json", *args)
        assert not err, err
        found: list[dict[str, Any]] = json.loads(out)["results"][0]["captions"]
        return found

    sampled = ("--do-sample", "--top-p", "0.9", "--temperature", 0.7, "--seed", 7)
    several = captions(*sampled, "--num-return-sequences", 3)
    assert len(several) == 3
    assert captions(*sampled, "--num-return-sequences", 3) == several
    assert captions() == captions("--num-beams", 3, "--no-do-sample", "--early-stopping", "false")
    assert len(captions("--max-new-tokens", 3, "--num-beams", 1)[0]["logprobs"]) <= 3
    first = captions("--num-beams", 1, "--max-new-tokens", 1, "--min-length", 0)
    again = captions("--num-beams", 1, "--max-new-tokens", 1, "--suppressed-ids", "1,2，3")
    assert len(first) == len(again) == 1


def test_questions_about_one_image_are_answered_in_order(say: Say, photos: Path) -> None:
    code, out, _ = say("ask", "vqa", photos / "0.png", "what?", "how many dogs?", "--json")
    results = json.loads(out)["results"]
    assert code == 0
    assert [r["question"] for r in results] == ["what?", "how many dogs?"]
    assert all(r["answers"][0]["text"] for r in results)


def test_answers_are_chosen_from_a_list_or_a_file(say: Say, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("yes\n\n no \n三只\n", "utf-8")
    (tmp_path / "list.json").write_text('["yes", "no", "三只"]', "utf-8")
    asked = (photos / "0.png", "is it a dog?", "--json")
    found = [
        json.loads(say("ask", "vqa", *asked, *how)[1])["results"][0]["answers"]
        for how in (
            ("--answers", "yes，no, 三只"),
            ("--answers-file", tmp_path / "lines.txt"),
            ("--answers-file", tmp_path / "list.json"),
        )
    ]
    assert found[0] == found[1] == found[2]
    assert {answer["text"] for answer in found[0]} == {"yes", "no", "三只"}
    _, out, _ = say("ask", "vqa", *asked, "--answers", "yes,no,3", "--top", 2)
    assert len(json.loads(out)["results"][0]["answers"]) == 2


def test_pairs_videos_and_statements(say: Say, photos: Path) -> None:
    image, other = photos / "0.png", photos / "1.png"
    _, out, _ = say("match", "retrieval", image, "a dog", "a cat", "--json")
    for result in json.loads(out)["results"]:
        assert set(result) == {"image", "text", "itc", "itm", "probability"}
    (photos / "broken.jpg").unlink()
    code, out, _ = say("match", "retrieval", photos, "a dog", "--frames", 2, "--json")
    assert code == 0
    assert json.loads(out)["results"][0]["image"] == str(photos)
    _, out, _ = say("compare", "nlvr", image, other, "both are red", "--json")
    [result] = json.loads(out)["results"]
    assert set(result) == {"first", "second", "statement", "true", "probability"}
    _, out, _ = say("entail", "classification", image, "a dog sleeps", "--json")
    assert sum(s["score"] for s in json.loads(out)["results"][0]["scores"]) == pytest.approx(1)
    _, out, _ = say("relevance", "retrieval", image, "two dogs", "--layer", 0, "--json")
    assert [word["word"] for word in json.loads(out)["results"][0]["words"]] == ["two", "dogs"]


def test_features_of_images_texts_and_pairs_go_to_a_file(
    say: Say, photos: Path, tmp_path: Path
) -> None:
    target = tmp_path / "features.npz"
    code, out, _ = say("features", "retrieval", photos, "--out", target)
    assert (code, out) == (0, "")
    written = np.load(target)
    assert written["tokens"].shape == (3, 17, 20)
    assert written["lengths"].tolist() == [17, 17, 17]
    assert written["vectors"].shape == (3, 12)
    assert len(written["names"]) == 3
    say("features", "retrieval", photos, "--text", "a small dog", "--out", target)
    assert set(np.load(target)) == {"names", "pooled", "tokens", "lengths"}
    _, out, _ = say("features", "retrieval", "--text", "a small dog", "--json")
    [result] = json.loads(out)["results"]
    assert (result["of"], result["text"], len(result["vector"])) == ("text", "a small dog", 12)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["caption", "captioning", "a.png", "--num-beams", "many"], "'many' is not a valid int"),
        (["caption", "captioning", "a.png", "--num-beams", "0"], "num_beams=0"),
        (["caption", "captioning", "a.png", "--top-p", "0.9"], "without sampling"),
        (["caption", "captioning", "a.png", "--early-stopping", "soon"], "'soon' is not one of"),
        (["caption", "captioning", "a.png", "--suppressed-ids", "1,x"], "whole numbers"),
        (["caption", "captioning", "a.png", "--num-beens", "3"], "--num-beams"),
        (["caption", "captioning", "a.png", "--batch-size", "0"], "0 is not in the range"),
        (["caption", "vqa", "a.png"], "cannot caption"),
        (["ask", "vqa", "a.png"], "QUESTION"),
        (["ask", "vqa", "a.png", "what?", "--answers", "yes,yes"], "twice"),
        (["ask", "vqa", "a.png", "what?", "--answers", "a", "--num-beams", "2"], "no effect"),
        (["match", "retrieval", "a.png", "a", "--frames", "3"], "not a folder of frames"),
        (["relevance", "retrieval", "a.png", "a", "--layer", "9"], "layer=9"),
        (["compare", "nlvr", "a.png", "b.png"], "STATEMENT"),
        (["features", "retrieval"], "give image or text"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    say: Say, args: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        picture().save(name)
    code, out, err = say(*args)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_a_list_is_told_once(tmp_path: Path) -> None:
    fields = fields_of(TASKS["classify"].input_type())
    with pytest.raises(UsageError, match="--labels is missing"):
        values(fields, {"image": ("a.png",)})
    with pytest.raises(UsageError, match="one of the two"):
        values(fields, {"labels": ("a",), "labels_file": "x"})
    (tmp_path / "bad.json").write_text('{"yes": 1}')
    for name in ("bad.json", "absent.txt"):
        with pytest.raises(InputError, match=name):
            lines_of(str(tmp_path / name))


def test_every_field_of_every_task_has_a_parameter_and_help() -> None:
    for task in TASKS.values():
        built = command(task)
        known = {parameter.name for parameter in built.params}
        for field in fields_of(task.input_type()):
            if field.nested is None:
                assert field.name in known
                assert field.help.endswith("."), (task.name, field.name)
        for parameter in built.params:
            assert isinstance(parameter, click.Argument) or parameter.help, parameter.name
        flags = [flag for parameter in built.params for flag in parameter.opts]
        assert len(set(flags)) == len(flags)


def test_help_of_what_writes_imports_no_torch() -> None:
    script = (
        "import sys; from seesay.cli.main import run; run(['caption', '--help']); "
        "run(['ask', '--help']); sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0
