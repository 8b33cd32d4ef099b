"""Parquet tables: of file names and captions; or, as the hub has them, with pictures inside."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Any

from seesay.data.readers import rows
from seesay.data.readers.options import Options
from seesay.data.readers.places import Places, find_root
from seesay.data.record import Cell, Dataset, Finding
from seesay.errors import InputError, MissingExtra

FORM = "parquet"
LOOKS_FOR = "a .parquet file with a column of file names"
ALLOWED = ("image_column", "text_column", "label_column", "split", "root")
PAGE = "docid"
"""The column, in small letters, of DocVQA that numbers pages; each page has several rows."""


def recognises(path: str) -> bool:
    """Whether the name is that of a parquet file."""
    return path.lower().endswith(".parquet") and os.path.isfile(path)


def read(path: str, options: Options, *, absolute: bool = True) -> Dataset:
    """Read a parquet table; `absolute` as in `Places`.

    Raises:
        MissingExtra: pyarrow is not installed.
        InputError: The file is damaged, or has no known columns.
    """
    options.only("a parquet file", *ALLOWED)
    table = _opened(path)
    columns = rows.Columns.find(path, table.schema_arrow.names, options)
    if columns.image in _holding(table):
        raise InputError(
            f"{path}: {columns.image} holds pictures, not file names",
            "open its folder, which reads it with the package datasets",
        )
    wanted = [name for name in vars(columns).values() if name is not None]
    places = Places(find_root(options.root, path, ["."], None), absolute=absolute)
    findings: list[Finding] = []
    values = _rows(path, table, list(dict.fromkeys(wanted)))
    return rows.read_rows(path, values, columns, places, options, findings, form=FORM)


class Cells:
    """The pictures in parquet files. Called with the row of a `Cell`, it returns its bytes.

    Reading a picture reads the row group it is in, of which the last one is kept.
    """

    def __init__(self) -> None:
        self._groups: list[tuple[str, Any, int, str]] = []
        self._starts: list[int] = []  # the first row of each group, all files counted through
        self._count = 0
        self._last, self._values = -1, None
        self._lock = Lock()

    def opened(
        self, path: str, options: Options
    ) -> tuple[list[str], Iterator[tuple[str, dict[str, Any]]]]:
        """Open one more file: its columns, and its rows, each with where it stands.

        Pictures are cells in the rows. Those of rows with one `docId` are the same.

        Raises:
            MissingExtra: pyarrow is not installed.
            InputError: The file is damaged.
        """
        options.only("a parquet file", *ALLOWED)
        table = _opened(path)
        names: list[str] = table.schema_arrow.names
        held = _holding(table)
        usual = next((name for name in held if name.lower() in rows.IMAGE), None)
        picture = options.image_column if options.image_column in held else usual
        first, metadata = self._count, table.metadata
        if picture is not None:
            for group in range(metadata.num_row_groups):
                self._groups.append((path, table, group, picture))
                self._starts.append(self._count)
                self._count += metadata.row_group(group).num_rows
        page = next((name for name in names if name.lower() == PAGE), "")
        file = os.path.basename(path)

        def every() -> Iterator[tuple[str, dict[str, Any]]]:
            others = [name for name in names if name not in held]
            for row, (where, values) in enumerate(_rows(path, table, others), first):
                if picture is not None:
                    shown = values.get(page)
                    name = where if shown is None else f"{file}:{page} {shown}"
                    values[picture] = Cell(row, name)
                yield where, values

        return names, every()

    def __call__(self, row: int) -> bytes:
        """Return the encoded picture in a row.

        Raises:
            InputError: There is none, or it cannot be read.
        """
        number = bisect_right(self._starts, row) - 1
        path, table, group, column = self._groups[number]
        with self._lock:
            if number != self._last:
                self._last, self._values = -1, None  # never two of them in memory
                read = _guarded(path, lambda: table.read_row_group(group, columns=[column]))
                self._last, self._values = number, read.column(0)
            assert self._values is not None
            value = self._values[row - self._starts[number]].as_py()
        return encoded({"bytes": value} if isinstance(value, bytes) else value)


def encoded(value: Mapping[str, Any] | None) -> bytes:
    """Return the encoded picture in a cell: its bytes, or those of the file it names.

    Raises:
        InputError: There is none, or the file cannot be read.
    """
    if value is None or not (value.get("bytes") or value.get("path")):
        raise InputError("has no picture")
    if value.get("bytes"):
        return bytes(value["bytes"])
    try:
        with open(value["path"], "rb") as file:
            return file.read()
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"{value['path']}: cannot be read ({error})") from None


def _opened(path: str) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("pyarrow", "data", "a parquet file") from None
    return _guarded(path, lambda: pyarrow.parquet.ParquetFile(path))


def _guarded(path: str, read: Any) -> Any:
    import pyarrow

    try:
        return read()
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path} is not readable parquet ({error})") from None


def _holding(table: Any) -> list[str]:
    """The columns that have pictures in them: bytes, or bytes with a path."""
    import pyarrow.types

    def holds(kind: Any) -> bool:
        if pyarrow.types.is_struct(kind):
            return bool(kind.get_field_index("bytes") >= 0)
        return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))

    return [field.name for field in table.schema_arrow if holds(field.type)]


def _rows(path: str, table: Any, wanted: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    name, row = os.path.basename(path), 0
    batches = _guarded(path, lambda: table.iter_batches(batch_size=8192, columns=wanted))
    while (batch := _guarded(path, lambda: next(batches, None))) is not None:
        for values in batch.to_pylist():
            yield f"{name}[{row}]", values
            row += 1
