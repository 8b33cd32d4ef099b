"""Karpathy's splits of COCO, Flickr30k and Flickr8k: dataset_coco.json and its like."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from seesay.data.readers import rows
from seesay.data.readers.coco import is_object
from seesay.data.readers.jsonl import load_json
from seesay.data.readers.options import Options
from seesay.data.readers.places import Places, Refused, find_root
from seesay.data.record import Dataset, Finding, Record
from seesay.errors import InputError, UsageError
from seesay.names import shown

FORM = "karpathy"
LOOKS_FOR = "a Karpathy split: dataset_coco.json, dataset_flickr30k.json"


def recognises(path: str) -> bool:
    """Whether the file is a JSON object with pictures and without annotations of their own."""
    return is_object(path, ("images",), ("annotations",))


def read(path: str, options: Options) -> Dataset:
    """Read a split file: one record per picture, with all its sentences.

    Raises:
        UsageError: The file has no such split.
        InputError: It is not what the published ones are.
    """
    options.only("a Karpathy split", "split", "root")
    name = os.path.basename(path)
    images = load_json(path)["images"]
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        raise InputError(f"{path}: images is not a list of objects")
    known = sorted({str(image.get("split")) for image in images})
    for part in options.splits:
        if part not in known:
            raise UsageError(f"{path} has no split {part!r}", f"it has {', '.join(known)}")
    findings: list[Finding] = []
    example = _file(images[0]) if images else None
    guesses = [".", "images", "flickr30k-images", "flickr30k_images", "Images", "..", "../images"]
    places = Places(find_root(options.root, path, guesses, example))

    def records() -> Iterator[Record]:
        row = 0
        for i, image in enumerate(images):
            where = f"{name}:images[{i}]"
            if options.splits and image.get("split") not in options.splits:
                continue
            try:
                file = places.resolve(_file(image) or "")
            except Refused as error:
                findings.append(Finding("bad-row", where, shown(str(error))))
                continue
            sentences = image.get("sentences")
            sentences = sentences if isinstance(sentences, list) else []
            given = [s.get("raw") if isinstance(s, dict) else s for s in sentences]
            texts = rows.captions(given, where, row, None, findings)
            number = image.get("cocoid", image.get("imgid", file))
            yield Record(file, texts, None, str(number), where)
            row += 1

    return Dataset(name, records(), form=FORM, root=places.root, findings=findings)


def _file(image: dict[str, Any]) -> str | None:
    """val2014/COCO_val2014_000000391895.jpg for COCO, 1000092795.jpg for the others."""
    name = image.get("filename")
    if not isinstance(name, str):
        return None
    folder = image.get("filepath")
    return f"{folder}/{name}" if isinstance(folder, str) and folder else name
