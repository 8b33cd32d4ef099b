"""Questions from rows with named columns: CSV, JSON, parquet; other forms become such rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from seesay.data.questions import Question, Questions
from seesay.data.readers import jsonl, parquet, published, rows, table
from seesay.data.readers.options import Options
from seesay.data.readers.places import Places, Refused, find_root
from seesay.data.readers.values import check_text, check_texts, right_of, strings
from seesay.data.record import Cell, Finding, Source
from seesay.data.shards import expand
from seesay.errors import InputError
from seesay.names import shown

IMAGE = (*rows.IMAGE, "images", "left_image", "image1")
SECOND = ("second_image", "right_image", "image2")
TEXT = ("question", "statement", "hypothesis", "sentence", "sentence2", "text", "prefix")
ANSWER = ("answer", "answers", "direct_answers", "label", "gold_label", "suffix", "suffixes")
SEVERAL = ("answers", "direct_answers", "suffixes")
"""Those that hold what several annotators said."""
IMAGE_ID = (*rows.IMAGE_ID, "imageid", "flickr30k_id")
ID = ("question_id", "questionid", "identifier", "pairid", "id")
KIND = ("answer_type", "question_type", "kind")
CHOICES = ("choices", "options")
RIGHT = ("correct_choice_idx", "correct_choice", "right")
SURE = ("question", "statement", "hypothesis", "prefix")
"""Columns that only questions have; a sentence with a label may also be a caption."""
FOLDERS = (".", "images", "image", "..", "../images", "coco", "../coco", "coco/images",
           "../coco/images", "vg", "../vg", "train_images", "test_images")  # fmt: skip
"""Where pictures are looked for, from the folder of the listing."""


class Told(NamedTuple):
    """What a row asks.

    Attributes:
        texts: The question; none where there is none.
        answers: What is answered.
        wrong: What is wrong with its boxes.
    """

    texts: tuple[str, ...]
    answers: tuple[str, ...]
    wrong: tuple[str, ...] = ()


Tell = Callable[[Mapping[str, Any], Any], Told]
"""A row and its picture's path -> what it asks."""


def read(
    path: str,
    options: Options,
    telling: Callable[[Columns, Sequence[str]], Tell] | None = None,
) -> Questions:
    """Read one listing of questions, or several in braces.

    Args:
        path: The listing.
        options: What the user said.
        telling: Finds out from the columns of a listing how its rows are told; None for questions
            and answers as they stand.

    Raises:
        InputError: Nothing there is known.
    """
    files = _files(path, options)
    if os.path.isdir(path):
        options = replace(options, split=None)  # whose folder it is
    findings: list[Finding] = []
    cells = parquet.Cells() if any(parquet.recognises(file) for file in files) else None
    name = os.path.basename(os.path.normpath(path))
    try:
        if len(files) == 1:
            with _opened(files[0], options, findings, telling, cells) as (root, found):
                return Questions(name, found, root=root, findings=findings, read_cell=cells)
        folders = [os.path.dirname(os.path.abspath(file)) for file in files]
        root = os.path.abspath(options.root) if options.root else os.path.commonpath(folders)
        found = _several(files, options, findings, telling, cells)
        return Questions(name, found, root=root, findings=findings, read_cell=cells)
    finally:
        jsonl.forget_json()


def recognises(path: str) -> bool:
    """Whether it is questions that lie at a path, and surely not captions."""
    if os.path.isdir(path):
        parts = (".", *os.listdir(path))
        return any(os.path.isfile(os.path.join(path, part, published.EASY)) for part in parts)
    try:
        if published.recognises(_files(path, Options())[0]):
            return True
    except (InputError, OSError):
        return False
    return bool(columns_of(path) & {*SURE})


def columns_of(path: str) -> set[str]:
    """Return the names of the columns of a listing, in small letters; none where it is none."""
    try:
        with _rows(_files(path, Options())[0], Options(), [], parquet.Cells()) as (names, _):
            return {name.lower() for name in names}
    except (InputError, OSError):
        return set()


def _files(path: str, options: Options) -> list[str]:
    if "{" in path and not os.path.exists(path):
        return expand(path)
    if os.path.isdir(path):
        parts = options.splits or (".",)
        files = [os.path.join(path, part, published.EASY) for part in parts]
        missing = [file for file in files if not os.path.isfile(file)]
        if missing:
            found = sorted(d for d in os.listdir(path) if
                           os.path.isfile(os.path.join(path, d, published.EASY)))  # fmt: skip
            hint = f"say split={' or split='.join(found)}" if found else "name the file itself"
            raise InputError(f"there is no {missing[0]}", hint)
        return files
    return [path]


def _several(
    files: Sequence[str],
    options: Options,
    findings: list[Finding],
    telling: Any,
    cells: parquet.Cells | None,
) -> Iterator[Question]:
    for file in files:  # one after another: each may have hundreds of megabytes
        with _opened(file, options, findings, telling, cells) as (_, found):
            yield from found


@contextmanager
def _opened(
    path: str,
    options: Options,
    findings: list[Finding],
    telling: Any,
    cells: parquet.Cells | None,
) -> Iterator[tuple[str, Iterator[Question]]]:
    """Open a listing: the folder of its pictures, and its questions."""
    with _rows(path, options, findings, cells) as (names, values):
        columns = Columns.find(path, names, options, silent=telling is not None)
        tell = columns.told if telling is None else telling(columns, names)
        first = next(values, None)
        if first is None:
            told = f": {findings[0].where}: {findings[0].what}" if findings else ""
            raise InputError(f"{path} has no question{told}")
        example = next(iter(columns.images(first[1])), None)
        root, flat = ("", False) if isinstance(example, Cell) else _place(path, options, example)

        def every() -> Iterator[tuple[str, Mapping[str, Any]]]:
            yield first
            yield from values

        places = Places(root, absolute=True)
        yield root, _questions(every(), columns, tell, places, flat, options, findings)


@contextmanager
def _rows(
    path: str, options: Options, findings: list[Finding], cells: parquet.Cells | None
) -> Iterator[tuple[Sequence[str], Iterator[tuple[str, Mapping[str, Any]]]]]:
    """Open a listing as the names of its columns and its rows, each with where it stands."""
    if not os.path.isfile(path):
        raise InputError(f"there is no {path}")
    if table.recognises(path):
        known = (*IMAGE, *SECOND, *TEXT, *ANSWER, *ID, *KIND, *CHOICES, "split")
        with table.opened(path, options, findings, known) as found:
            yield found
        return
    if cells is not None and parquet.recognises(path):
        yield cells.opened(path, options)
        return
    if not path.lower().endswith((".json", ".jsonl", ".ndjson")):
        kinds = "a .csv, .tsv, .jsonl, .json or .parquet"
        raise InputError(f"{path} is no listing of questions", kinds)
    objects = published.rows(path, findings)
    if objects is None:
        lines = published.in_lines(path)
        objects = jsonl.lines(path, findings) if lines else jsonl.listed(path)
    objects = published.named(objects)
    first = next(objects, None)

    def every() -> Iterator[tuple[str, Mapping[str, Any]]]:
        if first is not None:
            yield first
            yield from objects

    yield list(first[1]) if first else [], every()


@dataclass(frozen=True)
class Columns:
    """Which column is what; None for those a listing lacks."""

    text: str | None
    image: str | None
    second: str | None
    answer: str | None
    image_id: str | None
    id: str | None
    kind: str | None
    choices: str | None
    right: str | None
    split: str | None

    @classmethod
    def find(
        cls, path: str, names: Sequence[str], options: Options, *, silent: bool = False
    ) -> Columns:
        """Recognise the columns by their names, those the user gave first.

        Args:
            path: The listing.
            names: Of its columns.
            options: What the user said.
            silent: Whether it may have no questions.

        Raises:
            InputError: There is no question, or no picture, or two columns that could be it.
        """

        def first(known: Sequence[str]) -> str | None:
            lower = {name.lower(): name for name in names}
            return next((lower[name] for name in known if name in lower), None)

        text = rows.choose(path, names, TEXT, options.text_column, "text_column")
        if text is None and not silent:
            raise InputError(
                f"{path} has no column with questions: it has {', '.join(map(repr, names[:12]))}",
                f"call it {' or '.join(TEXT[:2])}, or name it: text_column=NAME",
            )
        answer = rows.choose(path, names, ANSWER, options.label_column, "label_column")
        image = rows.choose(path, names, IMAGE, options.image_column, "image_column")
        image_id = first(IMAGE_ID)
        if image is None and image_id is None:
            raise InputError(
                f"{path} has no column with the pictures' file names: it has "
                f"{', '.join(map(repr, names[:12]))}",
                f"call it {' or '.join(IMAGE[:3])}, or name it: image_column=NAME",
            )
        split = first(("split",))
        if options.split is not None and split is None:
            raise InputError(
                f"{path} has no column 'split' to choose {options.split!r} by", "leave split out"
            )
        return cls(
            text=text,
            image=image,
            second=first(SECOND),
            answer=answer,
            image_id=image_id,
            id=first(ID),
            kind=first(KIND),
            choices=first(CHOICES),
            right=first(RIGHT),
            split=split,
        )

    def told(self, values: Mapping[str, Any], _image: Any) -> Told:
        """Return what a row asks and what was answered, as they stand.

        Raises:
            Refused: One of them is no text.
        """
        given = values.get(self.answer) if self.answer else None
        name = (self.answer or "").lower()
        check_text(self.text or "", values.get(self.text or ""))
        check_texts(self.answer or "", given)
        answers = strings(given, several=name in SEVERAL)
        if name.startswith("suffix") and given is not None and not answers:
            answers = ("",)  # nothing is to be written, such as where there is nothing to find
        return Told(strings(values.get(self.text or "")), answers)

    def images(self, values: Mapping[str, Any]) -> tuple[str | Cell, ...]:
        """Return the names of the pictures of a row; or the one in it.

        Raises:
            Refused: There is none.
        """
        given = values.get(self.image) if self.image else values.get(self.image_id or "")
        if isinstance(given, Cell):
            return (given,)
        several = given if isinstance(given, (list, tuple)) else [given]
        if self.second:
            several = [*several, values.get(self.second)]
        for name in several:
            if not isinstance(name, (str, int)) or isinstance(name, bool):
                kind = "nothing" if name is None else type(name).__name__
                raise Refused(f"{self.image or self.image_id} is {kind}, not a file name")
        names = (str(name).strip() for name in several)
        # ids of Flickr30k, OpenImages and Visual Genome stand for files of that name
        return tuple(n if not n or os.path.splitext(n)[1] else f"{n}.jpg" for n in names)


def _found(name: str | Cell, places: Places, flat: bool) -> Source:
    """Where a picture is."""
    if isinstance(name, Cell):
        return name
    return places.resolve(os.path.basename(name) if flat else name)


def _place(path: str, options: Options, example: str | None) -> tuple[str, bool]:
    """Return the folder of the pictures, and whether all lie right in it, whatever is listed."""
    name = os.path.basename(example or "")
    # archives unpack to annotations/instances_val2017.json and val2017/
    part = os.path.splitext(os.path.basename(path))[0].rsplit("_", 1)[-1]
    folders = (*FOLDERS, *(f"{above}{part}" for above in ("", "../", "../images/")))
    root = find_root(options.root, path, folders, example)
    if example and not os.path.isfile(os.path.join(root, example)):
        inside = os.path.dirname(example)
        guesses = [f"{folder}/{inside}" for folder in folders] + list(folders)
        flat = find_root(options.root, path, guesses, name)
        if os.path.isfile(os.path.join(flat, name)):
            return flat, True
    return root, False


def _questions(
    found: Iterable[tuple[str, Mapping[str, Any]]],
    columns: Columns,
    tell: Tell,
    places: Places,
    flat: bool,
    options: Options,
    findings: list[Finding],
) -> Iterator[Question]:
    row, pictures = 0, 0
    for number, (where, values) in enumerate(found):
        part = str(values.get(columns.split or "")).strip()
        if options.splits and columns.split and part not in options.splits:
            continue
        try:
            names = columns.images(values)
            pictures = pictures or len(names)
            if not 0 < len(names) == pictures < 3:
                raise Refused(f"has {len(names)} pictures, and the first question {pictures}")
            images = tuple(_found(name, places, flat) for name in names)
            choices = strings(values.get(columns.choices or ""), several=True)
            right = right_of(values.get(columns.right or ""), choices)
            texts, answers, wrong = tell(values, images[0])
        except Refused as error:
            findings.append(Finding("bad-row", where, shown(str(error))))
            continue
        if not texts:
            findings.append(Finding("empty-question", where, "asks nothing", row))
        findings += (Finding("bad-box", where, told, row) for told in wrong)
        if not answers and right is not None:
            answers = (choices[right],)
        for text in (*texts, *answers):
            if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
                told = f"is not UTF-8: {shown(text[:60])}"
                findings.append(Finding("encoding", where, told, row))
        kinds = strings(values.get(columns.kind or ""))
        ids = strings(values.get(columns.id or ""))
        yield Question(
            images=images,
            text=texts[0] if texts else "",
            answers=answers,
            id=ids[0] if ids else str(number),
            kind=kinds[0] if kinds else None,
            choices=choices,
            where=where,
            right=right,
        )
        row += 1
