"""A family written from docs/adding-a-family.md, and nothing else, is a whole citizen."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import seesay
import seesay.families
from contract import probes, suite
from repo.blocks import Block, blocks
from repo.source_tree import ROOT
from seesay import registry
from seesay.cli.main import run
from seesay.protocols import Generator, Matcher, TokenEncoder

WITHOUT = {Generator, Matcher, TokenEncoder, "caption", "answer", "compare", "entail", "features"}
"""What a dual encoder that does not pool in two steps cannot do, so that it owes no check of it."""
PAGE = blocks(ROOT / "docs" / "adding-a-family.md")


def titled(title: str) -> list[Block]:
    return [block for block in PAGE if block.title == title]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the page spells out, in a place of its own."""
    root = tmp_path_factory.mktemp("outside")
    for block in PAGE:
        if block.title.startswith("families/"):
            path = root / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, "utf-8")
    return root


@pytest.fixture(autouse=True)
def _registered(package: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register the family as the page says, and forget it afterwards."""
    paths = [*seesay.families.__path__, str(package / "families")]
    monkeypatch.setattr(seesay.families, "__path__", paths)
    monkeypatch.setattr(registry, "FAMILIES", dict(registry.FAMILIES))
    [line] = titled("registry")
    exec(line.text, {"FAMILIES": registry.FAMILIES})
    yield
    for name in [name for name in sys.modules if name.startswith("seesay.families.toy")]:
        del sys.modules[name]
    if hasattr(seesay.families, "toy"):
        del seesay.families.toy


@pytest.mark.parametrize("check", suite.CHECKS, ids=lambda check: check.__name__[6:])
def test_the_toy_family_keeps_the_contract(
    check: Callable[[str, Path], None], tmp_path: Path
) -> None:
    if probes.owes("toy-tiny", check):
        check("toy-tiny", tmp_path)
    else:
        assert check.capability in WITHOUT


def test_the_page_is_what_a_reader_can_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command under "See it work" works, in order, and tells of the family."""
    monkeypatch.chdir(tmp_path)
    probes.picture(60, 50).save("bicycle.png")
    (tmp_path / "photos").mkdir()
    for seed in range(3):
        probes.picture(60, 50, seed).save(tmp_path / "photos" / f"{seed}.png")
    told: dict[str, str] = {}
    for block in titled("try"):
        if block.language == "python":
            exec(block.text, {})
            continue
        for words in block.commands():
            capsys.readouterr()
            assert run(words) == 0, (words, capsys.readouterr())
            told[words[0]] = capsys.readouterr().out
    assert "| toy |" in told["models"]
    assert "toy" in told["info"]
    [embedded] = json.loads(told["embed"])["results"]
    assert len(embedded["vector"]) == 12
    assert "a bicycle" in told["classify"]
    converted = seesay.load(tmp_path / "toy-original", dtype="float32")
    original = seesay.load(tmp_path / "toy", dtype="float32")
    probes.same_tensors(original.module.state_dict(), converted.module.state_dict())


def test_listing_families_imports_no_torch_for_it(package: Path) -> None:
    declaration = (package / "families" / "toy" / "__init__.py").read_text("utf-8")
    assert "torch" not in declaration
    assert registry.family("toy").variants["toy-tiny"].config().embed_width == 12
