"""A folder of pictures: a folder per class, or a text file beside each picture."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from seesay.data.readers import rows
from seesay.data.readers.options import Options
from seesay.data.record import Dataset, Finding, Record
from seesay.errors import InputError
from seesay.names import shown
from seesay.processing.folder import walk

FORM = "folder"
LOOKS_FOR = "a folder of pictures, in a folder per class or with a .txt of captions beside each"
PARTS = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "testing"})


def recognises(path: str) -> bool:
    """Whether there is a picture somewhere below."""
    return os.path.isdir(path) and next(walk(path), None) is not None


def read(path: str, options: Options) -> Dataset:
    """List the pictures with the captions beside them, else with the class they lie in.

    Raises:
        InputError: The folder is divided into parts and none was chosen.
    """
    options.only("a folder of pictures", "split")
    root = os.path.abspath(path)
    parts = _folders(root)
    if options.split is not None:
        if options.split not in parts:
            raise InputError(f"{path} has no folder {options.split!r}")
        return read(os.path.join(root, options.split), replace(options, split=None))
    if parts and PARTS.issuperset(name.lower() for name in parts):
        raise InputError(f"which part of {path}?", f"say split={' or split='.join(parts)}")
    findings: list[Finding] = []
    locked: list[str] = []
    paths = list(walk(root, locked=locked))
    for folder in locked:
        findings.append(Finding("bad-row", shown(folder), "the folder may not be read"))
    captioned = any(os.path.isfile(_beside(image)) for image in paths)
    classes = None if captioned else _classes(root, paths)
    records = _captioned(root, paths, findings) if captioned else _labelled(root, paths, classes)
    name = os.path.basename(root)
    return Dataset(name, records, form=FORM, root=root, classes=classes, findings=findings)


def _captioned(root: str, paths: Sequence[str], findings: list[Finding]) -> Iterator[Record]:
    for row, path in enumerate(paths):
        beside = _beside(path)
        where = shown(os.path.relpath(beside, root))
        lines: list[str] = []
        try:
            with open(beside, encoding="utf-8-sig", errors="surrogateescape") as file:
                lines = [line for line in file.read().splitlines() if line.strip()]
        except FileNotFoundError:
            where = shown(os.path.relpath(path, root))
        except OSError as error:
            findings.append(Finding("bad-row", where, f"cannot be read ({error.strerror})", row))
        yield Record(path, rows.captions(lines, where, row, None, findings), None, path, where)


def _labelled(root: str, paths: Sequence[str], classes: tuple[str, ...] | None) -> Iterator[Record]:
    number = {name: i for i, name in enumerate(classes or ())}
    for path in paths:
        inside = os.path.relpath(path, root)
        label = number.get(inside.split(os.sep, 1)[0]) if os.sep in inside else None
        yield Record(path, (), label, path, shown(inside))


def _classes(root: str, paths: Sequence[str]) -> tuple[str, ...] | None:
    """The folders right below the root that have pictures, in alphabetical order."""
    start = len(os.path.join(root, ""))
    names = {path[start:].split(os.sep, 1)[0] for path in paths if os.sep in path[start:]}
    return tuple(sorted(names)) or None


def _folders(root: str) -> list[str]:
    with os.scandir(root) as listing:
        return sorted(e.name for e in listing if e.is_dir() and not e.name.startswith("."))


def _beside(image: str) -> str:
    return os.path.splitext(image)[0] + ".txt"
