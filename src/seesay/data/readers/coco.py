"""COCO's annotation files: captions by picture, boxes checked."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

from seesay.data.readers import rows
from seesay.data.readers.jsonl import load_json
from seesay.data.readers.options import Options
from seesay.data.readers.places import Places, Refused, find_root
from seesay.data.record import Dataset, Finding, Record
from seesay.errors import InputError
from seesay.names import shown

FORM = "coco"
LOOKS_FOR = "COCO's annotations: a .json file with images and annotations"


def recognises(path: str) -> bool:
    """Whether the file is a JSON object with both lists; the Karpathy splits have one."""
    return is_object(path, ("images", "annotations"), ())


def is_object(path: str, wanted: tuple[str, ...], unwanted: tuple[str, ...]) -> bool:
    """Whether a file is a JSON object with some keys and without others."""
    if not (path.lower().endswith(".json") and os.path.isfile(path)):
        return False
    with open(path, "rb") as file:
        if not file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
            return False
    value = load_json(path)
    return all(key in value for key in wanted) and not any(key in value for key in unwanted)


def read(path: str, options: Options) -> Dataset:
    """Read COCO annotations: one record per picture, with all its captions.

    Raises:
        InputError: The lists are not what COCO's are.
    """
    options.only("COCO annotations", "root")
    content = load_json(path)
    name = os.path.basename(path)
    findings: list[Finding] = []
    images, notes = by_image(name, content, findings)
    listed = content.get("categories")
    listed = listed if isinstance(listed, list) else []
    categories = {str(category.get("id")) for category in listed if isinstance(category, dict)}
    captioned = any("caption" in note for some in notes.values() for note in some)
    example = str(images[0]["file_name"]) if images else None
    # the archives unpack to annotations/captions_val2014.json and val2014/
    part = os.path.splitext(name)[0].rsplit("_", 1)[-1]
    guesses = [".", f"../{part}", f"../images/{part}", f"../{part}/images", "images", "..",
               "../images"]  # fmt: skip
    places = Places(find_root(options.root, path, guesses, example))

    def records() -> Iterator[Record]:
        row = 0
        for image in images:
            where = _where(name, "image", image)
            try:
                file = places.resolve(str(image["file_name"]))
            except Refused as error:
                findings.append(Finding("bad-row", where, shown(str(error))))
                continue
            texts: tuple[str, ...] = ()
            mine = notes.get(image["id"], [])
            if captioned:
                given = [note.get("caption") for note in mine if "caption" in note]
                texts = rows.captions(given, where, row, None, findings)
            for note in mine:
                wrong = _wrong_box(note, image, categories)
                if wrong:
                    findings.append(
                        Finding("bad-box", _where(name, "annotation", note), wrong, row)
                    )
            yield Record(file, texts, None, str(image["id"]), where)
            row += 1

    return Dataset(name, records(), form=FORM, root=places.root, findings=findings)


def by_image(
    name: str, content: Any, findings: list[Finding]
) -> tuple[list[dict[str, Any]], dict[Any, list[dict[str, Any]]]]:
    """Return the pictures of COCO's annotations, and the annotations of each by its id.

    Args:
        name: The file's.
        content: Of the file.
        findings: What is no picture or annotation, or about a picture that is not there, is told
            here and left out.

    Raises:
        InputError: One of both is no list.
    """
    images: dict[Any, dict[str, Any]] = {}
    for image in _objects(name, content, "images", ("id", "file_name"), findings):
        if images.setdefault(image["id"], image) is not image:
            findings.append(Finding("bad-row", _where(name, "image", image), "is listed twice"))
    notes: dict[Any, list[dict[str, Any]]] = {}
    for note in _objects(name, content, "annotations", ("image_id",), findings):
        if note["image_id"] in images:
            notes.setdefault(note["image_id"], []).append(note)
        else:
            told = f"is about image {note['image_id']!r}, which is not listed"
            findings.append(Finding("bad-row", _where(name, "annotation", note), told))
    return list(images.values()), notes


def _objects(
    name: str, content: Any, key: str, needed: tuple[str, ...], findings: list[Finding]
) -> list[dict[str, Any]]:
    values = content.get(key)
    if not isinstance(values, list):
        raise InputError(f"{name}: {key} is not a list")
    good = []
    for i, value in enumerate(values):
        missing = [n for n in needed if not isinstance(value, dict) or n not in value]
        if missing or isinstance(value[needed[0]], (dict, list)):
            told = f"lacks {' and '.join(missing or needed[:1])}"
            findings.append(Finding("bad-row", f"{name}:{key}[{i}]", told))
        else:
            good.append(value)
    return good


def _where(name: str, kind: str, value: dict[str, Any]) -> str:
    return f"{name}:{kind} {value.get('id', '?')}"


def _wrong_box(note: dict[str, Any], image: dict[str, Any], categories: set[str]) -> str | None:
    """What is wrong with the box of an annotation (x, y, width, height), None when nothing is."""
    if "category_id" in note and categories and str(note["category_id"]) not in categories:
        return f"category {note['category_id']!r} is not listed"
    if "bbox" not in note:
        return None
    box = note["bbox"]
    try:
        x, y, w, h = map(float, box)
    except (TypeError, ValueError):
        return f"box {box!r} is not four numbers"
    if not all(map(math.isfinite, (x, y, w, h))):
        return f"box {box} is not finite"
    if w <= 0 or h <= 0:
        return f"box {box} has no area (x, y, width, height)"
    width, height = (_side(image.get(name)) for name in ("width", "height"))
    # a pixel of grace: published boxes are rounded
    if x < -1 or y < -1 or x + w > width + 1 or y + h > height + 1:
        return f"box {box} leaves the picture of {width:g}x{height:g}"
    return None


def _side(value: Any) -> float:
    """The length of a side; without end when the file does not say it."""
    return float(value) if isinstance(value, (int, float)) and value > 0 else math.inf
