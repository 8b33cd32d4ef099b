"""What is wrong with a dataset, told before a run is spent on it."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import numpy as np

from seesay.data.questions import Question, Questions
from seesay.data.record import Dataset, Finding
from seesay.errors import InputError
from seesay.processing.image import file_size, measure
from seesay.regions.locations import NAMES

KINDS = {
    "bad-row": True,
    "missing": True,
    "unreadable": True,
    "encoding": True,
    "empty-caption": True,
    "empty-question": True,
    "no-answer": True,
    "label-range": True,
    "bad-box": True,
    "bad-location": True,
    "special-token": False,
    "blank-caption": False,
    "duplicate-row": False,
    "duplicate-picture": False,
    "left-out": False,
    "mark": False,
}
"""Every kind of finding, and whether it stops training."""

Look = Literal["exists", "header", "decode"]

_LOCATION = re.compile(
    r"<\s*(?:loc|lco|seg)[\s_-]*\d[\w.]*[\s\d.,-]*>"
    r"|<(?:loc|seg)_?\d+(?![\d>])|(?<!<)loc_\d+>",  # a bracket is missing
    re.IGNORECASE,
)
"""What is meant to be a place, in whatever spelling: the word, then a number; no longer word."""
_SPECIAL = re.compile(r"</?s>|<pad>")
"""Starts, ends and padding, which models that know them set themselves; to others they are text."""
_MARKS, _PLACES = {"<", ">"}, {*NAMES}
_PALIGEMMA = re.compile(r"<loc[0-9]{4}>|<seg[0-9]{3}>")


@dataclass(frozen=True)
class Findings:
    """What `check` found.

    Attributes:
        dataset: The name of the dataset, or of the questions.
        form: Its format.
        records: How many.
        images: How many different pictures, by their names.
        captions: How many; of questions, their answers.
        captions_per_record: The fewest and the most.
        classes: How many names of labels, or different labels.
        all: Every finding, by kind and then as they come.
    """

    dataset: str
    form: str
    records: int
    images: int
    captions: int
    captions_per_record: tuple[int, int]
    classes: int
    all: list[Finding] = field(repr=False)

    @property
    def stopping(self) -> list[Finding]:
        """Those that stop training."""
        return [finding for finding in self.all if KINDS[finding.kind]]

    @property
    def counts(self) -> dict[str, int]:
        """How many of each kind there are, in the order of `KINDS`, without zeros."""
        counts = Counter(finding.kind for finding in self.all)
        return {kind: counts[kind] for kind in KINDS if counts[kind]}

    def good_rows(self) -> list[int]:
        """Return the records that nothing stops, for `Dataset.select`."""
        bad = {finding.row for finding in self.stopping}
        return [row for row in range(self.records) if row not in bad]

    def error(self) -> InputError | None:
        """Return the error that training stops with, None when nothing stops it."""
        stopping = self.stopping
        if not stopping:
            return None
        shown = "; ".join(f"{finding.where}: {finding.what}" for finding in stopping[:3])
        more = f"; and {len(stopping) - 3} more" if len(stopping) > 3 else ""
        return InputError(
            f"{self.dataset}: {len(stopping)} rows cannot be trained on: {shown}{more}",
            "`seesay data check` lists them; data.on_missing=skip leaves them out",
        )


def check(
    dataset: Dataset | Questions,
    *,
    look: Look = "header",
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Findings:
    """Look through a dataset, or through questions.

    Args:
        dataset: Its own findings, of the reader, come first.
        look: At each picture: whether the file "exists", whether its "header" is that of a picture
            we open, or "decode" it whole, which also finds equal pictures under different names.
        workers: Threads; None takes one per core, at most 8.
        progress: Called with how many further records are done.
    """
    workers = workers or min(8, os.cpu_count() or 1)
    if isinstance(dataset, Questions):
        return _check_questions(dataset, look, workers, progress)
    found = [*dataset.findings, *_rows(dataset)]
    found += _pictures(dataset, look, workers, progress)
    counts = [dataset.text_count(i) for i in range(len(dataset))]
    labels = {int(label) for label in dataset.labels} - {-1}
    return Findings(
        dataset=dataset.name,
        form=dataset.form,
        records=len(dataset),
        images=int(dataset.image_numbers.max(initial=-1)) + 1,
        captions=sum(counts),
        captions_per_record=(min(counts, default=0), max(counts, default=0)),
        classes=len(dataset.classes or labels),
        all=_sorted(found),
    )


def _check_questions(
    questions: Questions, look: Look, workers: int, progress: Callable[[int], None] | None
) -> Findings:
    counts = [len(questions.answers(i)) for i in range(len(questions))]
    found = list(questions.findings)
    if not any(counts):
        found.append(Finding("no-answer", questions.name, "no question has an answer"))
    else:
        silent = (i for i, count in enumerate(counts) if not count)
        found += [Finding("no-answer", questions[i].where, "has no answer", i) for i in silent]
    found += _tokens(questions)
    if len(questions.pictures) == 1:  # else the same first picture says little
        found += _rows(questions.pictures[0], lambda row: _answered(questions[row]))
    for pictures in questions.pictures:
        found += _pictures(pictures, look, workers, progress)
    images = {image for question in questions for image in question.images}
    return Findings(
        dataset=questions.name,
        form=questions.form,
        records=len(questions),
        images=len(images),
        captions=sum(counts),
        captions_per_record=(min(counts, default=0), max(counts, default=0)),
        classes=0,
        all=_sorted(found),
    )


def _tokens(questions: Questions) -> Iterator[Finding]:
    """Places in questions and answers that are no tokens of any model here, and special tokens."""
    for i in range(len(questions)):
        told = [text for text in (*questions.answers(i), questions[i].text) if _MARKS & {*text}]
        wrong = next((n for t in told for n in _LOCATION.findall(t) if n not in _PLACES), None)
        if wrong is not None:
            why = "<loc_0> to <loc_999> are places"
            if _PALIGEMMA.fullmatch(wrong):
                why = "is PaliGemma's, which puts y before x and counts to 1023"
            yield Finding("bad-location", questions[i].where, f"{wrong}: {why}", i)
        special = next((found[0] for text in told if (found := _SPECIAL.search(text))), None)
        if special is not None:
            why = "in models that have it as a token, a text begins or ends there; leave it out"
            yield Finding("special-token", questions[i].where, f"{special}: {why}", i)


def _sorted(found: Iterable[Finding]) -> list[Finding]:
    place = {kind: i for i, kind in enumerate(KINDS)}
    return sorted(found, key=lambda finding: place[finding.kind])


def _answered(question: Question) -> Hashable:
    return question.answers, question.choices, question.right


def _rows(
    dataset: Dataset, more: Callable[[int], Hashable] = lambda row: None
) -> Iterator[Finding]:
    """What the listing alone tells: rows that come twice, labels that are none.

    Args:
        dataset: The records.
        more: What a row has besides its record, by which it may differ from another.
    """
    seen: dict[int, int] = {}
    for row, record in enumerate(dataset):
        told = hash((record.image, record.texts, record.label, more(row)))
        first = seen.setdefault(told, row)
        if first != row:
            yield Finding("duplicate-row", record.where, f"is {dataset[first].where} again", row)
        if record.label is not None and dataset.classes and record.label >= len(dataset.classes):
            count = len(dataset.classes)
            yield Finding("label-range", record.where, f"its label is none of {count} classes", row)


def _pictures(
    dataset: Dataset, look: Look, workers: int, progress: Callable[[int], None] | None
) -> Iterator[Finding]:
    """Look at each different picture once."""
    numbers = dataset.image_numbers
    firsts = np.sort(np.unique(numbers, return_index=True)[1]).tolist()
    wrong: dict[int, Finding] = {}
    digests: dict[bytes, int] = {}

    def look_at(row: int) -> tuple[int, Any]:
        return row, _look(dataset, row, look)

    with ThreadPoolExecutor(workers) as pool:
        rows = iter(firsts)
        while chunk := list(islice(rows, 1024)):
            for row, result in pool.map(look_at, chunk):
                where = dataset[row].where
                if isinstance(result, Finding):
                    wrong[int(numbers[row])] = result
                elif result is not None:
                    first = digests.setdefault(result, row)
                    if first != row:
                        told = f"is the picture of {dataset[first].where}"
                        yield Finding("duplicate-picture", where, told, row)
            if progress is not None:
                progress(len(chunk))
    if wrong:
        for row in range(len(dataset)):
            finding = wrong.get(int(numbers[row]))
            if finding is not None:
                yield finding._replace(row=row, where=dataset[row].where)


def _look(dataset: Dataset, row: int, look: Look) -> Finding | bytes | None:
    """What is wrong with a picture; else its digest, when it was decoded."""
    record = dataset[row]
    image = record.image
    try:
        if isinstance(image, str) and not os.path.exists(image):
            return Finding("missing", record.where, f"{image}: no such file", row)
        if look == "exists":
            if isinstance(image, str) and file_size(image) == 0:
                raise InputError("is empty")
            return None
        if look == "header":
            measure(image if isinstance(image, str) else dataset.image_bytes(row))
            return None
        dataset.picture(row)
        return hashlib.sha256(dataset.image_bytes(row)).digest()
    except InputError as error:
        told = error.what.removeprefix(f"{record.where}: ")
        name = image if isinstance(image, str) else image.name
        told = told if told.startswith(name) else f"{name}: {told}"
        return Finding("unreadable", record.where, told, row)
