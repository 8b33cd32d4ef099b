"""CSV and TSV with a head line, as open_clip reads them and as spreadsheets write them."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from seesay.data.readers import rows
from seesay.data.readers.options import Options
from seesay.data.readers.places import Places, find_root
from seesay.data.record import Dataset, Finding
from seesay.errors import InputError, StorageError

FORM = "table"
LOOKS_FOR = "a .csv or .tsv file with a head line (filepath and title, say)"
SEPARATORS = ("\t", ",", ";", "|")
KNOWN = (*rows.IMAGE, *rows.TEXT, *rows.LABEL, *rows.IMAGE_ID, "split")
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def recognises(path: str) -> bool:
    """Whether the name is that of a table."""
    return path.lower().endswith((".csv", ".tsv")) and os.path.isfile(path)


def read(path: str, options: Options, *, absolute: bool = True) -> Dataset:
    """Read a table; `absolute` as in `Places`.

    Raises:
        InputError: It has no head line with known columns, or a quotation mark is never closed.
        StorageError: It cannot be opened.
    """
    allowed = ("image_column", "text_column", "label_column", "separator", "split", "root")
    options.only("a table", *allowed)
    findings: list[Finding] = []
    with opened(path, options, findings) as (names, values):
        columns = rows.Columns.find(path, names, options)
        places = Places(find_root(options.root, path, ["."], None), absolute=absolute)
        return rows.read_rows(path, values, columns, places, options, findings, form=FORM)


@contextmanager
def opened(
    path: str, options: Options, findings: list[Finding], known: Iterable[str] = KNOWN
) -> Iterator[tuple[list[str], Iterator[tuple[str, dict[str, str]]]]]:
    """Open a table: the names of its columns, and its rows, each with where it stands.

    Args:
        path: The file.
        options: What the user said.
        findings: Rows of another length than the head line are told here, and left out.
        known: Names of columns, by which the separator is recognised.

    Raises:
        InputError: Two columns have one name, or a quotation mark is never closed.
        StorageError: It cannot be opened.
    """
    encoding = _encoding(path, findings)
    # undecodable bytes are kept apart, so that `check` can say on which line they are
    errors = "replace" if encoding == "utf-16" else "surrogateescape"
    with open(path, encoding=encoding, errors=errors, newline="") as file:
        head = file.readline()
        separator = options.separator or _separator(head, options, known)
        file.seek(0)
        lines = csv.reader(file, delimiter=separator, strict=True)
        try:
            names = [name.strip() for name in next(lines, [])]
        except csv.Error as error:
            raise InputError(f"{path}:1: {error}") from None
        doubled = {name for name in names if name and names.count(name) > 1}
        if doubled:
            raise InputError(f"{path}: two columns are called {' and '.join(sorted(doubled))}")
        yield names, _rows(path, lines, names, findings)


def _rows(
    path: str, lines: Any, names: list[str], findings: list[Finding]
) -> Iterator[tuple[str, dict[str, str]]]:
    file = os.path.basename(path)
    while True:
        where = f"{file}:{lines.line_num + 1}"
        try:
            cells = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"{where}: {error}", 'a quotation mark is not closed, or not doubled as ""'
            ) from None
        if not cells:
            continue  # an empty line
        if len(cells) != len(names):
            told = f"has {len(cells)} fields, the head line {len(names)}"
            findings.append(Finding("bad-row", where, told))
            continue
        yield where, dict(zip(names, cells, strict=True))


def _encoding(path: str, findings: list[Finding]) -> str:
    try:
        with open(path, "rb") as file:
            mark = file.read(3)
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror})") from None
    if not mark:
        raise InputError(f"{path} is empty", "the first line names the columns")
    name = os.path.basename(path)
    if mark[:2] in _MARKS:
        findings.append(Finding("mark", f"{name}:1", "is UTF-16; read as such"))
        return _MARKS[mark[:2]]
    if mark == b"\xef\xbb\xbf":
        findings.append(Finding("mark", f"{name}:1", "begins with a byte order mark; left out"))
    return "utf-8-sig"


def _separator(head: str, options: Options, names: Iterable[str]) -> str:
    """The separator that cuts the head line into the most known names, a tab when in doubt."""
    known = {*names} | {n.lower() for n in (options.image_column, options.text_column) if n}

    def score(separator: str) -> tuple[int, int]:
        names = next(csv.reader([head], delimiter=separator), [])
        return sum(name.strip().lower() in known for name in names), len(names)

    return max(SEPARATORS, key=score)
