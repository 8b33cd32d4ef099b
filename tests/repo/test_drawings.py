"""The drawings to train on are whole, small and permitted, and their splits test what they say."""

from __future__ import annotations

import csv
from collections import Counter

import pytest
from PIL import Image

from repo.source_tree import ROOT
from seesay.recipes.mini.drawings import held_out

FOLDER = ROOT / "examples" / "drawings"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with open(FOLDER / "metadata.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_listed_picture_is_there_and_no_other(rows: list[dict[str, str]]) -> None:
    listed = {row["file_name"] for row in rows}
    assert len(listed) == len(rows)
    assert listed == {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.png")}
    for name in sorted(listed)[::50]:
        with Image.open(FOLDER / name) as image:
            assert image.size == (64, 64)
    assert sum(path.stat().st_size for path in FOLDER.rglob("*.*")) < 2_500_000


def test_every_row_has_its_names_and_a_licence_that_permits(rows: list[dict[str, str]]) -> None:
    for row in rows:
        assert all(row.values()), row
        assert row["licence"] in ("Apache-2.0", "MIT", "CC-BY-4.0")
    told = (FOLDER / "SOURCES.md").read_text("utf-8")
    assert all(f"| {vendor} |" in told for vendor in {row["vendor"] for row in rows})


def test_vendors_and_novel_concepts_are_held_out_whole(rows: list[dict[str, str]]) -> None:
    parts: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        parts.setdefault(row["split"], []).append(row)
    assert {split: len(part) for split, part in parts.items()} == {
        "train": 904,
        "validation": 226,
        "test": 226,
        "novel": 46,
    }
    vendors = {split: {row["vendor"] for row in part} for split, part in parts.items()}
    concepts = {split: {row["concept"] for row in part} for split, part in parts.items()}
    assert not vendors["train"] & (vendors["validation"] | vendors["test"])
    assert not vendors["validation"] & vendors["test"]
    assert concepts["train"] == concepts["validation"] == concepts["test"]
    assert not concepts["novel"] & concepts["train"]
    # nor has the default model been trained on them
    assert all(held_out(concept) for concept in concepts["novel"])
    # one caption, one picture: what retrieval on these splits is scored by
    for split in ("validation", "test", "novel"):
        assert max(Counter(row["text"] for row in parts[split]).values()) == 1
