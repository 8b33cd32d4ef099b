"""Datasets of the package `datasets`: saved to disk, as parquet shards, or from the hub."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from typing import Any

from seesay.data.readers import rows
from seesay.data.readers.options import Options
from seesay.data.readers.parquet import encoded
from seesay.data.record import Cell, Dataset, Finding, Record
from seesay.errors import InputError, MissingExtra, UsageError

FORM = "datasets"
LOOKS_FOR = "a dataset saved by the package datasets, its parquet shards, or hub:owner/name"
PREFIX = "hub:"
_SAVED = ("dataset_info.json", "dataset_dict.json", "state.json")


def recognises(path: str) -> bool:
    """Whether it names a dataset of the hub, or a folder that the package wrote."""
    if path.startswith(PREFIX):
        return True
    saved = any(os.path.isfile(os.path.join(path, name)) for name in _SAVED)
    return os.path.isdir(path) and (saved or bool(_shards(path)))


def read(path: str, options: Options) -> Dataset:
    """Open the dataset; pictures stay encoded until they are asked for.

    Raises:
        MissingExtra: The package is not installed.
        InputError: The dataset cannot be opened, or has no column of pictures.
        UsageError: It is divided into splits and none was chosen.
    """
    options.only("a dataset", "split", "image_column", "text_column", "label_column")
    try:
        import datasets
    except ImportError:
        raise MissingExtra("datasets", "data", "this dataset") from None
    table = _open(datasets, path, options.split)
    features = table.features
    pictures = [n for n, f in features.items() if isinstance(f, datasets.Image)]
    image = options.image_column or (pictures[0] if len(pictures) == 1 else None)
    if image is None or image not in pictures:
        told = f"{', '.join(pictures) or 'none'} of {', '.join(features)}"
        raise InputError(f"{path}: which column has the pictures ({told})?", "say image_column")
    names = [name for name in features if name not in pictures]
    columns = rows.Columns(
        image=image,
        text=rows.choose(path, names, rows.TEXT, options.text_column, "text_column"),
        label=rows.choose(path, names, rows.LABEL, options.label_column, "label_column"),
        image_id=rows.choose(path, names, rows.IMAGE_ID, None, "image_id"),
        split=None,
    )
    classes = None
    if columns.label and isinstance(features[columns.label], datasets.ClassLabel):
        classes = tuple(features[columns.label].names)
    pictured = table.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    findings: list[Finding] = []
    labels: dict[str, int] = {}
    records = _records(table, columns, path.removeprefix(PREFIX), findings, labels)

    def read_cell(row: int) -> bytes:
        return encoded(pictured[row][image])

    name = path.removeprefix(PREFIX) + (f":{options.split}" if options.split else "")
    dataset = Dataset(name, records, form=FORM, findings=findings, read_cell=read_cell)
    if columns.label:
        rows.name_labels(dataset, list(labels), classes)
    return dataset


def _open(datasets: Any, path: str, split: str | None) -> Any:
    try:
        if path.startswith(PREFIX):
            name, _, config = path.removeprefix(PREFIX).partition(":")
            found = datasets.load_dataset(name, config or None, split=split)
        elif _shards(path):
            files = _by_split(_shards(path))
            found = datasets.load_dataset("parquet", data_files=files, split=split)
        else:
            found = datasets.load_from_disk(path)
            found = found[split] if split and isinstance(found, datasets.DatasetDict) else found
    except Exception as error:  # the package raises whatever it likes
        first = next(iter(str(error).splitlines()), "")
        raise InputError(f"{path} cannot be opened ({type(error).__name__}: {first})") from None
    if isinstance(found, dict):
        if len(found) > 1:
            raise UsageError(f"which part of {path}?", f"say split={' or split='.join(found)}")
        found = next(iter(found.values()))
    return found


def _records(
    table: Any, columns: rows.Columns, name: str, findings: list[Finding], labels: dict[str, int]
) -> Iterator[Record]:
    wanted = [c for c in (columns.text, columns.label, columns.image_id) if c is not None]
    if not wanted:
        yield from (_record(row, name, (), None, None) for row in range(len(table)))
        return
    row = 0
    for batch in table.select_columns(wanted).iter(batch_size=1000):
        for i in range(len(batch[wanted[0]])):
            given = {column: batch[column][i] for column in wanted}
            raw = given.get(columns.label) if columns.label else None
            label = None if raw in (None, "") else labels.setdefault(str(raw), len(labels))
            texts: tuple[str, ...] = ()
            if columns.text:
                value = given[columns.text]
                texts = rows.captions(value, f"{name}[{row}]", row, label, findings)
            yield _record(row, name, texts, label, given.get(columns.image_id or ""))
            row += 1


def _record(
    row: int, name: str, texts: tuple[str, ...], label: int | None, image_id: Any
) -> Record:
    where = f"{name}[{row}]"
    known = where if image_id in (None, "") else str(image_id)
    return Record(Cell(row, where), texts, label, known, where)


def _shards(path: str) -> list[str]:
    found = [*glob.glob(os.path.join(glob.escape(path), "*.parquet"))]
    found += glob.glob(os.path.join(glob.escape(path), "data", "*.parquet"))
    return sorted(f for f in found if os.path.basename(f) != "metadata.parquet")


def _by_split(files: list[str]) -> dict[str, list[str]]:
    """Files by the word their names begin with: train-00000-of-00002.parquet."""
    parts: dict[str, list[str]] = {}
    for file in files:
        stem = os.path.basename(file).removesuffix(".parquet")
        parts.setdefault(stem.split("-", 1)[0] if "-" in stem else "train", []).append(file)
    return parts
