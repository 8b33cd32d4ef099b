"""Answering: how many questions about pictures a model gets right, and whether it looked.

Paper: arXiv 1505.00468 (VQA), 1612.00837 (VQAv2, on models that answer without looking), 1906.00067
(OK-VQA), 2206.01718 (A-OKVQA), 1902.09506 (GQA).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from seesay.errors import InputError, UsageError
from seesay.evaluate.asking import ask, elsewhere
from seesay.evaluate.bootstrap import Statistic
from seesay.evaluate.captioned import draw
from seesay.evaluate.captions import writing
from seesay.evaluate.encode import Progress, Silent, at_rest, source
from seesay.evaluate.extremes import BEST, WORST
from seesay.evaluate.predictions import (
    Predictions,
    check_numbers,
    check_target,
    write_predictions,
)
from seesay.evaluate.ranking import Floats, Ints
from seesay.evaluate.report import Evaluation, Example, Report, Table
from seesay.evaluate.text.accuracy import (
    direct_accuracy,
    exact_accuracy,
    normalised,
    vqa_accuracy,
)

if TYPE_CHECKING:
    from seesay.data.questions import Question, Questions
    from seesay.model import Model

Mode = Literal["generate", "rank", "choices"]
Measure = Literal["vqa", "direct", "exact", "choice"]
Measured = Callable[[str, Sequence[str]], float]

ANNOTATORS = 4
"""How many have to be asked so that with one left out, a third for each can be a whole."""


def _by_annotators(answer: str, said: Sequence[str]) -> float:
    """The official accuracy; the exact one where too few were asked for it, as in Visual Genome."""
    return (vqa_accuracy if len(said) >= ANNOTATORS else exact_accuracy)(answer, said)


MEASURES: dict[str, Measured] = {
    "vqa": _by_annotators,
    "direct": direct_accuracy,
    "exact": exact_accuracy,
    "choice": lambda answer, said: float(answer in said),
}

KINDS = 10
"""Kinds of questions that get figures of their own; more are only in the table."""

LISTED = 65
"""Rows of a table: as many as the VQA challenge has types of questions."""


def answering(
    model: Model | None,
    questions: Questions,
    *,
    mode: Mode = "generate",
    answers: Sequence[str] | None = None,
    top: int = 128,
    options: Mapping[str, Any] | None = None,
    measure: Measure | None = None,
    controls: bool = False,
    predictions: Predictions | None = None,
    save: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    resamples: int = 1000,
    batch_size: int = 8,
    progress: Progress = Silent,
) -> Report:
    """Evaluate answers to questions.

    Figures: accuracy, by kind of question where the data tells kinds; question_only_accuracy, which
    is reached without looking, by what most annotators said of the other questions in these words;
    with controls, shuffled_accuracy, of the same model shown another picture, and the difference
    that looking makes. Chance is the best of all constant answers.

    Args:
        model: One that answers; None where `predictions` are given.
        questions: With answers. Without any, answers can only be saved.
        mode: "generate": in the model's own words; "rank": the likeliest of `answers`; "choices":
            the likeliest of the choices of each question.
        answers: What may be answered, for "rank".
        top: How many of them are scored whole.
        options: Fields of `seesay.generation.Options`, for "generate".
        measure: "vqa": a third for each annotator who said it, normalised, leaving one out;
            "direct": the same for A-OKVQA, as it stands and leaving none out; "exact": any
            annotator's answer, normalised; "choice": the right one of the choices. When None,
            "choice" for choices; "direct" where several were asked and there are choices too;
            "vqa" where four were asked, for fewer cannot make a whole; else "exact".
        controls: Ask again with the pictures exchanged.
        predictions: Answers to score, in place of a model's.
        save: Write the answers into this file, as VQA's results.
        limit: Questions of at most so many pictures, drawn by the seed.
        seed: Decides what is drawn and exchanged, sampling where the options ask for it, and the
            intervals.
        resamples: Samples behind the confidence intervals; 0 for none.
        batch_size: Questions answered together.
        progress: Shows how far it is.

    Raises:
        UsageError: The model answers no questions, or what is chosen does not go together.
        InputError: There are no answers to compare with, or no picture can be read.
    """
    _check(model, mode, answers, options, controls)
    check_target(save)
    given = dict(options or {})
    if given.get("do_sample"):
        given.setdefault("seed", seed)
    settings: dict[str, Any] = {"mode": mode, "controls": controls, "limit": limit, "seed": seed}
    settings |= {"resamples": resamples, "batch_size": batch_size}
    settings |= {"answers": len(answers), "top": top} if answers and mode == "rank" else {}
    settings |= writing(model, "answer", given) if mode == "generate" else {}
    run = Evaluation("answering", model or predictions, questions, settings)
    pictures = draw(questions.pictures[0], limit, seed, lambda record: bool(record.texts),
                    run.skipped, "no question")  # fmt: skip
    chosen = _measure(questions, mode, measure)
    if mode == "choices":
        pictures = _with(pictures, lambda row: bool(questions[row].choices), questions, run,
                         "no choices")  # fmt: skip
    right = {row: _right(questions[row], chosen) for rows in pictures for row in rows}
    if any(right.values()):
        pictures = _with(pictures, lambda row: bool(right[row]), questions, run, "no answer")
    elif save is None:
        raise InputError(
            f"{questions.name} has no answers to compare with",
            "name a file for the answers, or give the file with annotations",
        )

    if save is not None or model is None:
        check_numbers(questions, (row for rows in pictures for row in rows))

    def said(shown: Mapping[int, int] | None = None) -> dict[int, str]:
        if model is None:
            return _read(predictions, questions, pictures, run)
        with at_rest(model):
            return _answered(model, questions, pictures, shown or {}, mode, answers, top, given,
                             run, batch_size, progress)  # fmt: skip

    found = said()
    if save is not None:
        told = {questions[row].id: text for row, text in found.items()}
        write_predictions(save, told, ("question_id", "answer"))
    # in the order of the pictures, which are what is drawn for the intervals
    pictures = [
        kept for kept in ([row for row in some if row in found] for some in pictures) if kept
    ]
    rows = [row for some in pictures for row in some]
    if not any(right.values()):
        return run.report(lambda _: {}, 1, chance={}, counts={"questions": len(rows)})
    clusters = np.repeat(np.arange(len(pictures)), [len(some) for some in pictures])
    measured = MEASURES[chosen]
    columns = {
        "accuracy": _score(measured, rows, found, right),
        "question_only_accuracy": _score(measured, rows, _unseen(questions, rows, right), right),
    }
    if controls:
        places = elsewhere(len(pictures), seed)
        shown = {row: pictures[places[i]][0] for i, some in enumerate(pictures) for row in some}
        blind = said(shown)
        columns["shuffled_accuracy"] = _score(measured, rows, blind, right)
        columns["difference_by_looking"] = columns["accuracy"] - columns["shuffled_accuracy"]
    kinds = np.array([questions[row].kind or "" for row in rows])
    return run.report(
        _statistic(columns, kinds, clusters),
        len(pictures),
        chance={"accuracy": _constant(measured, rows, right)},
        counts={
            "questions": len(rows),
            "pictures": len(pictures),
            "distinct_answers": len({normalised(found[row]) for row in rows}),
            "skipped": len(run.skipped),
        },
        settings={"measure": chosen},
        tables=_tables(questions, rows, kinds, columns),
        examples=_examples(questions, rows, found, right, columns["accuracy"]),
    )


def _check(
    model: Model | None,
    mode: str,
    answers: Sequence[str] | None,
    options: Mapping[str, Any] | None,
    controls: bool,
) -> None:
    if mode == "rank" and not answers and model is not None:
        raise UsageError("there is nothing to rank", "give answers, or another mode")
    if mode != "rank" and answers:
        raise UsageError(f"answers have no effect in mode {mode!r}", "choose mode rank")
    if mode != "generate" and options:
        raise UsageError(f"{next(iter(options))} has no effect in mode {mode!r}")
    if model is None and controls:
        raise UsageError("controls ask the model again, and there is none", "name a model")


def _measure(questions: Questions, mode: str, measure: Measure | None) -> Measure:
    """The measure that fits the data."""
    if measure is not None:
        return measure
    if mode == "choices":
        return "choice"
    most = max((len(questions.answers(i)) for i in range(len(questions))), default=0)
    if most > 1 and any(question.choices for question in questions):
        return "direct"
    return "vqa" if most >= ANNOTATORS else "exact"


def _right(question: Question, measure: str) -> tuple[str, ...]:
    """What annotators said of a question; of choices, the right one."""
    if measure != "choice":
        return question.answers
    if question.right is not None:
        return (question.choices[question.right],)
    return tuple(answer for answer in set(question.answers) if answer in question.choices)


def _with(
    pictures: Sequence[Sequence[int]],
    usable: Callable[[int], bool],
    questions: Questions,
    run: Evaluation,
    why: str,
) -> list[list[int]]:
    """The usable rows of each picture, without the pictures that have none."""
    kept = []
    for rows in pictures:
        for row in rows:
            if not usable(row):
                run.skipped.add(questions[row].where, why)
        kept.append([row for row in rows if usable(row)])
    return [rows for rows in kept if rows]


def _answered(
    model: Model,
    questions: Questions,
    pictures: Sequence[Sequence[int]],
    shown: Mapping[int, int],
    mode: str,
    answers: Sequence[str] | None,
    top: int,
    options: Mapping[str, Any],
    run: Evaluation,
    batch_size: int,
    progress: Progress,
) -> dict[int, str]:
    """What the model answers; `shown` says of which row it is shown the picture."""
    from seesay.tasks.answer import AnswerInput

    def request(row: int) -> AnswerInput:
        question = questions[row]
        image = source(questions.pictures[0], shown.get(row, row))
        if mode == "generate":
            return AnswerInput(image=image, question=question.text, options=options)
        listed = question.choices if mode == "choices" else tuple(answers or ())
        listed = tuple(dict.fromkeys(listed))
        return AnswerInput(image=image, question=question.text, answers=listed, top=top)

    return ask(
        model,
        "answer",
        [row for rows in pictures for row in rows],
        request,
        lambda output: str(output.answer),
        where=lambda row: questions[row].where,
        skipped=run.skipped,
        batch_size=batch_size,
        progress=progress,
        what="answers to other pictures" if shown else "answers",
    )


def _read(
    predictions: Predictions | None,
    questions: Questions,
    pictures: Sequence[Sequence[int]],
    run: Evaluation,
) -> dict[int, str]:
    """What a file says of the questions."""
    found = {}
    for row in (row for rows in pictures for row in rows):
        text = None if predictions is None else predictions.of(questions[row].id)
        if text is None:
            run.skipped.add(questions[row].where, "no prediction")
        else:
            found[row] = text
    if not found:
        name = predictions.name if predictions else "nothing"
        raise InputError(f"{name} answers none of the questions of {questions.name}")
    return found


def _score(
    measured: Measured,
    rows: Sequence[int],
    found: Mapping[int, str],
    right: Mapping[int, Sequence[str]],
) -> Floats:
    """The accuracy of each question; of one that could not be asked again, none."""
    return np.array([measured(found[row], right[row]) if row in found else 0.0 for row in rows])


def _unseen(
    questions: Questions, rows: Sequence[int], right: Mapping[int, Sequence[str]]
) -> dict[int, str]:
    """What is said most of the other questions in the same words, or of all the others."""
    words = {row: " ".join(questions[row].text.lower().split()) for row in rows}
    everything: Counter[str] = Counter()
    known: dict[str, Counter[str]] = {}
    for row in rows:
        everything.update(right[row])
        known.setdefault(words[row], Counter()).update(right[row])
    usual = [answer for answer, _ in everything.most_common(1)]
    guesses = {}
    for row in rows:
        others = known[words[row]] - Counter(right[row])
        guesses[row] = (others.most_common(1) or [(usual[0], 0)])[0][0]
    return guesses


def _constant(measured: Measured, rows: Sequence[int], right: Mapping[int, Sequence[str]]) -> float:
    """The accuracy of the best of the ten commonest answers, given to every question."""
    common = Counter(answer for row in rows for answer in right[row]).most_common(10)
    return max(float(np.mean([measured(one, right[row]) for row in rows])) for one, _ in common)


def _statistic(columns: Mapping[str, Floats], kinds: Any, clusters: Ints) -> Statistic:
    """From how often each picture is counted to the means of the columns, and by kind."""
    listed = sorted(set(kinds.tolist()) - {""})
    parts = {kind: kinds == kind for kind in listed} if len(listed) <= KINDS else {}

    def statistic(counts: Ints) -> dict[str, float]:
        weights = counts[clusters]
        if not weights.sum():
            return {}
        figures = {key: float(np.average(c, weights=weights)) for key, c in columns.items()}
        for kind, inside in parts.items():
            if weights[inside].sum():
                mean = np.average(columns["accuracy"][inside], weights=weights[inside])
                figures[f"{kind}_accuracy"] = float(mean)
        return figures

    return statistic


def _tables(
    questions: Questions, rows: Sequence[int], kinds: Any, columns: Mapping[str, Floats]
) -> Iterable[Table]:
    """Accuracy by kind, and by how questions begin, the commonest first."""
    begun = np.array([" ".join(questions[row].text.lower().split()[:2]) for row in rows])
    for heading, names in (("By kind", kinds), ("By how questions begin", begun)):
        counted = Counter(name for name in names.tolist() if name).most_common(LISTED)
        listed = []
        for name, count in counted:
            means = (float(column[names == name].mean()) for column in columns.values())
            listed.append([name, count, *means])
        if listed:
            yield Table(heading, ["name", "questions", *columns], listed)


def _examples(
    questions: Questions,
    rows: Sequence[int],
    found: Mapping[int, str],
    right: Mapping[int, Sequence[str]],
    scores: Floats,
) -> dict[str, list[Example]]:
    """Wrong answers to what annotators agree on the most, and right ones."""
    agreed = np.array([Counter(right[row]).most_common(1)[0][1] for row in rows])
    order = np.lexsort((np.arange(len(rows)), -agreed))

    def show(i: int) -> Example:
        row = rows[i]
        wanted = ", ".join(answer for answer, _ in Counter(right[row]).most_common(3))
        return Example(
            f"{100 * scores[i]:.0f} %",
            [("question", questions[row].text), ("answered", found[row]), ("wanted", wanted)],
            [("picture", row)],
        )

    wrong = [i for i in order.tolist() if scores[i] == 0][:WORST]
    good = [i for i in order.tolist() if scores[i] > 0.99][:BEST]
    return {"Wrong answers": [show(i) for i in wrong], "Right answers": [show(i) for i in good]}
