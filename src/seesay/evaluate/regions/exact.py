"""Boxes of a COCO file as they are, for location tokens have them in a thousand steps only."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from seesay.data.readers.jsonl import forget_json, load_json
from seesay.errors import InputError
from seesay.regions import Box, Region

Wanted = Mapping[str, tuple[Sequence[Region], frozenset[int]]]
"""By the number of a question: what is there, and which of it are crowds: see `Detections`."""

KEYS = ("images", "annotations", "categories")
"""What a COCO file of boxes has."""


def coco_boxes(path: str | os.PathLike[str]) -> Wanted | None:
    """Return the boxes of each picture by its number; None where a file has none.

    Raises:
        InputError: The file cannot be read, or a box in it is none.
    """
    name = os.fspath(path)
    if not name.lower().endswith(".json") or not os.path.isfile(name):
        return None
    try:
        content = load_json(name)
    finally:
        forget_json()
    if not isinstance(content, dict) or not {*KEYS} <= content.keys():
        return None
    listed, noted, named = (_objects(content, key, name) for key in KEYS)
    labels = {category.get("id"): str(category.get("name")) for category in named}
    found: dict[str, list[Region]] = {str(image.get("id")): [] for image in listed}
    crowds: dict[str, set[int]] = {image: set() for image in found}
    for note in noted:
        image = str(note.get("image_id"))
        if image in found and "bbox" in note:
            if note.get("iscrowd"):
                crowds[image].add(len(found[image]))
            found[image].append(_region(note, labels, name))
    return {image: (regions, frozenset(crowds[image])) for image, regions in found.items()}


def _objects(content: Mapping[str, Any], key: str, name: str) -> list[Mapping[str, Any]]:
    listed = content[key]
    if not isinstance(listed, list) or not all(isinstance(one, Mapping) for one in listed):
        raise InputError(f"{name}: {key} is no list of objects")
    return listed


def _region(note: Mapping[str, Any], labels: Mapping[Any, str], name: str) -> Region:
    try:
        left, top, width, height = (float(value) for value in note["bbox"])
        label = labels[note["category_id"]]
    except (TypeError, ValueError, KeyError):
        raise InputError(f"{name}: annotation {note.get('id')} is no box of a category") from None
    return Region(label=label, box=Box(left, top, left + width, top + height))
