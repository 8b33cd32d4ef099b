"""Rows with named columns to records: what CSV, JSON lines, JSON lists and parquet share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seesay.data.readers.options import Options
from seesay.data.readers.places import Places, Refused
from seesay.data.record import Dataset, Finding, Record
from seesay.errors import InputError, nearest
from seesay.names import shown

IMAGE = ("filepath", "file_name", "image", "image_path", "path", "filename", "image_name", "file")
TEXT = ("title", "caption", "text", "captions", "texts", "sentence", "sentences", "description")
LABEL = ("label", "class", "class_name", "category", "label_name")
IMAGE_ID = ("image_id", "imgid", "img_id")
CLASSES_FILE = "classes.txt"
"""Beside a listing: the names of its labels, one a line."""


@dataclass(frozen=True)
class Columns:
    """Which column is what; None for those a listing lacks."""

    image: str
    text: str | None
    label: str | None
    image_id: str | None
    split: str | None

    @classmethod
    def find(cls, path: str, names: Sequence[str], options: Options) -> Columns:
        """Recognise the columns by their names, those the user gave first.

        Raises:
            InputError: There is no picture column, nothing to learn from, or two that could be it.
        """
        label = choose(path, names, LABEL, options.label_column, "label_column")
        text = choose(path, names, TEXT, options.text_column, "text_column")
        image = choose(path, names, IMAGE, options.image_column, "image_column")
        if image is None:
            wanted = [*IMAGE, "image_column"]
            near = "".join(nearest(name, wanted) for name in names)
            raise InputError(
                f"{path} has no column with the pictures' file names: {_listed(names)}.{near}",
                f"call it {' or '.join(IMAGE[:3])}, or name it: image_column=NAME "
                "(--image-column, or --set data.image_column)",
            )
        split = next((n for n in names if n.lower() == "split"), None)
        if options.split is not None and split is None:
            raise InputError(
                f"{path} has no column 'split' to choose {options.split!r} by", "leave split out"
            )
        image_id = next((n for n in names if n.lower() in IMAGE_ID and n != image), None)
        return cls(image, text, label, image_id, split)


def choose(
    path: str, names: Sequence[str], known: Sequence[str], given: str | None, option: str
) -> str | None:
    """Return the column that was given, else the one with a known name, else None.

    Raises:
        InputError: There is no such column, or two have known names.
    """
    if given is not None:
        if given in names:
            return given
        raise InputError(
            f"{path} has no column {given!r}, but {_listed(names)}.{nearest(given, names)}"
        )
    found = [name for name in names if name.strip().lower() in known]
    if len(found) > 1:
        raise InputError(f"{path} has {' and '.join(found)}: which?", f"say {option}={found[0]}")
    return found[0] if found else None


def _listed(names: Sequence[str]) -> str:
    return f"it has {', '.join(map(repr, names[:12]))}" if names else "it has none"


def read_rows(
    path: str,
    rows: Iterable[tuple[str, Mapping[str, Any]]],
    columns: Columns,
    places: Places,
    options: Options,
    findings: list[Finding],
    *,
    form: str,
) -> Dataset:
    """Make the dataset of a listing.

    Args:
        path: The listing.
        rows: Where each row stands ("captions.csv:17") and its values by column.
        columns: Which column is what.
        places: Where the pictures lie.
        options: What the user said.
        findings: Rows that cannot be used are told here, and left out.
        form: The name of the format.
    """
    labels: dict[str, int] = {}
    records = _records(rows, columns, places, options, findings, labels)
    dataset = Dataset(
        os.path.basename(path), records, form=form, root=places.root, findings=findings
    )
    if columns.label is not None:
        name_labels(dataset, list(labels), read_classes(os.path.dirname(os.path.abspath(path))))
    return dataset


def _records(
    rows: Iterable[tuple[str, Mapping[str, Any]]],
    columns: Columns,
    places: Places,
    options: Options,
    findings: list[Finding],
    labels: dict[str, int],
) -> Iterator[Record]:
    row = 0
    for where, values in rows:
        if options.splits and str(values.get(columns.split or "")).strip() not in options.splits:
            continue
        name = values.get(columns.image)
        try:
            if not isinstance(name, str):
                kind = "nothing" if name is None else type(name).__name__
                raise Refused(f"{columns.image} is {kind}, not a file name")
            image = places.resolve(name.strip())
        except Refused as error:
            findings.append(Finding("bad-row", where, shown(str(error))))
            continue
        given = values.get(columns.label) if columns.label else None
        raw = "" if given is None else str(given).strip()
        label = labels.setdefault(raw, len(labels)) if raw else None
        texts: tuple[str, ...] = ()
        if columns.text:
            texts = captions(values.get(columns.text), where, row, label, findings)
        elif label is None:
            findings.append(Finding("empty-caption", where, "has no caption", row))
        known = values.get(columns.image_id) if columns.image_id else None
        yield Record(image, texts, label, image if known in (None, "") else str(known), where)
        row += 1


def captions(
    value: Any, where: str, row: int, label: int | None, findings: list[Finding]
) -> tuple[str, ...]:
    """Return the captions in a value (one, a list, or nothing), and tell what is wrong with them.

    Args:
        value: What the listing has.
        where: For the finding.
        row: The record's number, for the finding.
        label: The record's label; who has one does not need a caption.
        findings: Appended to.
    """
    given = value if isinstance(value, (list, tuple)) else [value]
    texts = tuple(text for item in given if item is not None and (text := str(item).strip()))
    if not texts and label is None:
        findings.append(Finding("empty-caption", where, "has no caption", row))
    elif len(texts) < len(given):
        findings.append(Finding("blank-caption", where, "a caption is empty", row))
    for text in texts:
        if any("\ud800" <= char <= "\udfff" for char in text) if not text.isascii() else False:
            findings.append(Finding("encoding", where, f"is not UTF-8: {shown(text[:60])}", row))
    return texts


def read_classes(folder: str) -> tuple[str, ...] | None:
    """Return the names in classes.txt, one a line; None when there is no such file."""
    try:
        with open(os.path.join(folder, CLASSES_FILE), encoding="utf-8-sig") as file:
            return tuple(line.strip() for line in file.read().splitlines() if line.strip())
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise InputError(f"{os.path.join(folder, CLASSES_FILE)} is not UTF-8") from None


def name_labels(dataset: Dataset, found: list[str], classes: tuple[str, ...] | None) -> None:
    """Turn the labels of a dataset, numbered as they came, into what their spelling means.

    Numbers are labels as they are; other words are classes, in alphabetical order, or in that of
    `classes` when there is such a list.

    Args:
        dataset: Its labels index `found`.
        found: The labels as they are spelt.
        classes: The names, when they are known.
    """
    numbers = [_number(word) for word in found]
    if classes is not None:
        place = {name: i for i, name in enumerate(classes)}
        meant = [place.get(word, n) for word, n in zip(found, numbers, strict=True)]
    elif all(number is not None for number in numbers):
        meant = numbers
    else:
        classes = tuple(sorted(found))
        place = {name: i for i, name in enumerate(classes)}
        meant = [place[word] for word in found]
    # what is no class gets a number that is none either, for `check` to find
    table = np.array([len(classes or ()) if n is None else n for n in meant] + [-1], dtype=np.int64)
    dataset.labels = table[dataset.labels]
    dataset.classes = classes


def _number(word: str) -> int | None:
    """The number a word spells; "3.0" too, as spreadsheets write it."""
    try:
        value = float(word)
    except ValueError:
        return None
    return int(value) if value.is_integer() and -1 <= value < 2**31 else None
