"""Imports walk downward only, and no family is named below `families/`.

Runs on source text with nothing but pytest and the standard library, so that it also runs before
anything is installed.
"""

from __future__ import annotations

import ast
import re

import pytest

from repo.source_tree import (
    PACKAGE,
    Import,
    imports,
    imports_of,
    modules,
    names_and_strings,
    tree,
    unit,
    words,
)

ORDER = (
    {"errors"},
    {"types", "config", "device", "extras", "names"},
    {"regions"},
    {"protocols"},
    {"nn"},
    {"networks"},
    {"processing"},
    {"generation"},
    {"family"},
    {"registry"},
    {"checkpoints"},
    {"families", "tasks"},
    {"model"},
    {"data", "index"},
    {"evaluate"},
    {"train"},
    {"recipes"},
    {"cli", "serve", "scale", "comfy"},
    {"__main__"},
)
"""The units from the ground up. Each may import those of the lines above its own, and itself.
Units of one line are strangers: they meet in `types`, `protocols` and the `Model` handle."""

STRANGERS = {
    "nn": {"types", "config", "protocols"},
    "processing": {"nn", "networks"},
    "checkpoints": {"nn", "networks"},
    "tasks": {"nn", "networks", "checkpoints"},
    "index": {"nn", "networks", "families"},
}
"""Lower down, and still not to be imported: it would tie two things that should not meet."""

ALLOWED = {
    ("seesay.registry", "families"): "the one place that resolves a family by its name",
    ("seesay.family", "tasks"): "the prompt sets of a family that brings none, named as a string",
}
"""(importing module, unit) -> why an upward import, always lazy, is right."""

FACADE = {"seesay": {"index", "model", "regions", "registry"}}
"""The package itself offers `load`, `create`, `Model`, `Collection`, `Region` and `Box` lazily."""


def rank(name: str) -> int:
    """The line of `ORDER` a unit stands on."""
    for i, line in enumerate(ORDER):
        if name in line:
            return i
    raise AssertionError(f"seesay.{name} has no place in ORDER of tests/repo/test_layers.py")


def objection(found: Import) -> str | None:
    """Why an import breaks the order, or None."""
    mine, theirs = unit(found.source), unit(found.target)
    where = f"{found.source}:{found.line} imports {found.target}"
    if mine == "families" and theirs == "families":
        own, other = found.source.split(".")[2:3], found.target.split(".")[2:3]
        return f"{where}: families do not know each other" if own != other else None
    if mine == theirs or (found.source, theirs) in ALLOWED:
        return None
    if mine == "seesay":
        return None if theirs in FACADE["seesay"] else f"{where}: not the facade's business"
    if theirs == "seesay":
        # the version is harmless; everything else of the facade leads upward
        fine = found.name == "__version__" or rank(mine) > rank("model")
        return None if fine else f"{where}: upward"
    if found.typing_only and mine not in ("nn", "networks"):
        return None  # a type in a signature binds nothing at run time
    if rank(theirs) > rank(mine):
        return f"{where}: upward"
    if rank(theirs) == rank(mine):
        return f"{where}: {mine} and {theirs} do not know each other"
    if theirs in STRANGERS.get(mine, ()):
        return f"{where}: {mine} has no business with {theirs}"
    return None


def test_imports_walk_downward_only() -> None:
    objections = [text for found in imports() if (text := objection(found))]
    assert not objections, "\n".join(objections)


def test_every_exception_of_the_order_is_still_needed() -> None:
    used = {(found.source, unit(found.target)) for found in imports()}
    # the registry names families in a table of strings, which imports_of reads as imports
    assert set(ALLOWED) <= used, f"remove from ALLOWED: {set(ALLOWED) - used}"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("seesay.nn.mlp", "from seesay.networks.vit import ViT"),
        ("seesay.nn.mlp", "from seesay.networks import vit"),
        ("seesay.networks.vit", "def f():\n    import seesay.families.clip.model"),
        (
            "seesay.networks.vit",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
            "    from seesay.families.clip.model import Clip",
        ),
        ("seesay.tasks.embed", "from seesay.families.clip.model import Clip"),
        ("seesay.families.clip.model", "from seesay.tasks.classify import TEMPLATES"),
        ("seesay.families.clip", "PROMPTS = 'seesay.tasks.classify:TEMPLATES'"),
        ("seesay.families.clip.model", "from seesay.families.mini.model import Mini"),
        ("seesay.index.store", "from seesay.cli.main import main"),
        ("seesay.model", "from seesay import Collection"),
        ("seesay.tasks.embed", "from seesay.nn.mlp import Mlp"),
        ("seesay.cellar.wine", "from seesay.errors import SeesayError"),
    ],
)
def test_the_check_sees_every_way_to_import_upward(module: str, source: str) -> None:
    def verdict(found: Import) -> str | None:
        try:
            return objection(found)
        except (AssertionError, KeyError) as error:
            return str(error)

    assert any(verdict(found) for found in imports_of(module, ast.parse(source)))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("seesay.networks.vit", "from seesay.nn.blocks import PreNormBlock"),
        ("seesay.families.clip.model", "from seesay.families.clip.configs import ClipConfig"),
        ("seesay.index.store", "from seesay.model import Model"),
        (
            "seesay.protocols",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
            "    from seesay.processing.image import ImageSpec",
        ),
        ("seesay.networks.vit", "import torch.nn"),
    ],
)
def test_the_check_lets_downward_imports_pass(module: str, source: str) -> None:
    assert not [
        text for found in imports_of(module, ast.parse(source)) if (text := objection(found))
    ]


def test_modules_see_tensors_only() -> None:
    """No strings to tokenize, pictures, paths or files where networks are defined."""
    foreign = {"PIL", "tokenizers", "pathlib", "os", "io", "json", "safetensors", "huggingface_hub"}
    ours = {"seesay.processing", "seesay.checkpoints", "seesay.tasks", "seesay.train"}
    found = []
    for name, path in modules().items():
        if unit(name) in ("nn", "networks") or re.fullmatch(r"seesay\.families\.\w+\.model", name):
            for node in ast.walk(tree(path)):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                found += [
                    f"{name}:{node.lineno} imports {target}"
                    for target in names
                    if target.split(".")[0] in foreign
                    or any(target == unit_ or target.startswith(unit_ + ".") for unit_ in ours)
                ]
    assert not found, "\n".join(found)


def test_no_family_is_named_below_families() -> None:
    families = {path.parent.name for path in (PACKAGE / "families").glob("*/__init__.py")}
    told = [
        f"{name}:{line} says {word!r}"
        for name, path in modules().items()
        if unit(name) in ("nn", "networks")
        for line, text in names_and_strings(tree(path))
        for word in words(text) & families
    ]
    assert not told, "networks do not know which model uses them:\n" + "\n".join(told)


def test_words_are_found_in_every_spelling() -> None:
    assert "clip" in words("clip_vit") & words("ClipModel") & words("a CLIP text")
    assert "blip2" in words("Blip2QFormer")
    assert "mini" not in words("minimum")
