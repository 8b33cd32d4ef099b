"""What a model said, as files: the result formats of COCO captions, VQA and NLVR2."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seesay.errors import InputError, UsageError
from seesay.index.publish import replace, storing

if TYPE_CHECKING:
    from seesay.data.questions import Questions

IDS = ("image_id", "question_id", "questionId", "identifier", "id")
SAID = ("caption", "answer", "prediction", "direct_answer", "multiple_choice")


@dataclass(frozen=True)
class Predictions:
    """What was said about pictures or questions, and where that was read.

    Attributes:
        name: The file.
        digest: Hex digest of its bytes.
        said: By the number or name of the picture or question.
    """

    name: str
    digest: str
    said: Mapping[str, str]

    def of(self, *names: str) -> str | None:
        """Return what was said of the first of several names that is known."""
        return next((self.said[name] for name in names if name in self.said), None)


def read_predictions(path: str | os.PathLike[str]) -> Predictions:
    """Read a result file: a JSON list of objects, or an object by id; lines with commas in .csv.

    Raises:
        InputError: It cannot be read, or says something twice.
    """
    name = os.fspath(path)
    try:
        data = Path(path).read_bytes()
        text = data.decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text))) if name.endswith(".csv") else _rows(text)
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{name} is not valid: {error}") from None
    said: dict[str, str] = {}
    for i, row in enumerate(rows):
        if len(row) != 2 or not all(isinstance(part, str) for part in row):
            wanted = '[{"image_id": 1, "caption": "a dog"}] or [{"question_id": 1, "answer": "2"}]'
            raise InputError(f"{name}: entry {i} is no prediction", f"write {wanted}")
        if row[0] in said:
            raise InputError(f"{name}: says two things of {row[0]}")
        said[row[0]] = row[1]
    return Predictions(os.path.basename(name), hashlib.sha256(data).hexdigest(), said)


def _rows(text: str) -> Iterable[tuple[Any, ...]]:
    content = json.loads(text)
    if isinstance(content, dict):
        content = [{"id": key, **_object(value)} for key, value in content.items()]
    if not isinstance(content, list):
        raise ValueError("it holds no list")
    return [_pair(row) for row in content]


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"answer": value}


def _pair(row: Any) -> tuple[Any, ...]:
    if not isinstance(row, dict):
        return ()
    known = next((row[key] for key in IDS if key in row), None)
    said = next((row[key] for key in SAID if key in row), None)
    return () if known is None or said is None else (str(known), str(said))


def write_predictions(
    path: str | os.PathLike[str], said: Mapping[str, str], keys: tuple[str, str]
) -> None:
    """Write what a model said.

    Args:
        path: A .json file; or .csv, which NLVR2's own program reads.
        said: By the number or name of the picture or question.
        keys: What the two are called: ("image_id", "caption").

    Raises:
        StorageError: It cannot be written.
    """
    path = Path(path)
    if path.suffix == ".csv":
        told = io.StringIO()
        csv.writer(told, lineterminator="\n").writerows(said.items())
        text = told.getvalue()
    else:
        rows = [{keys[0]: numbered(name), keys[1]: value} for name, value in said.items()]
        text = json.dumps(rows, ensure_ascii=False)
    with storing(path):
        replace(path, text.encode("utf-8", "surrogatepass"))


def check_target(path: str | os.PathLike[str] | None) -> None:
    """Refuse a file for predictions that could not be written after the work is done.

    Raises:
        UsageError: It is a folder, or would lie in one that does not exist.
    """
    if path is not None and (Path(path).is_dir() or not Path(path).absolute().parent.is_dir()):
        raise UsageError(f"predictions cannot be written to {path}", "name a file in a folder")


def check_numbers(questions: Questions, rows: Iterable[int]) -> None:
    """Refuse questions that a result file, which goes by their numbers, could not tell apart.

    Raises:
        InputError: Two have the same number.
    """
    seen: dict[str, int] = {}
    for row in rows:
        number = questions[row].id
        first = seen.setdefault(number, row)
        if first != row:
            raise InputError(
                f"{questions[first].where} and {questions[row].where} are both number {number}",
                "predictions go by it: a column question_id tells them apart",
            )


def names_of_picture(image_id: str, file: str) -> tuple[str, ...]:
    """Return what a result file may call a picture: its id, its file, the number in that."""
    base = os.path.basename(file)
    stem = os.path.splitext(base)[0]
    number = re.search(r"(\d+)$", stem)
    return (image_id, base, stem, *([str(int(number[1]))] if number else []))


def number_of_picture(image_id: str, file: str) -> str:
    """Return what a result file calls a picture: COCO's number where it has one, else its id."""
    stem = os.path.splitext(os.path.basename(file))[0]
    number = re.fullmatch(r"(?:COCO_\w+_)?(\d{12})", stem)
    if image_id.isdigit() or number is None:
        return os.path.basename(image_id)
    return str(int(number[1]))


def numbered(name: str) -> str | int:
    """Return a name that is a plain whole number as one."""
    return int(name) if re.fullmatch(r"0|[1-9]\d{0,17}", name) else name


def domains(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the domain of each picture by its id, where a captions file tells: NoCaps.

    Raises:
        InputError: The file cannot be read.
    """
    from seesay.data.readers.jsonl import load_json

    if not (os.fspath(path).lower().endswith(".json") and os.path.isfile(path)):
        return {}
    content = load_json(os.fspath(path))
    images = content.get("images") if isinstance(content, dict) else None
    listed = images if isinstance(images, list) else []
    return {
        str(image["id"]): str(image["domain"])
        for image in listed
        if isinstance(image, dict) and "id" in image and "domain" in image
    }
