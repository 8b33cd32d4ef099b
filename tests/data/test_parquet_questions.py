"""Questions in parquet files with their pictures inside, as the hub has DocVQA."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from contract.probes import build
from seesay.cli.main import run
from seesay.data import open_prompts, open_questions
from seesay.data.check import check
from seesay.data.readers import parquet as reader
from seesay.errors import InputError, MissingExtra
from seesay.train.config import DataConfig, EvaluateConfig
from seesay.train.run import run as train
from train import prompted

arrow = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")

COLOURS = ("red", "lime", "blue", "white", "black")


def encoded(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(stream, "PNG")
    return stream.getvalue()


def written(path: Path, images: list[Any] | None = None, **more: Any) -> Path:
    """Five rows about four pages, two rows in a group."""
    images = images or [{"bytes": encoded(colour), "path": "p.png"} for colour in COLOURS]
    columns = {
        "questionId": ["9", "8", "7", "6", "5"],
        "question": ["which colour?", "what?", "who?", "when?", "why?"],
        "image": images,
        "docId": [1, 2, 3, 3, 4],
        "answers": [["red", "Red"], ["lime"], ["K. Jones"], ["3 May"], ["so"]],
    }
    table = arrow.table(columns | more)
    arrow.parquet.write_table(table, path, row_group_size=2)
    return path


def colours(questions: Any) -> list[Any]:
    return [questions.picture(i).image.getpixel((0, 0)) for i in range(len(questions))]


RGB = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)]


def test_questions_and_pictures_are_those_of_the_rows(tmp_path: Path) -> None:
    questions = open_questions(written(tmp_path / "val.parquet"))
    assert [question.id for question in questions] == ["9", "8", "7", "6", "5"]
    assert questions[0].text == "which colour?"
    assert questions[0].answers == ("red", "Red")
    assert questions[3].where == "val.parquet[3]"
    assert colours(questions) == RGB
    assert questions.pictures[0].image_numbers.tolist() == [0, 1, 2, 2, 3]
    assert colours(questions.select([4, 0])) == [RGB[4], RGB[0]]
    assert check(questions, look="decode").stopping == []


def test_prompts_ask_about_documents(tmp_path: Path) -> None:
    prompts = open_prompts(written(tmp_path / "val.parquet"))
    assert prompts[4].text == "<DocVQA>why?"
    assert colours(prompts) == RGB


def test_bytes_and_files_are_pictures_too_and_shards_are_read_together(tmp_path: Path) -> None:
    written(tmp_path / "v-0.parquet", [encoded(colour) for colour in COLOURS])
    file = tmp_path / "p.png"
    file.write_bytes(encoded("lime"))
    pathed = [{"bytes": None, "path": str(file)} for _ in range(4)]
    written(tmp_path / "v-1.parquet", [*pathed, {"bytes": None, "path": None}])
    questions = open_questions(f"{tmp_path}/v-{{0,1}}.parquet")
    assert colours(questions[:9]) == [*RGB, *[RGB[1]] * 4]
    with pytest.raises(InputError, match=r"v-1\.parquet.* has no picture"):
        questions.picture(9)
    assert [(f.kind, f.row) for f in check(questions).stopping] == [("unreadable", 9)]


def test_only_the_row_group_that_is_wanted_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[int] = []
    opened = reader._opened

    class Counted:
        def __init__(self, path: str) -> None:
            self.table = opened(path)

        def read_row_group(self, group: int, columns: list[str]) -> Any:
            groups.append(group)
            return self.table.read_row_group(group, columns=columns)

        def iter_batches(self, batch_size: int, columns: list[str]) -> Any:
            assert "image" not in columns
            return self.table.iter_batches(batch_size=batch_size, columns=columns)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.table, name)

    monkeypatch.setattr(reader, "_opened", Counted)
    questions = open_questions(written(tmp_path / "val.parquet"))
    assert groups == []
    colours(questions)
    assert groups == [0, 1, 2]


def test_a_model_is_measured_on_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build("florence2-tiny").save(tmp_path / "model")
    path = written(tmp_path / "val.parquet")
    how = ("--model", str(tmp_path / "model"), "--num-beams", "1", "--max-new-tokens", "2")
    assert run(["eval", "docvqa", str(path), *how, "--json", "--quiet"]) == 0
    assert '"pictures": 4' in capsys.readouterr().out
    assert run(["data", "check", str(path), "--quiet"]) == 0


def test_a_model_is_trained_on_them(tmp_path: Path) -> None:
    path = written(tmp_path / "train.parquet")
    told = prompted.config(
        path,
        prompted.steady(tmp_path / "base"),
        data=DataConfig(path=str(path), batch_size=5, workers=2),
        evaluate=EvaluateConfig(),
        steps=2,
        epochs=None,
        evaluate_every=None,
        save_every=None,
    )
    train(told, tmp_path / "run", quiet=True, device="cpu")
    assert (tmp_path / "run" / "last" / "model.safetensors").is_file()


def test_what_cannot_be_read_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(InputError, match="not readable parquet"):
        open_questions(tmp_path / "t.parquet")
    path = written(tmp_path / "val.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtra, match=r"seesay\[data\]"):
        open_questions(path)
