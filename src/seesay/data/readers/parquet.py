"""Parquet tables of file names and captions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from seesay.data.readers import rows
from seesay.data.readers.options import Options
from seesay.data.readers.places import Places, find_root
from seesay.data.record import Dataset, Finding
from seesay.errors import InputError, MissingExtra

FORM = "parquet"
LOOKS_FOR = "a .parquet file with a column of file names"


def recognises(path: str) -> bool:
    """Whether the name is that of a parquet file."""
    return path.lower().endswith(".parquet") and os.path.isfile(path)


def read(path: str, options: Options, *, absolute: bool = True) -> Dataset:
    """Read a parquet table; `absolute` as in `Places`.

    Raises:
        MissingExtra: pyarrow is not installed.
        InputError: The file is damaged, or has no known columns.
    """
    allowed = ("image_column", "text_column", "label_column", "split", "root")
    options.only("a parquet file", *allowed)
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("pyarrow", "data", "a parquet file") from None
    try:
        table = pyarrow.parquet.ParquetFile(path)
        columns = rows.Columns.find(path, table.schema_arrow.names, options)
        kind = table.schema_arrow.field(columns.image).type
        if pyarrow.types.is_struct(kind) or pyarrow.types.is_binary(kind):
            raise InputError(
                f"{path}: {columns.image} holds pictures, not file names",
                "open its folder, which reads it with the package datasets",
            )
        wanted = [name for name in vars(columns).values() if name is not None]
        places = Places(find_root(options.root, path, ["."], None), absolute=absolute)
        findings: list[Finding] = []
        values = _rows(path, table, list(dict.fromkeys(wanted)))
        return rows.read_rows(path, values, columns, places, options, findings, form=FORM)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path} is not readable parquet ({error})") from None


def _rows(path: str, table: Any, wanted: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    name, row = os.path.basename(path), 0
    for batch in table.iter_batches(batch_size=8192, columns=wanted):
        for values in batch.to_pylist():
            yield f"{name}[{row}]", values
            row += 1
