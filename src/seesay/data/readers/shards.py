"""Tar shards in webdataset's naming: 000017.jpg with 000017.txt, .json or .cls beside it."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO

from seesay.data.readers import rows
from seesay.data.readers.options import Options
from seesay.data.record import Dataset, Finding, Member, Record
from seesay.data.shards import Entry, expand, scan
from seesay.errors import InputError
from seesay.names import shown
from seesay.processing.folder import walk
from seesay.processing.image import SUFFIXES

FORM = "shards"
LOOKS_FOR = "tar shards: a .tar file, a folder of them, or shards-{0000..0009}.tar"
PICKLES = ("pyd", "pkl", "pickle", "pth", "pt")
MAX_TEXT = 1 << 20


def recognises(path: str) -> bool:
    """Whether this names tar files; so does a folder with shards and no pictures beside them."""
    if "{" in path or path.lstrip().startswith("pipe:"):
        return ".tar" in path
    if os.path.isdir(path):
        return bool(_inside(path)) and next(walk(path, recursive=False), None) is None
    return path.lower().endswith((".tar", ".tar.gz", ".tgz")) and os.path.isfile(path)


def read(path: str, options: Options) -> Dataset:
    """Read the headers of all shards; the pictures stay where they are.

    Raises:
        InputError: A shard is missing or compressed, or none has a picture.
    """
    options.only("tar shards")
    shards = _inside(path) if os.path.isdir(path) else expand(path)
    missing = [shard for shard in shards if not os.path.isfile(shard)]
    if missing:
        raise InputError(f"{len(missing)} of {len(shards)} shards are missing: {missing[0]}")
    findings: list[Finding] = []
    labels: dict[str, int] = {}
    records = _records(shards, findings, labels)
    dataset = Dataset(
        os.path.basename(os.path.normpath(path)), records, form=FORM, findings=findings
    )
    classes = rows.read_classes(os.path.dirname(os.path.abspath(shards[0])))
    if labels:
        rows.name_labels(dataset, list(labels), classes)
    return dataset


def _records(
    shards: list[str], findings: list[Finding], labels: dict[str, int]
) -> Iterator[Record]:
    row = 0
    for shard in shards:
        path, name = os.path.abspath(shard), os.path.basename(shard)
        left_out: Counter[str] = Counter()
        captioned = False
        with open(path, "rb") as file:
            for key, parts in _samples(path, left_out, findings):
                where = f"{name}:{shown(key)}"
                images = [e for e in parts.values() if e.name.lower().endswith(SUFFIXES)]
                if not images:
                    told = f"has no picture, only {', '.join(sorted(parts))}"
                    findings.append(Finding("bad-row", where, shown(told)))
                    continue
                raw = _content(file, parts["cls"]).strip() if "cls" in parts else ""
                label = labels.setdefault(raw, len(labels)) if raw else None
                given = _captions(file, parts, where, findings)
                captioned = captioned or given is not None
                texts = rows.captions(given, where, row, label, findings) if captioned else ()
                image = images[0]
                member = Member(path, image.offset, image.size, f"{name}/{image.name}")
                yield Record(member, texts, label, f"{name}/{key}", where)
                row += 1
        for why, count in left_out.items():
            findings.append(Finding("left-out", name, f"{count} members: {why}"))


def _samples(
    path: str, left_out: Counter[str], findings: list[Finding]
) -> Iterator[tuple[str, dict[str, Entry]]]:
    """Members that follow each other with the same name up to the first dot, by what follows it."""
    key, parts = "", dict[str, Entry]()
    try:
        for entry in scan(path):
            folder, _, file = entry.name.rpartition("/")
            stem, _, suffix = file.partition(".")
            suffix = suffix.lower()
            if entry.refused is not None:
                left_out[entry.refused] += 1
            elif not stem or not suffix:
                continue  # hidden files, and files of no kind
            elif suffix.rsplit(".", 1)[-1] in PICKLES:
                left_out["pickled, and pickles are never read"] += 1
            else:
                entry_key = f"{folder}/{stem}" if folder else stem
                if entry_key != key or suffix in parts:
                    if parts:
                        yield key, parts
                    key, parts = entry_key, {}
                parts[suffix] = entry
    except InputError as error:
        findings.append(Finding("bad-row", os.path.basename(path), shown(error.what)))
    if parts:
        yield key, parts


def _content(file: BinaryIO, entry: Entry) -> str:
    file.seek(entry.offset)
    return file.read(min(entry.size, MAX_TEXT)).decode("utf-8-sig", "surrogateescape")


def _captions(
    file: BinaryIO, parts: dict[str, Entry], where: str, findings: list[Finding]
) -> list[str] | None:
    """The captions in txt, else in json; None when the sample has neither."""
    for suffix in ("txt", "caption", "text"):
        if suffix in parts:
            return [_content(file, parts[suffix])]
    if "json" not in parts:
        return None
    try:
        value = json.loads(_content(file, parts["json"]))
    except (ValueError, RecursionError) as error:
        findings.append(Finding("bad-row", where, f"its json is none ({error})"))
        return None
    if not isinstance(value, dict):
        return None
    found = next((value[name] for name in rows.TEXT if name in value), None)
    return found if isinstance(found, list) or found is None else [str(found)]


def _inside(folder: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [os.path.join(folder, name) for name in names if name.lower().endswith(".tar")]
