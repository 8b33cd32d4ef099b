"""What the documentation shows can be typed, and what it prints from the code is up to date."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import seesay
from contract.probes import picture
from repo.blocks import blocks
from repo.source_tree import ROOT
from seesay.checkpoints.convert import convert
from seesay.cli.commands.models import task_table
from seesay.cli.main import cli, run
from seesay.families.florence2.configs import Florence2Config
from seesay.families.florence2.prompts import prompts
from seesay.family import Asking
from seesay.train.config import TrainConfig
from seesay.train.loop import Outcome
from seesay.train.run import run as train

PAGES = sorted(
    page
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    # its blocks are a family, which test_toy_family.py registers first
    if page.name != "adding-a-family.md"
)
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
OTHER_PROGRAMS = ("torchrun ", "make ", "pip ", "python ", "SEESAY_", "#", ".venv/bin/python")
"""How lines of shell blocks may begin that are not ours to run here."""
TINY = {
    "blip-image-captioning": "blip-tiny-captioning",
    "blip-vqa": "blip-tiny-vqa",
    "blip-itm": "blip-tiny-retrieval",
    "Florence-2": "florence2-tiny",
}
"""What the hub has in place of models whose names hold these words; else CLIP's tiny one."""

LEARNERS = {
    "pretraining": "blip-tiny",
    "retrieval": "blip-tiny-retrieval",
    "captioning": "blip-tiny-captioning",
    "vqa": "blip-tiny-vqa",
    "nlvr": "blip-tiny-nlvr",
    "classification": "blip-tiny-classification",
    "instruct": "florence2-tiny",
}
"""The smallest model that each objective trains, where that is not clip-tiny."""


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the pages speak of, and a hub of tiny models."""
    gallery = ROOT / "examples" / "gallery"
    (tmp_path / "photos").mkdir()
    for target, source in {"cat": "cat-face.jpg", "bicycle": "bicycle-drawing.jpg"}.items():
        original = gallery / source
        image = Image.open(original) if original.exists() else picture(60, 50)
        image.save(tmp_path / f"{target}.jpg")
        image.save(tmp_path / "photos" / f"{target}.jpg")
    (tmp_path / "photos" / "notes.jpg").write_text("no picture")
    for name in ("page.png", "letter.png", "street.jpg", "poster.jpg"):
        picture(300, 400).save(tmp_path / name)
    shutil.copytree(tmp_path / "photos", tmp_path / "pictures")
    shutil.copytree(ROOT / "examples" / "sheets", tmp_path / "examples" / "sheets")
    (tmp_path / "clip").mkdir()
    for i in range(6):
        picture(60, 50, i).save(tmp_path / "clip" / f"{i}.jpg")

    def fetch(repo: str, *_: object) -> tuple[Path, str]:
        tiny = next((name for word, name in TINY.items() if word in repo), "clip-tiny")
        native, folder = tmp_path / "native" / tiny, tmp_path / "hub" / tiny
        if not native.exists():
            seesay.create(tiny).save(native)
            if tiny == "clip-tiny":
                convert(native, folder, "hf")
        return folder if folder.exists() else native, "0" * 40

    for table in ("my.csv", "test.csv"):
        rows = [f"photos/{name}.jpg,a {name}" for name in ("cat", "bicycle")] * 2
        (tmp_path / table).write_text("\n".join(["filepath,title", *rows]) + "\n")

    rows = ["photos/cat.jpg,animal", "photos/bicycle.jpg,thing"] * 2
    (tmp_path / "labelled.csv").write_text("\n".join(["filepath,kind", *rows]) + "\n")

    def run_shortly(config: TrainConfig, out: str, **how: Any) -> Outcome:
        short = dataclasses.replace(config, steps=1, epochs=None)
        if config.objective.name != "probe":  # which names the model it was trained on
            tiny = LEARNERS.get(config.objective.name, "clip-tiny")
            short = dataclasses.replace(short, model=tiny, init="random")
        data = dataclasses.replace(config.data, batch_size=4, workers=0)
        # patterns and adapters are of the real model's names, and the tiny one has them too
        return train(dataclasses.replace(short, data=data), out, **how)

    def ask_briefly(config: Florence2Config) -> dict[str, Asking]:
        # random weights seldom end a text, and a thousand tokens are allowed
        return {
            task: dataclasses.replace(asking, options=asking.options.changed(max_new_tokens=24))
            for task, asking in prompts(config).items()
        }

    monkeypatch.setattr("seesay.families.florence2.prompts.prompts", ask_briefly)
    monkeypatch.setattr("seesay.train.run.run", run_shortly)
    monkeypatch.setattr("seesay.checkpoints.hub.fetch", fetch)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_code_of_a_page_runs_from_top_to_bottom(
    page: Path, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for block in blocks(page):
        where = f"{page.name}:{block.line}"
        if block.language == "python":
            exec(compile(block.text, where, "exec"), {})
        elif block.language in ("sh", "console"):
            for words in block.commands():
                capsys.readouterr()
                assert run(words) == 0, (where, words, capsys.readouterr().err)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_line_of_a_shell_block_goes_unread(page: Path) -> None:
    for block in blocks(page):
        if block.language in ("sh", "console"):
            lines = [line for line in block.text.replace("\\\n", " ").splitlines() if line.strip()]
            ours = [line for line in lines if line.removeprefix("$ ").startswith("seesay ")]
            rest = [line for line in lines if line not in ours]
            unread = [line for line in rest if not line.startswith(OTHER_PROGRAMS)]
            assert not unread, f"{page.name}:{block.line} {unread}"
            assert len(ours) == len(block.commands())


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_the_table_of_tasks_is_the_one_the_code_prints(page: Path) -> None:
    match = re.search(r"<!-- tasks -->\n(.*?)\n?<!-- /tasks -->", page.read_text("utf-8"), re.S)
    assert match, "the markers around the table are gone"
    assert match[1].strip() == task_table().strip(), "put in what `seesay models --tasks` prints"


def test_both_readmes_show_the_same_things() -> None:
    """They differ in words, so compare what is typed: commands, and calls from Python."""
    shown = []
    for page in READMES:
        found = blocks(page)
        commands = [
            [word for word in words if word.isascii() and " " not in word][:2]
            for block in found
            for words in block.commands()
        ]
        calls = [re.findall(r"\.(\w+)\(", b.text) for b in found if b.language == "python"]
        shown.append(([words[0] for words in commands], calls, len(found)))
    assert shown[0] == shown[1]


def test_every_command_is_shown_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    shown = ("index", "search", "classify", "match", "relevance", "embed", "convert", "models")
    known = cli.list_commands(None)
    for name in shown:
        assert name in known
        assert f"seesay {name}" in text


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "docs" / "adding-a-family.md"], ids=lambda p: p.name
)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not re.match(r"https?://|mailto:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_documentation_names_files_that_exist() -> None:
    folders = r"(?:src|tests|docs|examples|benchmarks)/"
    for page in [*PAGES, ROOT / "NOTICE"]:
        for name in re.findall(rf"(?<![\w/.]){folders}[\w./-]*[\w/]", page.read_text("utf-8")):
            assert (ROOT / name).exists(), f"{page.name} speaks of {name}"
