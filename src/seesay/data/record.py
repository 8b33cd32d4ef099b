"""What every format of data becomes: records of a picture, its captions and its label.

A `Dataset` is a sequence of them. It holds no pictures and no `Record` objects either: names and
captions lie in a few blocks of bytes, and a record is made when it is asked for.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, overload

import numpy as np

from seesay.data.columns import Strings
from seesay.errors import InputError
from seesay.processing.image import MAX_BYTES, file_size, measure, open_picture
from seesay.types import Picture


class Member(NamedTuple):
    """A picture inside a larger file, at `offset`, of `size` bytes."""

    path: str
    offset: int
    size: int
    name: str


class Cell(NamedTuple):
    """A picture inside a table that its dataset reads, in `row`."""

    row: int
    name: str


Source = str | Member | Cell
"""Where a picture is: a file of its own, a part of a file, a cell of a table."""


@dataclass(frozen=True, slots=True)
class Record:
    """One sample.

    Attributes:
        image: Where the picture is; an absolute path, a `Member` or a `Cell`.
        texts: Its captions, none of them empty.
        label: Its class, None when it has none.
        image_id: Equal for records that show the same picture.
        where: What messages call it: "captions.csv:17".
    """

    image: Source
    texts: tuple[str, ...]
    label: int | None
    image_id: str
    where: str


class Finding(NamedTuple):
    """Something odd about the data.

    Attributes:
        kind: One of `check.KINDS`, which says whether training stops.
        where: "captions.csv:17".
        what: What is wrong, with the value.
        row: The record it is about, None when that never became one.
    """

    kind: str
    where: str
    what: str
    row: int | None = None


class Dataset(Sequence[Record]):
    """Records, compactly.

    Args:
        name: What messages call it.
        records: Consumed once.
        form: Which format it was read from.
        root: Below it lie the pictures; absolute.
        classes: The names of the labels.
        findings: What the reader met on its way. Read after the records have been consumed, so a
            reader may go on appending.
        read_cell: Returns the bytes of the picture in a row, for records of cells.

    Attributes:
        name: As given.
        form: As given.
        classes: As given; None when labels are numbers without names, or there are none.
        findings: As given.
        read_cell: As given.
        labels: int64 [N], -1 for records without a label.
    """

    def __init__(
        self,
        name: str,
        records: Iterable[Record],
        *,
        form: str,
        root: str = "",
        classes: tuple[str, ...] | None = None,
        findings: list[Finding] | None = None,
        read_cell: Callable[[int], bytes] | None = None,
    ) -> None:
        self.name = name
        self.form = form
        self.root = os.path.join(root, "") if root else ""
        self.classes = classes
        self.read_cell = read_cell
        self._images, self._ids, self._where = Strings(), Strings(), Strings()
        self._texts, self._text_ends = Strings(), array("q")
        self._files: dict[str, int] = {}
        self._places = array("q")
        labels = array("q")
        for record in records:
            self._append(record)
            labels.append(-1 if record.label is None else record.label)
        self.labels = np.array(labels, dtype=np.int64)
        self.findings = findings if findings is not None else []
        self._paths = list(self._files)

    def _append(self, record: Record) -> None:
        image = record.image
        if isinstance(image, str):
            name, place = image.removeprefix(self.root), None
        elif isinstance(image, Member):
            name, file = image.name, self._files.setdefault(image.path, len(self._files))
            place = (file, image.offset, image.size)
        else:
            name, place = image.name, (-1, image.row, 0)
        if place is not None:
            self._places.extend(place)
        self._images.append(name)
        # most pictures are identified by their name, which is here already
        self._ids.append("" if record.image_id in (image, name) else record.image_id)
        self._where.append(record.where)
        for text in record.texts:
            self._texts.append(text)
        self._text_ends.append(len(self._texts))

    def __repr__(self) -> str:
        return f"<seesay.data.Dataset {self.name} ({self.form}, {len(self)} records)>"

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, i: int) -> Record: ...
    @overload
    def __getitem__(self, i: slice) -> Dataset: ...
    def __getitem__(self, i: int | slice) -> Record | Dataset:
        if isinstance(i, slice):
            return self.select(range(*i.indices(len(self))))
        i = range(len(self))[i]
        name = self._images[i]
        image: Source = self.root + name if self.root and not os.path.isabs(name) else name
        if self._places:
            file, offset, size = self._places[3 * i : 3 * i + 3]
            image = Cell(offset, name)
            if file >= 0:
                image = Member(self._paths[file], offset, size, name)
        start = self._text_ends[i - 1] if i else 0
        return Record(
            image=image,
            texts=tuple(self._texts[t] for t in range(start, self._text_ends[i])),
            label=None if self.labels[i] < 0 else int(self.labels[i]),
            image_id=self._ids[i] or name,
            where=self._where[i],
        )

    def __iter__(self) -> Iterator[Record]:
        return (self[i] for i in range(len(self)))

    def select(self, rows: Iterable[int]) -> Dataset:
        """Return a dataset of some of the records, in the order given."""
        return Dataset(
            self.name,
            (self[i] for i in rows),
            form=self.form,
            root=self.root,
            classes=self.classes,
            read_cell=self.read_cell,
        )

    def text_count(self, i: int) -> int:
        """Return how many captions a record has."""
        return self._text_ends[i] - (self._text_ends[i - 1] if i else 0)

    @cached_property
    def image_numbers(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """int64 [N]: equal for records that show the same picture, 0, 1 ... as they first come."""
        seen: dict[str, int] = {}
        ids = (self._ids[i] or self._images[i] for i in range(len(self)))
        return np.array([seen.setdefault(i, len(seen)) for i in ids], dtype=np.int64)

    @cached_property
    def digest(self) -> str:
        """Hex digest of the listing: names, captions, labels, classes; not of the pictures."""
        told = hashlib.sha256(repr(self.classes).encode())
        for column in (self._images, self._ids, self._texts):
            told.update(np.array(column.ends).tobytes())
            told.update(column.data)
        for numbers in (self._text_ends, self._places, self.labels):
            told.update(np.asarray(numbers).tobytes())
        return told.hexdigest()

    @property
    def nbytes(self) -> int:
        """How much memory the listing takes."""
        strings = (self._images, self._ids, self._where, self._texts)
        numbers = len(self._text_ends) + len(self._places) + len(self.labels)
        return sum(column.nbytes for column in strings) + 8 * numbers

    def image_bytes(self, i: int) -> bytes:
        """Return the encoded picture of a record.

        Raises:
            InputError: It cannot be read; the message names the record.
        """
        record = self[i]
        try:
            if isinstance(record.image, Cell):
                assert self.read_cell is not None
                return self.read_cell(record.image.row)
            return _read_member(record.image)
        except InputError as error:
            raise _named(error, record) from None

    def picture(self, i: int, at_least: int | Callable[[tuple[int, int]], int] = 0) -> Picture:
        """Decode the picture of a record.

        Args:
            i: Which.
            at_least: As in `open_picture`; or what says so, given width and height.

        Raises:
            InputError: It cannot be decoded; the message names the record.
        """
        record = self[i]
        name = record.image if isinstance(record.image, str) else record.image.name
        item = record.image if isinstance(record.image, str) else self.image_bytes(i)
        try:
            side = at_least if isinstance(at_least, int) else at_least(measure(item))
            return open_picture(item, name=name, at_least=side)
        except InputError as error:
            raise _named(error, record) from None


def _named(error: InputError, record: Record) -> InputError:
    """The error with the record in front, so that the user knows which line to mend."""
    told = error.what if error.what.startswith(record.where) else f"{record.where}: {error.what}"
    return InputError(told, error.hint)


def _read_member(image: str | Member) -> bytes:
    path, name = (image, image) if isinstance(image, str) else (image.path, image.name)
    try:
        offset, size = (0, file_size(image)) if isinstance(image, str) else image[1:3]
        if size > MAX_BYTES:
            limit = MAX_BYTES / 1e6
            raise InputError(f"has {size / 1e6:.0f} MB, more than the {limit:.0f} allowed")
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read(size)
        if len(data) < size:
            raise InputError(f"{path} ends inside it")
        return data
    except InputError as error:
        raise InputError(f"{name}: {error.what}", error.hint) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{name}: cannot be read ({why})") from None
