"""Comparing: how often a model is right about what is said of two pictures.

Paper: arXiv 1811.00491 (NLVR2), section 6: accuracy, and consistency: the share of statements that
are judged rightly for every pair of pictures they are made about.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from seesay.data.record import Dataset
from seesay.errors import InputError, UsageError
from seesay.evaluate.asking import ask, elsewhere
from seesay.evaluate.bootstrap import Statistic
from seesay.evaluate.captioned import draw
from seesay.evaluate.encode import Progress, Silent, at_rest, source
from seesay.evaluate.extremes import BEST, WORST
from seesay.evaluate.pair_matching import NO, YES
from seesay.evaluate.predictions import (
    Predictions,
    check_numbers,
    check_target,
    write_predictions,
)
from seesay.evaluate.ranking import Floats, Ints
from seesay.evaluate.report import Evaluation, Example, Report

if TYPE_CHECKING:
    from seesay.data.questions import Question, Questions
    from seesay.model import Model

_NUMBERED = re.compile(r"(\w+-\d+)-\d+-(\d+)")
"""How NLVR2 numbers: part and set, pair of pictures, statement."""


def comparing(
    model: Model | None,
    questions: Questions,
    *,
    controls: bool = False,
    predictions: Predictions | None = None,
    save: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    resamples: int = 1000,
    batch_size: int = 16,
    progress: Progress = Silent,
) -> Report:
    """Evaluate statements about two pictures.

    Figures: accuracy; consistency, the share of statements that are judged rightly wherever they
    are made; with controls, shuffled_accuracy, of the same model shown two other pictures, and the
    difference that looking makes. Chance is the commoner of true and false.

    Args:
        model: One that compares; None where `predictions` are given.
        questions: Statements about two pictures, with "true" or "false" as answers.
        controls: Ask again with the pictures exchanged.
        predictions: Verdicts to score, in place of a model's.
        save: Write the verdicts into this file; .csv is what NLVR2's own program reads.
        limit: Statements about at most so many first pictures, drawn by the seed.
        seed: Decides what is drawn and exchanged, and the intervals.
        resamples: Samples behind the confidence intervals; 0 for none.
        batch_size: Statements judged together.
        progress: Shows how far it is.

    Raises:
        UsageError: The model does not compare, or there is none to ask again.
        InputError: There are not two pictures to each, or no verdicts to compare with.
    """
    if len(questions.pictures) < 2:
        raise InputError(f"{questions.name} is about one picture each", "seesay eval vqa takes it")
    if model is None and controls:
        raise UsageError("controls ask the model again, and there is none", "name a model")
    check_target(save)
    settings = {"controls": controls, "limit": limit, "seed": seed, "resamples": resamples}
    run = Evaluation("comparing", model or predictions, questions,
                     {**settings, "batch_size": batch_size})  # fmt: skip
    drawn = draw(questions.pictures[0], limit, seed, lambda record: bool(record.texts),
                 run.skipped, "no statement")  # fmt: skip
    truth: dict[int, bool] = {}
    for row in (row for rows in drawn for row in rows):
        verdict = _verdict(questions[row])
        if verdict is None:
            run.skipped.add(questions[row].where, "neither true nor false")
        else:
            truth[row] = verdict
    if not truth:
        raise InputError(f"{questions.name} does not say which of its statements are true")

    if save is not None or model is None:
        check_numbers(questions, truth)

    def judged(shown: Mapping[int, int] | None = None) -> dict[int, bool]:
        if model is None:
            return _read(predictions, questions, list(truth), run)
        with at_rest(model):
            return _asked(model, questions, list(truth), shown or {}, run, batch_size, progress)

    found = judged()
    if save is not None:
        told = {questions[row].id: str(verdict) for row, verdict in found.items()}
        write_predictions(save, told, ("identifier", "prediction"))
    rows = [row for row in truth if row in found]
    columns = {"accuracy": np.array([float(found[row] == truth[row]) for row in rows])}
    if controls:
        places = elsewhere(len(rows), seed)
        blind = judged({row: rows[place] for row, place in zip(rows, places, strict=True)})
        shuffled = [float(row in blind and blind[row] == truth[row]) for row in rows]
        columns["shuffled_accuracy"] = np.array(shuffled)
        columns["difference_by_looking"] = columns["accuracy"] - columns["shuffled_accuracy"]
    names = [statement_of(questions[row]) for row in rows]
    _, statements = np.unique(names, return_inverse=True)
    share = float(np.mean([truth[row] for row in rows]))
    both = itertools.chain(*questions.pictures)
    return run.report(
        _statistic(columns, statements),
        int(statements.max()) + 1,
        chance={"accuracy": max(share, 1 - share)},
        counts={
            "pairs": len(rows),
            "statements": int(statements.max()) + 1,
            "said_true": sum(found[row] for row in rows),
            "skipped": len(run.skipped),
        },
        examples=_examples(questions, rows, found, columns["accuracy"]),
        source=Dataset(questions.name, both, form="questions", root=questions.root),
    )


def statement_of(question: Question) -> str:
    """Return what is equal for the same statement about other pictures."""
    number = _NUMBERED.fullmatch(question.id)
    return "-".join(number.groups()) if number else question.text


def _verdict(question: Question) -> bool | None:
    said = {answer.strip().lower() for answer in question.answers}
    return True if said and said <= set(YES) else False if said and said <= set(NO) else None


def _asked(
    model: Model,
    questions: Questions,
    rows: Sequence[int],
    shown: Mapping[int, int],
    run: Evaluation,
    batch_size: int,
    progress: Progress,
) -> dict[int, bool]:
    """What the model says, about the pictures of the row that `shown` says in place of a row's."""
    from seesay.tasks.compare import CompareInput

    first, second = questions.pictures

    def request(row: int) -> CompareInput:
        place = shown.get(row, row)
        left, right = source(first, place), source(second, place)
        return CompareInput(first=left, second=right, statement=questions[row].text)

    return ask(
        model,
        "compare",
        rows,
        request,
        lambda output: bool(output.true),
        where=lambda row: questions[row].where,
        skipped=run.skipped,
        batch_size=batch_size,
        progress=progress,
        what="statements about other pictures" if shown else "statements",
    )


def _read(
    predictions: Predictions | None, questions: Questions, rows: Sequence[int], run: Evaluation
) -> dict[int, bool]:
    """What a file says of the statements.

    Raises:
        InputError: It says something else than true or false, or nothing of any.
    """
    found = {}
    for row in rows:
        text = None if predictions is None else predictions.of(questions[row].id)
        if text is None:
            run.skipped.add(questions[row].where, "no prediction")
        elif text.strip().lower() in (*YES, *NO):
            found[row] = text.strip().lower() in YES
        else:
            raise InputError(f"prediction {text!r} is neither true nor false")
    if not found:
        name = predictions.name if predictions else "nothing"
        raise InputError(f"{name} speaks of none of the statements of {questions.name}")
    return found


def _statistic(columns: Mapping[str, Floats], statements: Ints) -> Statistic:
    """From how often each statement is counted to the means over pairs, and consistency."""
    consistent = np.ones(int(statements.max()) + 1)
    np.minimum.at(consistent, statements, columns["accuracy"])

    def statistic(counts: Ints) -> dict[str, float]:
        weights = counts[statements]
        figures = {key: float(np.average(c, weights=weights)) for key, c in columns.items()}
        return {**figures, "consistency": float(np.average(consistent, weights=counts))}

    return statistic


def _examples(
    questions: Questions, rows: Sequence[int], found: Mapping[int, bool], right: Floats
) -> dict[str, list[Example]]:
    def show(i: int) -> Example:
        row = rows[i]
        said = "true" if found[row] else "false"
        told = [("statement", questions[row].text), ("said", said)]
        pictures = [("left", row), ("right", row + len(questions))]
        return Example("right" if right[i] else "wrong", told, pictures)

    wrong, good = np.flatnonzero(right == 0), np.flatnonzero(right == 1)
    return {
        "Wrong verdicts": [show(i) for i in wrong[:WORST].tolist()],
        "Right verdicts": [show(i) for i in good[:BEST].tolist()],
    }
