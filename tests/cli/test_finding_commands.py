"""Commands of the tasks that say where things are: JSON, pictures and files of other programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import seesay
from contract.probes import build, picture
from seesay import registry
from seesay.cli.main import run
from seesay.model import Model
from tasks.scripted import Script

Say = Callable[..., tuple[int, str, str]]
REGION = {"label", "score", "box", "quad", "polygon", "instance"}
RESULT = {"image", "text", "regions", "size", "truncated", "raw", "score"}
QUAD = "<loc_0><loc_10><loc_499><loc_10><loc_499><loc_99><loc_0><loc_99>"
NEXT = "<loc_0><loc_600><loc_499><loc_600><loc_499><loc_799><loc_0><loc_799>"
LINES = {
    "Locate the objects with category name in the image.": "猫<loc_0><loc_0><loc_499><loc_999>",
    "What is the text in the image?": "first line\nsecond",
    "What is the text in the image, with regions?": f"first line{QUAD}second{NEXT}",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model that a folder holds, read once."""
    folder = tmp_path_factory.mktemp("models") / "florence2"
    build("florence2-tiny").save(folder)
    return seesay.load(folder, dtype="float32")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(2):
        picture(100 * (i + 1), 100, i).save(folder / f"{i}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nonsense")
    return folder


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, model: Model) -> Script:
    """The model, writing what the test says."""

    def line(asked: str) -> str:
        return LINES.get(asked, "a thing<loc_0><loc_0><loc_99><loc_99>")

    script = Script(model, line)
    monkeypatch.setattr("seesay.tasks.writing.decode", script.decode)
    return script


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, model: Model) -> Say:
    """Run a command: (exit code, stdout, stderr)."""
    monkeypatch.setattr("seesay.cli.bind.load_model", lambda *_, **__: model)

    def call(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([str(arg) for arg in args])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_a_folder_is_searched_and_bad_files_are_named(
    say: Say, script: Script, photos: Path
) -> None:
    code, out, err = say("detect", photos, "--json")
    document = json.loads(out)
    assert (code, document["task"]) == (0, "detect")
    first, second = document["results"]
    assert set(first) == RESULT
    assert set(first["regions"][0]) == REGION
    assert (first["size"], second["size"]) == ([100, 100], [200, 100])
    assert second["regions"][0]["label"] == "猫"
    assert second["regions"][0]["box"] == pytest.approx([0.1, 0.05, 99.9, 99.95])
    assert "broken.jpg" in document["failed"][0]["error"]
    assert "broken.jpg" in err
    assert say("detect", photos, "--strict")[0] == 3
    code, out, _ = say("detect", photos / "0.png")
    assert "猫 [0,0,50,100]" in out


def test_regions_are_drawn_and_written_for_other_programs(
    say: Say, script: Script, photos: Path, tmp_path: Path
) -> None:
    drawn, coco, studio = tmp_path / "out.png", tmp_path / "coco.json", tmp_path / "studio.json"
    image = photos / "1.png"
    code, *_ = say(
        "detect", image, "--save-annotated", drawn, "--coco", coco, "--label-studio", studio
    )
    assert code == 0
    with Image.open(drawn) as found, Image.open(image) as plain:
        assert found.width == 2 * found.height
        assert found.tobytes() != plain.convert("RGB").resize(found.size).tobytes()
    document = json.loads(coco.read_text("utf-8"))
    assert document["images"][0]["file_name"] == str(image)
    assert document["categories"] == [{"id": 1, "name": "猫"}]
    assert document["annotations"][0]["bbox"] == pytest.approx([0.1, 0.05, 99.8, 99.9])
    [task] = json.loads(studio.read_text("utf-8"))
    assert task["data"]["image"] == str(image)
    assert say("detect", photos, "--save-annotated", tmp_path / "many", "--coco", coco)[0] == 0
    assert len(list((tmp_path / "many").iterdir())) == 2
    assert len(json.loads(coco.read_text("utf-8"))["images"]) == 2


@pytest.mark.parametrize(
    ("args", "asked"),
    [
        (["detect", "--phrases", "a cat,dog"], "Locate a cat<and>dog in the image."),
        (["detect", "--what", "proposals"], "Locate the region proposals in the image."),
        (["ground", "{}", "a cat"], "Locate the phrases in the caption: a cat"),
        (["segment", "{}", "a cat"], "Locate a cat in the image with mask"),
        (
            ["segment", "--boxes", "10,10,20,50"],
            "What is the polygon mask of region <loc_100><loc_100><loc_200><loc_500>",
        ),
        (["read"], "What is the text in the image?"),
        (["read", "--regions"], "What is the text in the image, with regions?"),
        (["read", "--boxes", "0,0,50,100"], "What text is in the region "),
        (["describe", "--boxes", "0,0,50,100"], "What does the region "),
        (["describe", "--boxes", "0,0,50,100", "--what", "category"], "What is the region "),
        (["prompt", "{}", "<OD>"], "Locate the objects with category name in the image."),
        (["caption", "--length", "paragraph"], "Describe with a paragraph what is shown"),
        (["ask", "{}", "who?"], "<VQA>who?"),
        (["ask", "{}", "who?", "--document"], "<DocVQA>who?"),
    ],
)
def test_what_is_typed_is_what_is_asked(
    say: Say, script: Script, photos: Path, args: list[str], asked: str
) -> None:
    image = str(photos / "0.png")
    typed = [image if arg == "{}" else arg for arg in args]
    code, out, err = say(*typed, *([] if "{}" in args else [image]), "--json", "--quiet")
    assert (code, err) == (0, "")
    assert len(json.loads(out)["results"]) == 1
    assert script.asked[0][0].startswith(asked)


def test_many_boxes_are_described_at_once(say: Say, script: Script, photos: Path) -> None:
    boxes = ["--boxes", "0,0,50,100", "--boxes", "10,10，20,20", "--boxes=1.5,2,3,4"]
    _, out, _ = say("describe", photos / "0.png", *boxes, "--json")
    [result] = json.loads(out)["results"]
    assert [region["box"] for region in result["regions"]] == [
        [0, 0, 50, 100],
        [10, 10, 20, 20],
        [1.5, 2, 3, 4],
    ]
    assert len(script.asked) == 1
    _, out, _ = say("ground", photos, "a cat", "a dog", "--json")
    assert [result["caption"] for result in json.loads(out)["results"]] == ["a cat", "a dog"] * 2


def test_answers_whose_last_part_is_missing_are_named_beside_them(
    say: Say, script: Script, photos: Path
) -> None:
    script.lines = lambda asked: "a cat<loc_1><loc_2>" if "Locate" in asked else "words"
    code, out, err = say("ground", photos, "a cat")
    assert code == 0
    names = f"{photos / '0.png'}  a cat, {photos / '1.png'}  a cat"
    assert f"ended by itself, its last part incomplete: {names}\n" in err
    assert "--max-new-tokens" not in err  # more would change nothing
    assert "cut off" not in err
    assert "incomplete" not in out
    assert "incomplete" not in say("ground", photos, "a cat", "--quiet")[2]
    assert "incomplete" not in say("ground", photos / "0.png", "a cat", "--json")[2]
    script.lines = lambda asked: "a cat<loc_1><loc_2><loc_3><loc_4>a dog"
    assert "incomplete" in say("detect", photos / "0.png")[2]  # a label without a place
    script.lines = lambda asked: "words"
    for command in ("read", "caption"):
        _, _, err = say(command, photos / "0.png")
        assert "incomplete" not in err
        assert "cut off" not in err


@pytest.mark.parametrize("command", ["caption", "read", "ask"])
def test_a_text_that_a_length_ended_is_cut_off(say: Say, photos: Path, command: str) -> None:
    asked = ["what?"] if command == "ask" else []
    _, out, err = say(command, photos / "0.png", *asked, "--max-new-tokens", 2)
    assert out
    assert "cut off before the end" in err
    assert "--max-new-tokens lets more be written" in err
    assert "incomplete" not in err


def test_a_list_may_be_given_in_pieces(say: Say, script: Script, photos: Path) -> None:
    say("detect", photos / "0.png", "--phrases", "a cat,dog", "--phrases", "bird")
    assert script.asked[0][0] == "Locate a cat<and>dog<and>bird in the image."


def test_large_pages_are_read_in_tiles(say: Say, script: Script, photos: Path) -> None:
    code, out, _ = say("read", photos / "1.png", "--tiles", "2x1", "--json")
    assert code == 0
    [result] = json.loads(out)["results"]
    assert len(script.asked[0]) == 2
    assert [region["label"] for region in result["regions"]].count("second") == 2
    assert max(region["box"][3] for region in result["regions"]) > 50


@pytest.mark.parametrize("option", ["--coco", "--label-studio", "--save-annotated"])
def test_a_place_that_nothing_can_be_written_to_is_told_before_any_work(
    say: Say, script: Script, photos: Path, tmp_path: Path, option: str
) -> None:
    code, out, err = say("detect", photos / "0.png", option, tmp_path / "none" / "x.png")
    assert (code, out) == (5, "")
    assert "there is no folder" in err
    assert not script.asked


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["detect"], "IMAGE"),
        (["describe", "a.png"], "--boxes is missing"),
        (["describe", "a.png", "--boxes", "1,2,3"], "'1,2,3' is not x1,y1,x2,y2"),
        (["describe", "a.png", "--boxes", "1,2,3,x"], "x1,y1,x2,y2"),
        (["read", "a.png", "--tiles", "2"], "'2' is not rowsxcolumns"),
        (["read", "a.png", "--tiles", "9x1"], "tiles=(9, 1) is not (rows, columns), 1 to 8"),
        (["read", "a.png", "--image-size", "big"], "HEIGHTxWIDTH"),
        (["read", "a.png", "--boxes", "1,2,3,4", "--regions"], "boxes are read as they are"),
        (["segment", "a.png"], "a phrase or boxes"),
        (["detect", "a.png", "--phrases", " , "], "--phrases lists nothing"),
        (["detect", "a.png", "--what", "cats"], "'cats' is not one of"),
        (["detect", "a.png", "--save-annotated", "x.docx"], "no picture format"),
        (["ground", "a.png", "a", "b", "--save-annotated", "x.png"], "and 2 are drawn"),
        (["prompt", "a.png", "<OCR> please"], "stands alone"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    say: Say, args: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    picture().save("a.png")
    code, out, err = say(*args)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_a_size_that_the_model_cannot_look_at_is_a_wrong_argument(
    model: Model, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["read", str(photos / "0.png"), "--image-size", "5000", "--model", model.name])
    assert code == 2
    assert "5000 x 5000 pixels are" in capsys.readouterr().err


def test_without_a_model_the_one_for_pages_reads_and_finds_and_mini_does_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for asked in (("read",), ("detect",), ("ground",), ("answer", "document")):
        assert registry.default_model(*asked) == registry.PAGE_MODEL
    for asked in (("caption",), ("answer",), ("answer", "do_sample"), ("match",)):
        assert registry.default_model(*asked) == registry.DEFAULT_MODEL
    picture().save(tmp_path / "a.png")
    assert run(["read", str(tmp_path / "a.png"), "--max-new-tokens", "3"]) == 0
    assert registry.variant(registry.PAGE_MODEL)[1].limits in capsys.readouterr().err
    assert run(["read", str(tmp_path / "a.png"), "--max-new-tokens", "3", "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert run(["segment", str(tmp_path / "a.png"), "a dog"]) == 2
    said = capsys.readouterr().err
    assert "seesay/mini cannot segment" in said
    assert "Florence-2-base" in said
