"""Rules of the house that a reader could forget: sizes, names, dangerous calls, versions."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import seesay
from repo.source_tree import PACKAGE, ROOT, modules, names_and_strings, tree

MAX_LINES = 400
BANNED_STEMS = {"utils", "util", "misc", "common", "helpers", "helper", "base"}
UNSAFE = {"strict": False, "weights_only": False, "allow_pickle": True, "trust_remote_code": True}
"""Keyword arguments with the value that turns a safeguard off; that of `zip` is none."""
MENTIONS = {"torchvision": {"seesay.cli.commands.doctor"}, "trust_remote_code": set[str]()}
"""Words that code may not contain, and the modules that may: doctor tells of a broken one."""
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
FOREIGN = (
    (r"(?<![\w.-])/(work|root|home/\w+|Users/\w+|tmp/\w+|bash_jobs)\b", "a path of one machine"),
    (r"--(extra-)?index-url|--find-links|pythonhosted|/simple/?\b", "a package registry"),
    (r"https?://(?!127\.)\d+\.\d+\.\d+\.\d+", "the address of a machine"),
    (r"https?://(?!localhost)[\w-]+(:\d+)?/", "a host of an inner network"),
    (r"\b[\w-]+\.(internal|intranet|corp|lan)\b(?!\()", "a host of an inner network"),
)


def tracked() -> list[Path]:
    """Every file that is, or is about to be, under version control."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode or not listed.stdout:
        pytest.skip("not a git checkout")
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return sorted({path for path in paths if path.is_file()})


def texts() -> Iterator[tuple[str, str]]:
    """Name and content of the tracked files that are text."""
    for path in tracked():
        data = path.read_bytes()
        if b"\0" not in data:
            yield path.relative_to(ROOT).as_posix(), data.decode("utf-8", "replace")


def test_no_python_file_is_longer_than_a_reader_can_hold() -> None:
    long = {
        name: count
        for name, text in texts()
        if name.endswith(".py") and (count := text.count("\n")) > MAX_LINES
    }
    assert not long, f"more than {MAX_LINES} lines, split them: {long}"


def test_no_file_is_named_for_nothing() -> None:
    bad = [str(path) for path in tracked() if path.suffix == ".py" and path.stem in BANNED_STEMS]
    assert not bad, f"name them for what they do: {bad}"


def test_no_safeguard_is_switched_off() -> None:
    found = []
    for name, path in modules().items():
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            where = f"{name}:{node.lineno} {called}"
            found += [
                f"{where}({keyword.arg}=...)"
                for keyword in node.keywords
                if keyword.arg in UNSAFE
                and isinstance(keyword.value, ast.Constant)
                and keyword.value.value is UNSAFE[keyword.arg]
                and not (called == "zip" and keyword.arg == "strict")
            ]
            if called.endswith("load_state_dict") and len(node.args) > 1:
                found.append(f"{where}: `strict` by position")
            if called in ("eval", "exec", "os.system", "pickle.load", "pickle.loads"):
                found.append(where)
    assert not found, found


@pytest.mark.parametrize("word", MENTIONS)
def test_what_breaks_users_is_not_used(word: str) -> None:
    found = [
        f"{name}:{line}"
        for name, path in modules().items()
        if name not in MENTIONS[word]
        for line, text in names_and_strings(tree(path))
        if word in text
    ]
    assert not found, found


def test_nothing_is_left_unfinished() -> None:
    found = [
        f"{name}:{number}"
        for name, text in texts()
        if name.endswith((".py", ".toml")) and name != "tests/repo/test_house.py"
        for number, line in enumerate(text.splitlines(), 1)
        if UNFINISHED.search(line) or "NotImplementedError" in line
    ]
    assert not found, found


def test_no_file_tells_of_the_machine_it_was_written_on() -> None:
    found = [
        f"{name}:{number} has {what}: {match[0]}"
        for name, text in texts()
        if name != "tests/repo/test_house.py"
        for pattern, what in FOREIGN
        for number, line in enumerate(text.splitlines(), 1)
        for match in re.finditer(pattern, line)
    ]
    assert not found, "\n".join(found)


def test_one_version_is_told_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.M)
    assert versions, "CHANGELOG.md lists no version"
    assert project["version"] == seesay.__version__ == versions[0]


def test_the_licence_is_there_and_ships() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text("utf-8")
    for pattern in project["license-files"]:
        found = list(ROOT.glob(pattern))
        assert found, pattern
        assert all(path.stat().st_size > 200 for path in found)


def test_everything_in_the_package_is_installed_with_it() -> None:
    """What pyproject.toml does not list works in a clone and is missing from a wheel."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    patterns = settings["package-data"]["seesay"]
    left = []
    for path in tracked():
        if PACKAGE in path.parents:
            inside = path.relative_to(PACKAGE)
            names = [inside, inside.relative_to(inside.parts[0])] if inside.parts[1:] else [inside]
            listed = any(name.match(pattern) for name in names for pattern in patterns)
            if path.suffix != ".py" and not listed:
                left.append(str(inside))
            if path.suffix == ".py":
                assert (path.parent / "__init__.py").exists(), f"{inside.parent} is no package"
    assert not left, f"package-data in pyproject.toml does not cover {left}"


def test_make_has_the_targets_that_the_readme_promises() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert {"demo", "test", "check", "bench"} <= set(targets)
    runner = (ROOT / ".ci" / "run").read_text("utf-8")
    assert "make check" in runner
    assert "make test" in runner
