"""Questions about pictures, and their answers: what VQA, NLVR2 and visual entailment consist of.

`Questions` is a sequence of them, held as compactly as `Dataset` holds records: a published set has
more than half a million.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Unpack, overload

import numpy as np

from seesay.data.columns import Strings
from seesay.data.record import Cell, Dataset, Finding, Record, Source
from seesay.errors import InputError
from seesay.types import Picture

if TYPE_CHECKING:
    from seesay.data.readers.options import Said

FORM = "questions"


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a picture, or a statement about two.

    Attributes:
        images: Where its pictures are, in order; absolute paths.
        text: The question or statement.
        answers: What each annotator said, equal ones repeated; none where nobody was asked. For a
            statement its label: "True", "entailment".
        id: As the file numbers it, else its place in the file.
        kind: What the file says it is about ("yes/no", "number"), None where it says nothing.
        choices: What may be answered, where the file tells.
        where: What messages call it: "vqa.csv:17".
        right: Which of the choices is right, None where that is not told.
    """

    images: tuple[Source, ...]
    text: str
    answers: tuple[str, ...]
    id: str
    kind: str | None = None
    choices: tuple[str, ...] = ()
    where: str = ""
    right: int | None = None


class Questions(Sequence[Question]):
    """Questions, compactly.

    Args:
        name: What messages call them.
        questions: Consumed once; all about equally many pictures.
        root: Below it lie the pictures; absolute.
        findings: What the reader met on its way; it may go on appending while it is consumed.
        read_cell: As a `Dataset` has it, for pictures in a table.

    Attributes:
        pictures: One dataset for the first pictures, with the questions as their texts, and one for
            the second ones where there are any.

    Raises:
        InputError: Some are about one picture and some about two; or one is about none.
    """

    def __init__(
        self,
        name: str,
        questions: Iterable[Question],
        *,
        root: str = "",
        findings: list[Finding] | None = None,
        read_cell: Callable[[int], bytes] | None = None,
    ) -> None:
        self._ids, self._seconds = Strings(), Strings()
        self._answers, self._kinds, self._choices = _Words(), _Words(), _Words()
        self._right = array("h")
        firsts = self._firsts(questions)
        found = Dataset(name, firsts, form=FORM, root=root, findings=findings, read_cell=read_cell)
        self.pictures: tuple[Dataset, ...] = (found,)
        if len(self._seconds):
            names = (self._seconds[i] for i in range(len(self._seconds)))
            others = (
                Record(path, (), None, path, first.where)
                for path, first in zip(names, found, strict=True)
            )
            self.pictures += (Dataset(name, others, form=FORM, root=root),)

    def _firsts(self, questions: Iterable[Question]) -> Iterator[Record]:
        for i, question in enumerate(questions):
            first, *others = question.images
            if len(others) > 1 or (i and bool(others) != (len(self._seconds) > 0)):
                raise InputError(
                    f"{question.where}: has {len(question.images)} pictures",
                    "all questions are about one picture, or all about two",
                )
            for other in others:
                self._seconds.append(str(other))
            self._ids.append(question.id)
            self._answers.append(question.answers)
            self._kinds.append(() if question.kind is None else (question.kind,))
            self._choices.append(question.choices)
            self._right.append(-1 if question.right is None else question.right)
            texts = (question.text,) if question.text else ()
            shown = first.name if isinstance(first, Cell) else str(first)
            yield Record(first, texts, None, shown, question.where)

    def __repr__(self) -> str:
        return f"<seesay.data.Questions {self.name} ({len(self)} questions)>"

    @property
    def name(self) -> str:
        """As given."""
        return self.pictures[0].name

    @property
    def form(self) -> str:
        """As a `Dataset` has it."""
        return self.pictures[0].form

    @property
    def root(self) -> str:
        """As given."""
        return self.pictures[0].root

    @property
    def findings(self) -> list[Finding]:
        """As given."""
        return self.pictures[0].findings

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, i: int) -> Question: ...
    @overload
    def __getitem__(self, i: slice) -> Questions: ...
    def __getitem__(self, i: int | slice) -> Question | Questions:
        if isinstance(i, slice):
            return self.select(range(*i.indices(len(self))))
        i = range(len(self))[i]
        records = [dataset[i] for dataset in self.pictures]
        kinds = self._kinds[i]
        return Question(
            images=tuple(record.image for record in records),
            text=records[0].texts[0] if records[0].texts else "",
            answers=self._answers[i],
            id=self._ids[i],
            kind=kinds[0] if kinds else None,
            choices=self._choices[i],
            where=records[0].where,
            right=None if self._right[i] < 0 else self._right[i],
        )

    def __iter__(self) -> Iterator[Question]:
        return (self[i] for i in range(len(self)))

    def select(self, rows: Iterable[int]) -> Questions:
        """Return some of them, in the order given."""
        chosen = (self[i] for i in rows)
        return Questions(self.name, chosen, root=self.root, read_cell=self.pictures[0].read_cell)

    def answers(self, i: int) -> tuple[str, ...]:
        """Return what each annotator said about a question."""
        return self._answers[i]

    def picture(self, i: int, n: int = 0, at_least: int | Callable[..., int] = 0) -> Picture:
        """Decode the picture of a question, or its second one (n = 1).

        Raises:
            InputError: It cannot be decoded; the message names the question.
        """
        return self.pictures[n].picture(i, at_least)

    @cached_property
    def digest(self) -> str:
        """Hex digest of the listing: names, questions, answers; not of the pictures."""
        told = hashlib.sha256()
        for dataset in self.pictures:
            told.update(dataset.digest.encode())
        told.update(self._ids.data)
        told.update(np.asarray(self._ids.ends).tobytes())
        told.update(np.asarray(self._right).tobytes())
        for words in (self._answers, self._kinds, self._choices):
            words.tell(told.update)
        return told.hexdigest()

    @property
    def nbytes(self) -> int:
        """How much memory the listing takes."""
        words = sum(part.nbytes for part in (self._answers, self._kinds, self._choices))
        pictures = sum(part.nbytes for part in self.pictures)
        return self._ids.nbytes + self._seconds.nbytes + 2 * len(self._right) + words + pictures


class _Words:
    """An append-only list of tuples of words; each different word is kept once."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._words: list[str] = []
        self._places, self._ends = array("i"), array("q")

    def append(self, words: Sequence[str]) -> None:
        for word in words:
            place = self._known.setdefault(word, len(self._words))
            if place == len(self._words):
                self._words.append(word)
            self._places.append(place)
        self._ends.append(len(self._places))

    def __getitem__(self, i: int) -> tuple[str, ...]:
        start = self._ends[i - 1] if i else 0
        return tuple(self._words[place] for place in self._places[start : self._ends[i]])

    def tell(self, update: Callable[[bytes], None]) -> None:
        """Pass everything on, as bytes."""
        for word in self._words:
            update(word.encode("utf-8", "surrogatepass") + b"\0")
        update(np.asarray(self._places).tobytes() + np.asarray(self._ends).tobytes())

    @property
    def nbytes(self) -> int:
        words = sum(len(word) + 150 for word in self._words)  # an object and its place in a dict
        return words + 4 * len(self._places) + 8 * len(self._ends)


def open_questions(
    path: str | os.PathLike[str],
    **said: Unpack[Said],
) -> Questions:
    """Open the questions that lie at a path, whatever their format; see docs/data-formats.md.

    Reads names, questions and answers, no picture. Rows that cannot be used are left out and told
    in `Questions.findings`.

    Args:
        path: A listing; a folder with one for each part; or several listings in braces:
            "{vqa_train,vqa_val,vg_qa}.json".
        **said: What it does not say itself, as of `open_dataset`; `text_column` has the questions
            and `label_column` the answers.

    Raises:
        InputError: Nothing there is known, or the listing cannot be read.
        UsageError: There is no such option, or one does not fit what is there.
    """
    from seesay.data.readers import asked
    from seesay.data.readers.options import Options

    return asked.read(os.fspath(path), Options.of(said))


def open_prompts(
    path: str | os.PathLike[str],
    *,
    prompt: str | None = None,
    **said: Unpack[Said],
) -> Questions:
    """Open data of any format as raw prompts and what is written after them.

    Rows with a prefix and a suffix are taken as they are. Of others a task token says what is
    asked: "<VQA>" or "<DocVQA>" and the question, "<CAPTION>" of captions, "<OD>" of COCO's boxes;
    see docs/data-formats.md.

    Args:
        path: As in `open_questions` and `open_dataset`.
        prompt: The task token of rows without a prefix, in place of the one that follows from
            what they have.
        **said: As there.

    Raises:
        InputError: Nothing there is known, or the listing cannot be read.
        UsageError: There is no such option, or one does not fit what is there.
    """
    from seesay.data.readers import prompted
    from seesay.data.readers.options import Options

    return prompted.read(os.fspath(path), Options.of(said, "prompt"), prompt)
