"""JSON lines: one object a line; and a JSON list of such objects, as BLIP's annotations are."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from seesay.data.readers import rows
from seesay.data.readers.options import Options
from seesay.data.readers.places import Places, find_root
from seesay.data.record import Dataset, Finding
from seesay.errors import InputError

FORM = "json lines"
LOOKS_FOR = "a .jsonl file of objects, or a .json list of them (image and caption, say)"


def recognises(path: str) -> bool:
    """Whether the name is that of JSON lines, or the content a JSON list."""
    if not os.path.isfile(path):
        return False
    if path.lower().endswith((".jsonl", ".ndjson")):
        return True
    if not path.lower().endswith(".json"):
        return False
    with open(path, "rb") as file:
        return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")


def read(path: str, options: Options, *, absolute: bool = True) -> Dataset:
    """Read JSON lines or a JSON list; `absolute` as in `Places`.

    Raises:
        InputError: No line is an object with known fields.
    """
    allowed = ("image_column", "text_column", "label_column", "split", "root")
    options.only("JSON lines", *allowed)
    findings: list[Finding] = []
    objects = listed(path) if path.lower().endswith(".json") else lines(path, findings)
    first = next(objects, None)
    if first is None:
        told = f": {findings[0].where}: {findings[0].what}" if findings else ""
        raise InputError(f"{path} has no JSON object{told}")
    columns = rows.Columns.find(path, list(first[1]), options)
    example = first[1].get(columns.image)
    guesses = [".", "images", "image"]
    root = find_root(options.root, path, guesses, example if isinstance(example, str) else None)

    def every() -> Iterator[tuple[str, dict[str, Any]]]:
        yield first
        yield from objects

    places = Places(root, absolute=absolute)
    return rows.read_rows(path, every(), columns, places, options, findings, form=FORM)


def lines(path: str, findings: list[Finding]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a file of JSON lines, each with where it stands."""
    name = os.path.basename(path)
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            where = f"{name}:{number}"
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                findings.append(Finding("bad-row", where, f"is not JSON ({error})"))
                continue
            if isinstance(value, dict):
                yield where, value
            else:
                told = f"is a JSON {type(value).__name__}, not an object"
                findings.append(Finding("bad-row", where, told))


def listed(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a JSON list, each with where it stands."""
    name = os.path.basename(path)
    for number, value in enumerate(load_json(path)):
        if not isinstance(value, dict):
            raise InputError(f"{name}[{number}] is a {type(value).__name__}, not an object")
        yield f"{name}[{number}]", value


def load_json(path: str) -> Any:
    """Read a JSON file whole; the last one read is kept until `forget_json`.

    Readers are asked in turn what a file is, and it may have hundreds of megabytes.

    Raises:
        InputError: It is not JSON, or not UTF-8.
    """
    return _load_json(path)


def forget_json() -> None:
    """Let go of the file that was read last."""
    _load_json.cache_clear()


@lru_cache(maxsize=1)
def _load_json(path: str) -> Any:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return json.load(file)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start})", "save it as UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error})") from None
