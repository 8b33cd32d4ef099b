"""docs/data-formats.md shows files that are read as it says, and names columns that are known."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from data.made import pictures, write
from repo.blocks import blocks
from repo.source_tree import ROOT
from seesay.data import open_dataset, open_prompts, open_questions
from seesay.data.check import KINDS, check
from seesay.data.readers import asked, prompted, rows

PAGE = ROOT / "docs" / "data-formats.md"
SHOWN = [block for block in blocks(PAGE) if block.title]


@pytest.mark.parametrize("block", SHOWN, ids=[block.title for block in SHOWN])
def test_the_files_it_shows_are_read(tmp_path: Path, block) -> None:
    pictures(tmp_path, "photos/cat.jpg", "photos/bicycle.jpg", size=(640, 480))
    path = Path(write(tmp_path / block.title, block.text))
    if asked.columns_of(str(path)) & prompted.PLACED.keys():
        prompts = open_prompts(path)
        assert not check(prompts, look="decode").all
        assert any("<loc_" in answer for answer in prompts[0].answers)
        return
    if asked.recognises(str(path)):
        questions = open_questions(path)
        assert not check(questions, look="decode").all
        assert all(question.answers for question in questions)
        return
    dataset = open_dataset(path.parent if path.name.startswith("metadata") else path)
    findings = check(dataset, look="decode")
    assert not findings.all
    assert findings.captions > 0
    assert dataset[0].texts[0].lower().startswith("a cat looks into the camera")


def test_it_names_every_column_and_every_kind_of_finding() -> None:
    text = PAGE.read_text("utf-8")
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if "|" in line}
    for start, known in (
        ("the picture's file, needed", rows.IMAGE),
        ("its caption", rows.TEXT),
        ("its label", rows.LABEL),
        ("which picture it is", rows.IMAGE_ID),
        ("the second picture's file", asked.SECOND),
        ("the question, needed", asked.TEXT),
        ("its answer", asked.ANSWER),
        ("its number", asked.ID),
        ("its kind", asked.KIND),
        ("what may be chosen", asked.CHOICES),
        ("the right one of these", asked.RIGHT),
    ):
        assert tuple(re.findall(r"`(\w+)`", lines[start])) == known
    for kind, stops in KINDS.items():
        assert lines[f"`{kind}`"].split("|")[3].strip() == ("yes" if stops else "no"), kind
