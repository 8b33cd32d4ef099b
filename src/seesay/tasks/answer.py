"""Answering questions about images: in the model's own words, or with the likeliest of a list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seesay.errors import InputError, UsageError, all_or_raise
from seesay.tasks.caption import WrittenText
from seesay.tasks.finding import ONE_IMAGE
from seesay.tasks.tiles import TILES, Grid, as_grid
from seesay.types import ImageInput

if TYPE_CHECKING:
    from seesay.model import Model
    from seesay.tasks.pictures import Seen

TOP = 128
"""How many answers are scored whole, unless told otherwise: as published for VQAv2's 3128."""


@dataclass(frozen=True, kw_only=True)
class AnswerInput:
    """An image and a question.

    Attributes:
        document: Whether the image is a page, and the question about what it says.
        answers: When given, the answer is one of these, and `options` are of no use.
        options: Fields of `seesay.generation.Options`; for the others the published values hold.
    """

    image: ImageInput = field(metadata=ONE_IMAGE)
    question: str = field(metadata={"help": "Questions about it.", "each": True})
    document: bool = field(
        default=False, metadata={"help": "The image is a page; ask the model of documents."}
    )
    answers: tuple[str, ...] | None = field(
        default=None, metadata={"help": "Choose among these instead of writing an answer."}
    )
    top: int = field(
        default=TOP,
        metadata={"help": "How many of the answers are scored whole: those that begin likeliest."},
    )
    tiles: Grid | None = field(default=None, metadata=TILES)
    options: Mapping[str, Any] = field(
        default_factory=dict, metadata={"options": "seesay.generation.options:Options"}
    )


@dataclass(frozen=True, kw_only=True)
class AnswerOutput:
    """The answers to a question, best first.

    Attributes:
        answers: What was written; or of the answers to choose from, those that were scored whole.
    """

    answers: list[WrittenText]

    @property
    def answer(self) -> str:
        """The best answer."""
        return self.answers[0].text

    @property
    def truncated(self) -> bool:
        """Whether the best answer stopped before it ended."""
        return not self.answers[0].finished

    def show(self) -> str:
        """Return the best three, for people."""
        return " | ".join(answer.text for answer in self.answers[:3])


def answer(
    model: Model,
    images: Iterable[ImageInput] | ImageInput,
    questions: Sequence[str] | str,
    *,
    document: bool = False,
    tiles: tuple[int, int] | None = None,
    batch_size: int = 8,
    **options: Any,
) -> list[AnswerOutput]:
    """Answer questions in the model's own words.

    Args:
        model: One that reads questions and writes.
        images: As many as questions, or one for all; one that follows itself is encoded once.
        questions: As many as images, or one for all. One that begins with a task token of its own,
            as "<DocVQA>who signed?", is asked as it stands by families that have such tokens.
        document: Whether images are pages, and questions about what they say.
        tiles: Rows and columns of parts that are asked besides the whole, each seen as large as
            the model can: the surest answer counts. For small letters on large pages.
        batch_size: How many are answered together. What is answered does not depend on it.
        **options: As in `tasks.caption`.

    Raises:
        UsageError: The model answers no questions, an option cannot be, or images and questions do
            not pair up.
        ItemsFailed: Some images cannot be read.
    """
    given = {"document": document, "tiles": tiles, "options": options}
    requests = _requests(images, questions, **given)
    return all_or_raise(run(model, requests, batch_size=batch_size))


def rank(
    model: Model,
    images: Iterable[ImageInput] | ImageInput,
    questions: Sequence[str] | str,
    answers: Sequence[str],
    *,
    top: int = TOP,
    batch_size: int = 8,
) -> list[AnswerOutput]:
    """Answer questions by the likeliest of some answers.

    The answers whose first token is likeliest are scored whole, by the sum of their tokens'
    log-probabilities, smoothed as in training.

    Args:
        model: One that reads questions and writes.
        images: As many as questions, or one for all.
        questions: As many as images, or one for all.
        answers: What may be answered, to every question.
        top: How many answers are scored whole.
        batch_size: How many images are encoded together.

    Returns:
        The answers that were scored whole, the likeliest first, for each question.

    Raises:
        UsageError: There are no answers, or one comes twice.
        ItemsFailed: Some images cannot be read.

    Paper: arXiv 2201.12086, section 5.3.
    Reference: salesforce/BLIP, models/blip_vqa.py, rank_answer.
    """
    from seesay.tasks.vectors import as_texts

    requests = _requests(images, questions, answers=tuple(as_texts(answers)), top=top)
    return all_or_raise(run(model, requests, batch_size=batch_size))


def _requests(images: Any, questions: Any, **given: Any) -> list[AnswerInput]:
    from seesay.tasks.match import pairs
    from seesay.tasks.pictures import as_list
    from seesay.tasks.vectors import as_texts

    paired = pairs(as_list(images), as_texts(questions), "questions")
    return [AnswerInput(image=image, question=question, **given) for image, question in paired]


def run(
    model: Model, requests: Sequence[AnswerInput], *, batch_size: int = 8
) -> Iterator[AnswerOutput | InputError]:
    """Serve requests in batches of those with the same options or answers."""
    from seesay.tasks.pictures import serve
    from seesay.tasks.writing import asked, choose, filled, write

    model.require("answer")
    for answers, top, options in {(r.answers, r.top, tuple(r.options)) for r in requests}:
        _check(answers, top, options)
    if any([as_grid(request.tiles) for request in requests]):
        whole = run(model, [r for r in requests if not r.tiles], batch_size=batch_size)
        for request in requests:
            yield _surest(model, request, batch_size) if request.tiles else next(whole)
        return
    asking = {
        id(r): asked(model, "answer", r.options, "document" if r.document else "") for r in requests
    }

    def respond(groups: list[list[AnswerInput]], seen: Seen) -> list[AnswerOutput]:
        listed = [request for group in groups for request in group]
        options = asking[id(listed[0])][1]
        questions = [filled(asking[id(r)][0], r.question) for r in listed]
        if listed[0].answers is None:
            found = write(model, "answer", questions, seen.features[:, 0], options)
        else:
            found = choose(model, questions, listed[0].answers, seen.features[:, 0], listed[0].top)
        return [AnswerOutput(answers=answers) for answers in found]

    yield from serve(
        model,
        requests,
        respond,
        see=model.module.encode_image,  # type: ignore[arg-type]
        alike=lambda request: (asking[id(request)][1], request.answers, request.top),
        batch_size=batch_size,
    )


def _surest(model: Model, request: AnswerInput, batch_size: int) -> AnswerOutput | InputError:
    """The answer of the tile, or of the whole, that is surest of it, token by token."""
    from seesay.tasks.tiles import best_answer

    def sure(found: AnswerOutput) -> float:
        best = found.answers[0]
        return sum(best.logprobs) / len(best.logprobs) if best.logprobs else best.score

    found: AnswerOutput | InputError = best_answer(
        request, lambda pieces: run(model, pieces, batch_size=batch_size), sure
    )
    return found


def _check(answers: tuple[str, ...] | None, top: int, options: Sequence[str]) -> None:
    if answers is None:
        return
    if not answers or any(not answer.strip() for answer in answers):
        raise UsageError("there must be answers to choose from, none of them empty")
    if len(set(answers)) < len(answers):
        twice = next(answer for answer in answers if answers.count(answer) > 1)
        raise UsageError(f"the answer {twice!r} is given twice")
    if top < 1:
        raise UsageError(f"top={top} is not a number of answers", f"{TOP} is what is usual")
    if options:
        raise UsageError(f"{options[0]} has no effect where answers are given to choose from")
