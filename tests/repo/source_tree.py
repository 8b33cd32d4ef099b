"""What the files of the package import and say, read with `ast` alone: nothing is imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
PACKAGE = SOURCE / "seesay"

REFERENCE = re.compile(r"seesay(\.\w+)+(:\w+)?")
"""A string that is resolved to a module later: "seesay.nn.mlp:Mlp" imports as much as a line."""


@dataclass(frozen=True)
class Import:
    """One import of one module of ours by another.

    Attributes:
        source: The importing module.
        target: The imported module.
        name: What was imported from it, or "".
        line: Where.
        typing_only: Inside `if TYPE_CHECKING:`, so that it never happens at run time.
    """

    source: str
    target: str
    name: str
    line: int
    typing_only: bool = False


def unit(module: str) -> str:
    """The part of the package a module belongs to: "nn" of "seesay.nn.mlp", "seesay" of itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = list(path.relative_to(SOURCE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text("utf-8"), str(path))


def imports() -> list[Import]:
    """Every import of one module of ours by another, the lazy ones inside functions included."""
    return [found for name, path in modules().items() for found in imports_of(name, tree(path))]


def imports_of(name: str, module: ast.Module) -> Iterator[Import]:
    """The imports of one module of ours."""
    typing_only = {
        id(inner)
        for node in ast.walk(module)
        if isinstance(node, ast.If) and _is_type_checking(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(module):
        targets: list[tuple[str, str]] = []
        if isinstance(node, ast.Import):
            targets = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}:{node.lineno} imports relatively; name the module"
            origin = node.module or ""
            # "from seesay.nn import masks" imports a module, "from seesay.nn.mlp import Mlp" not
            targets = [
                (inner, "")
                if (inner := f"{origin}.{alias.name}") in modules()
                else (origin, alias.name)
                for alias in node.names
            ]
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and REFERENCE.fullmatch(node.value)
            and ".".join(node.value.partition(":")[0].split(".")[:2]) in modules()
        ):
            target, _, attribute = node.value.partition(":")
            targets = [(target, attribute)]
        for target, what in targets:
            if target.split(".")[0] == "seesay":
                line = getattr(node, "lineno", 0)
                yield Import(name, target, what, line, id(node) in typing_only)


def names_and_strings(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of every identifier and every string that is not a docstring."""
    prose = {
        id(node.value)
        for node in ast.walk(module)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(module):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in prose:
                yield line, node.value
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield line, getattr(node, "module", None) or ""
            for alias in node.names:
                yield line, f"{alias.name} {alias.asname or ''}"
        for field in ("id", "attr", "name", "arg"):
            text = getattr(node, field, None)
            if isinstance(text, str):
                yield line, text


def words(text: str) -> set[str]:
    """The words of an identifier or string, lower case: "Blip2Model" has "blip2" and "model"."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text)
    return {word.lower() for word in re.findall(r"[A-Za-z]+[0-9]*", apart)}


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )
