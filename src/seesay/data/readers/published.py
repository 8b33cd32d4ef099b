"""The published forms of questions, each as rows with named columns.

VQAv2 and OK-VQA (questions and annotations in two files), GQA, TextVQA and DocVQA, easy-VQA, NLVR2
and A-OKVQA. The lists of the BLIP repository and of LAVIS are such rows already.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from seesay.data.readers.coco import by_image
from seesay.data.readers.jsonl import load_json
from seesay.data.record import Finding
from seesay.errors import InputError

EASY = "questions.json"
"""What easy-VQA calls its listing, beside a folder of images."""
Row = tuple[str, Mapping[str, Any]]


def recognises(path: str) -> bool:
    """Whether a file is one of those below, or a list of NLVR2."""
    if not path.lower().endswith(".json") or not os.path.isfile(path) or in_lines(path):
        return False
    content = load_json(path)
    first = content[0] if isinstance(content, list) and content else None
    nlvr2 = isinstance(first, dict) and {"images", "sentence"} <= first.keys()
    return nlvr2 or _shape(content) not in (None, "boxes")


def rows(path: str, findings: list[Finding]) -> Iterator[Row] | None:
    """Return the rows of a JSON file; None where its own objects are the rows.

    Args:
        path: The file.
        findings: What of it becomes no row is told here.

    Raises:
        InputError: The other file of a pair is not beside it.
    """
    if in_lines(path):
        return None
    content, name = load_json(path), os.path.basename(path)
    shape = _shape(content)
    if shape == "easy":
        return _easy(name, content)
    if shape == "gqa":
        return _gqa(name, content)
    if shape == "data":
        return ((f"{name}:data[{i}]", row) for i, row in enumerate(content["data"]))
    if shape == "boxes":
        return _boxes(name, content, findings)
    if shape == "questions":
        return _vqa(name, content, _beside(path, "question", "annotation"))
    if shape == "annotations":
        other = _beside(path, "annotation", "question")
        if other is None:
            raise InputError(f"{path} has answers, and no file with their questions beside it")
        return _vqa(os.path.basename(other), load_json(other), path)
    return None


def in_lines(path: str) -> bool:
    """Whether a file has an object a line, which NLVR2's have in spite of their names."""
    if path.lower().endswith((".jsonl", ".ndjson")):
        return True
    with open(path, "rb") as file:
        first = file.readline(1 << 20).strip()
        try:
            return isinstance(json.loads(first), dict) and bool(file.readline(1 << 20).strip())
        except ValueError:
            return False


def named(found: Iterable[Row]) -> Iterator[Row]:
    """Name the pictures of rows that say them in the way of their data set: NLVR2, A-OKVQA."""
    for where, row in found:
        if "identifier" in row and "sentence" in row and "images" not in row:
            yield where, {**row, "images": _pair(str(row["identifier"]), row.get("directory"))}
        elif "choices" in row and "image_id" in row and "split" in row and "image" not in row:
            part, number = str(row["split"]), str(row["image_id"])
            yield where, {**row, "image": f"{part}2017/{number:0>12}.jpg"}
        else:
            yield where, row


def _shape(content: Any) -> str | None:
    """Which form a JSON file has."""
    if isinstance(content, list):
        first = content[0] if content else None
        return "easy" if isinstance(first, list) and len(first) == 3 else None
    if not isinstance(content, dict):
        return None
    for key, needed in (
        ("questions", "image_id"),
        ("annotations", "answers"),
        ("data", "question"),
        ("annotations", "bbox"),
    ):
        listed = content.get(key)
        first = listed[0] if isinstance(listed, list) and listed else None
        if isinstance(first, dict) and needed in first:
            return "boxes" if needed == "bbox" else key
    first = next(iter(content.values()), None)
    return "gqa" if isinstance(first, dict) and {"imageId", "question"} <= first.keys() else None


def _easy(name: str, content: list[Any]) -> Iterator[Row]:
    for i, row in enumerate(content):
        question, answer, image = row if isinstance(row, list) and len(row) == 3 else [None] * 3
        told = {"image": f"images/{image}.png", "question": question, "answer": answer}
        yield f"{name}[{i}]", told


def _boxes(name: str, content: dict[str, Any], findings: list[Finding]) -> Iterator[Row]:
    """COCO's pictures with their things; crowds are none."""
    listed = (each for each in content.get("categories", ()) if isinstance(each, dict))
    names = {str(each.get("id")): each.get("name") for each in listed}
    images, notes = by_image(name, content, findings)
    for image in images:
        here = [
            {"label": names.get(str(note.get("category_id"))), "bbox": note.get("bbox")}
            for note in notes.get(image["id"], ())
            if not note.get("iscrowd")
        ]
        told = {"image": image["file_name"], "id": image["id"], "objects": here}
        sides = {side: image.get(side) for side in ("width", "height")}
        yield f"{name}:image {image['id']}", {**told, **sides}


def _gqa(name: str, content: dict[str, Any]) -> Iterator[Row]:
    for key, row in content.items():
        types = row.get("types")
        yield (
            f"{name}:{key}",
            {
                "image": f"images/{row.get('imageId')}.jpg",
                "question": row.get("question"),
                "answer": row.get("answer"),
                "question_id": key,
                "kind": types.get("structural") if isinstance(types, dict) else None,
            },
        )


def _vqa(name: str, content: dict[str, Any], answers: str | None) -> Iterator[Row]:
    """Questions with the annotations of another file, if there is one, by their ids."""
    notes: dict[Any, tuple[tuple[str, ...], str | None]] = {}
    if answers is not None:
        same: dict[str, str] = {}  # ten annotators mostly say the same few words
        for note in load_json(answers)["annotations"]:
            said = (str(each.get("answer", "")) for each in note.get("answers", ()))
            words = tuple(same.setdefault(word, word) for word in said)
            kind = note.get("answer_type", note.get("question_type"))
            notes[note.get("question_id")] = words, kind and same.setdefault(kind, kind)
    part = str(content.get("data_subtype", "")).replace("-dev", "")
    drawn = str(content.get("data_type", "mscoco"))
    folder = f"{part}/" if part else ""
    prefix, suffix = ("COCO", "jpg") if drawn == "mscoco" else (drawn, "png")
    for row in content["questions"]:
        number = row.get("question_id")
        image = f"{prefix}_{part}_{row.get('image_id')!s:0>12}.{suffix}"
        told = {"image": folder + image, "question": row.get("question"), "question_id": number}
        if answers is not None:
            told["answers"], told["answer_type"] = notes.get(number, ((), None))
        yield f"{name}:question {number}", told


def _beside(path: str, this: str, other: str) -> str | None:
    """Return the file of a pair that goes with this one: of questions, or of annotations.

    v2_OpenEnded_mscoco_val2014_questions.json goes with v2_mscoco_val2014_annotations.json.
    """
    folder, name = os.path.split(os.path.abspath(path))

    def key(file: str, word: str) -> str | None:
        lower = file.lower()
        if word not in lower or not lower.endswith(".json"):
            return None
        plain = re.sub(rf"(openended|multiplechoice)_?|{word}s?", "", lower)
        return re.sub(r"[^a-z0-9]+", "_", plain)

    wanted = key(name, this)
    return next(
        (
            os.path.join(folder, file)
            for file in sorted(os.listdir(folder))
            if wanted is not None and key(file, other) == wanted
        ),
        None,
    )


def _pair(identifier: str, directory: Any) -> list[str]:
    """The two pictures of an NLVR2 statement: train-10171-0-0 is about train-10171-0-img0.png."""
    same = identifier.rpartition("-")[0]
    part = identifier.partition("-")[0]
    folder = part if directory is None else f"{part}/{directory}"
    return [f"{folder}/{same}-img{n}.png" for n in (0, 1)]
