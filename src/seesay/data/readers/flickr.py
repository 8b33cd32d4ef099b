"""Flickr30k as it is published: results_20130124.token, and results.csv with bars between."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from seesay.data.readers import rows
from seesay.data.readers.options import Options
from seesay.data.readers.places import Places, Refused, find_root
from seesay.data.record import Dataset, Finding, Record
from seesay.errors import InputError
from seesay.names import shown

FORM = "flickr30k"
LOOKS_FOR = "Flickr30k's results_20130124.token, or results.csv with | between its columns"
_TOKEN = re.compile(r"([^\t#]+)#\d+\t(.*)")
_BARS = re.compile(r"([^|]+)\|\s*\d+\s*\|(.*)")
_HEAD = re.compile(r"\s*image_name\s*\|")


def recognises(path: str) -> bool:
    """Whether the first line is that of one of the two files."""
    if not os.path.isfile(path) or not path.lower().endswith((".token", ".csv", ".txt")):
        return False
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
        head = file.readline(4096)
    return bool(_TOKEN.match(head) or _HEAD.match(head))


def read(path: str, options: Options) -> Dataset:
    """Read the captions: one record per picture, five captions each.

    Raises:
        InputError: No line is a caption.
    """
    options.only("Flickr30k", "root")
    name = os.path.basename(path)
    findings: list[Finding] = []
    # the lines of a picture follow each other in what is published, but need not
    found: dict[str, tuple[int, list[str]]] = {}
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            match = _TOKEN.fullmatch(line.rstrip("\n")) or _BARS.fullmatch(line.rstrip("\n"))
            if match:
                found.setdefault(match[1].strip(), (number, []))[1].append(match[2])
            elif line.strip() and not (number == 1 and _HEAD.match(line)):
                told = f"is no caption: {shown(line.strip()[:60])}"
                findings.append(Finding("bad-row", f"{name}:{number}", told))
    if not found:
        raise InputError(f"{path} has no captions")
    guesses = [
        ".", "flickr30k-images", "flickr30k_images", "images", "../flickr30k-images",
        "../flickr30k_images", "../images",
    ]  # fmt: skip
    places = Places(find_root(options.root, path, guesses, next(iter(found))))

    def records() -> Iterator[Record]:
        row = 0
        for image, (number, captions) in found.items():
            where = f"{name}:{number}"
            try:
                file = places.resolve(image)
            except Refused as error:
                findings.append(Finding("bad-row", where, shown(str(error))))
                continue
            texts = rows.captions(captions, where, row, None, findings)
            yield Record(file, texts, None, file, where)
            row += 1

    return Dataset(name, records(), form=FORM, root=places.root, findings=findings)
