"""A folder with pictures and metadata.csv, .jsonl or .parquet that names them in `file_name`."""

from __future__ import annotations

import os
from dataclasses import replace

from seesay.data.readers import jsonl, parquet, table
from seesay.data.readers.options import Options
from seesay.data.record import Dataset
from seesay.errors import InputError

FORM = "imagefolder"
LOOKS_FOR = "a folder with metadata.csv, metadata.jsonl or metadata.parquet"
_READERS = {"metadata.csv": table, "metadata.jsonl": jsonl, "metadata.parquet": parquet}


def recognises(path: str) -> bool:
    """Whether the folder has metadata, or has parts that have."""
    return os.path.isdir(path) and (bool(_metadata(path)) or bool(_parts(path)))


def read(path: str, options: Options) -> Dataset:
    """Read the metadata; names are relative to its folder and stay below.

    Raises:
        InputError: There are two metadata files, or parts and none was chosen.
    """
    found = _metadata(path)
    if not found:
        parts = _parts(path)
        if options.split not in parts:
            told = f"there is no part {options.split!r} in" if options.split else "which part of"
            raise InputError(f"{told} {path}?", f"say split={' or split='.join(parts)}")
        assert options.split is not None
        path = os.path.join(path, options.split)
        options, found = replace(options, split=None), _metadata(path)
    if len(found) > 1:
        raise InputError(f"{path} has {' and '.join(found)}", "keep one")
    if options.image_column is None:
        options = replace(options, image_column="file_name")
    dataset: Dataset = _READERS[found[0]].read(
        os.path.join(path, found[0]), options, absolute=False
    )
    dataset.form = FORM
    return dataset


def _metadata(folder: str) -> list[str]:
    return [name for name in _READERS if os.path.isfile(os.path.join(folder, name))]


def _parts(folder: str) -> list[str]:
    """Folders below that have metadata of their own."""
    return sorted(name for name in os.listdir(folder) if _metadata(os.path.join(folder, name)))
