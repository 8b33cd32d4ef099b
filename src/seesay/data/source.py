"""`open_dataset`: the reader is picked by what lies at the path."""

from __future__ import annotations

import os
from typing import Protocol

from seesay.data.readers import (
    coco,
    flickr,
    folder,
    hub,
    imagefolder,
    jsonl,
    karpathy,
    parquet,
    shards,
    table,
)
from seesay.data.readers.options import Options
from seesay.data.record import Dataset
from seesay.errors import InputError


class Reader(Protocol):
    """What a module of `readers` has."""

    LOOKS_FOR: str

    def recognises(self, path: str) -> bool:
        """Whether this is what lies at the path."""
        ...

    def read(self, path: str, options: Options) -> Dataset:
        """Make a dataset of it."""
        ...


READERS: tuple[Reader, ...] = (
    shards,
    flickr,
    table,
    jsonl,
    coco,
    karpathy,
    parquet,
    imagefolder,
    hub,
    folder,
)
"""In the order they are asked: who is more particular comes first."""


def open_dataset(
    path: str | os.PathLike[str],
    *,
    split: str | None = None,
    image_column: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    separator: str | None = None,
    root: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Open the data that lies at a path, whatever its format; see docs/data-formats.md.

    Reads names, captions and labels, no picture. Rows that cannot be used are left out and told
    in `Dataset.findings`.

    Args:
        path: A folder, a listing, tar shards ("shards-{0000..0009}.tar"), or "hub:owner/name".
        split: Which part, where there are several: "train", "train+restval".
        image_column: The column with the picture's file name, when it is not recognised.
        text_column: The column with the caption.
        label_column: The column with the class.
        separator: What stands between the columns of a CSV, when it is not recognised.
        root: The folder that file names are relative to, when it is not that of the listing.

    Raises:
        InputError: Nothing there is known, or the listing cannot be read.
        UsageError: An option does not fit what is there.
        MissingExtra: The format needs a package that is not installed.
    """
    place = os.fspath(path)
    options = Options(
        split=split,
        image_column=image_column,
        text_column=text_column,
        label_column=label_column,
        separator=separator,
        root=root,
    )
    try:
        for reader in READERS:
            if reader.recognises(place):
                return reader.read(place, options)
    finally:
        jsonl.forget_json()
    looked = "; ".join(reader.LOOKS_FOR for reader in READERS)
    if not os.path.lexists(place):
        hub_like = place.count("/") == 1 and not place.startswith((".", "/"))
        hint = f"for a dataset of the hub write hub:{place}" if hub_like else None
        raise InputError(f"there is no {place}", hint)
    raise InputError(f"{place} is no data that is known", f"looked for {looked}")
