"""Prompts with task tokens, and questions: how well a model does what it is told.

Paper: arXiv 2311.06242 (Florence-2), section 5, for the tasks and their figures; arXiv 2007.00398
(DocVQA).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seesay.errors import InputError, UsageError
from seesay.evaluate.asking import ask, elsewhere
from seesay.evaluate.captioned import draw
from seesay.evaluate.captions import writing
from seesay.evaluate.compared import Compared
from seesay.evaluate.encode import Progress, Silent, at_rest, source
from seesay.evaluate.exchange import Control, other_prompts
from seesay.evaluate.kinds import ANSWERS, CAPTIONS, KINDS, READING, kind_of, token_of
from seesay.evaluate.predictions import (
    Predictions,
    check_numbers,
    check_target,
    write_predictions,
)
from seesay.evaluate.ranking import Ints
from seesay.evaluate.report import Evaluation, Report, Table
from seesay.model import supports
from seesay.regions import Regions
from seesay.tasks.task import TASKS

if TYPE_CHECKING:
    from seesay.data.questions import Questions
    from seesay.evaluate.regions.exact import Wanted
    from seesay.model import Model

TEXT = (ANSWERS, CAPTIONS, READING)
"""Kinds that no place matters for."""


def instructed(
    model: Model | None,
    questions: Questions,
    *,
    kinds: Collection[str] | None = None,
    wanted: Wanted | None = None,
    tiles: tuple[int, int] | None = None,
    constrained: bool = False,
    controls: bool = False,
    predictions: Predictions | None = None,
    save: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    resamples: int = 1000,
    batch_size: int = 8,
    progress: Progress = Silent,
    **options: Any,
) -> Report:
    """Evaluate what a model says to prompts, by the kinds of prompts that there are.

    Figures: of questions anls and accuracy; of captions cider_d; of detection map, map50, map75 and
    ar100; of grounding grounding_accuracy; of segmentation mask_iou and cumulative_mask_iou; of
    reading cer, wer and word_f1; of reading with regions f1 and place_f1. With controls, the main
    figure of each kind with other pictures and with other questions, what is gained over these, and
    a plain sentence on each. Chance is the best of all constant answers; of the other kinds, what
    the model said, each taken for another prompt of the task.

    Args:
        model: One that follows prompts; for questions alone, any that answers. None where
            `predictions` are given.
        questions: Prompts, asked as they are, and what is right to say to them, places as location
            tokens. Without any answers, what the model says can only be saved.
        kinds: Which kinds of prompts to ask, by `Kind.name`; None for all.
        wanted: Exact regions, where the answers have none or have them in bins only.
        tiles: Look at pictures in so many rows and columns of parts.
        constrained: Let nothing but well-formed places be written.
        controls: Ask again with pictures exchanged, and with questions exchanged, where there are
            several.
        predictions: Answers to score, in place of a model's; for kinds without places.
        save: Write what the model said into this file, as DocVQA's results.
        limit: Prompts about at most so many pictures, drawn by the seed.
        seed: Decides what is drawn and exchanged, and the intervals.
        resamples: Samples behind the confidence intervals; 0 for none.
        batch_size: Prompts served together.
        progress: Shows how far it is.
        **options: Fields of `seesay.generation.Options`; for the others the published values hold.

    Raises:
        UsageError: The model follows no prompts, or what is chosen does not go together.
        InputError: There is nothing to compare with, or no picture can be read.
    """
    check_target(save)
    if unknown := set(kinds or ()) - {kind.name for kind in KINDS}:
        known = ", ".join(kind.name for kind in KINDS)
        raise UsageError(f"there is no kind of prompts called {min(unknown)!r}", f"one of {known}")
    if model is None and controls:
        raise UsageError("controls ask the model again, and there is none", "name a model")
    if options.get("do_sample"):
        options.setdefault("seed", seed)
    settings: dict[str, Any]
    settings = {"kinds": sorted(kinds) if kinds else None, "controls": controls, "limit": limit}
    settings |= {"tiles": tiles, "constrained": constrained, "batch_size": batch_size}
    settings |= {"seed": seed, "resamples": resamples}
    run = Evaluation("instructed", model or predictions, questions, settings)
    drawn = _drawn(questions, kinds, wanted, limit, seed, run, save is not None)
    if save is not None or model is None:
        check_numbers(questions, (row for rows in drawn for row in rows))
    prompts = {row: questions[row].text for rows in drawn for row in rows}
    how = {"tiles": tiles, "constrained": constrained, "options": options}
    asking = _Asking(model, questions, how, run, batch_size, progress)
    if model is None:
        said = _read(predictions, questions, prompts, run)
    else:
        with at_rest(model):
            said = asking(prompts, "answers")
    if save is not None:
        told = {questions[row].id: _line(prompts[row], found) for row, found in said.items()}
        write_predictions(save, told, ("questionId", "answer"))
    if wanted is None and not any(questions[row].answers for row in said):
        return run.report(lambda _: {}, 1, chance={}, counts={"questions": len(said)})

    drawn = [kept for kept in ([row for row in rows if row in said] for rows in drawn) if kept]
    rows = [row for some in drawn for row in some]  # those of a picture side by side
    clusters = np.repeat(np.arange(len(drawn)), [len(some) for some in drawn])
    compared = Compared(model, questions, wanted, rows, said)
    tested: list[Control] = []
    if model is not None and controls:
        with at_rest(model):
            own = {row: prompts[row] for row in rows}
            if len(drawn) > 1:
                places = elsewhere(len(drawn), seed)
                shown = {row: drawn[places[i]][0] for i, some in enumerate(drawn) for row in some}
                tested += compared.with_others("pictures", asking(own, "other pictures", shown))
            asked = other_prompts(own, seed)
            if asked:
                tested += compared.with_others("questions", asking(asked, "other questions"))

    def statistic(counts: Ints) -> dict[str, float]:
        weights = counts[clusters]
        figures: dict[str, float] = {}
        for kind, places in compared.places.items():
            figures |= compared.scored[kind].statistic(weights[places])
        for control in tested:
            figures |= control.statistic(weights)
        return figures

    report = run.report(
        statistic,
        len(drawn),
        chance=compared.chance(seed),
        counts={
            "questions": len(rows),
            "pictures": len(drawn),
            "distinct_answers": len({found.raw or found.text for found in said.values()}),
            "truncated": sum(said[row].truncated for row in rows),
            "skipped": len(run.skipped),
        },
        settings=asking.settings | compared.settings(),
        tables=[*compared.tables(), *_table(tested)],
        examples=compared.examples(),
    )
    return dataclasses.replace(report, notes=tuple(_verdicts(report, tested)))


def _drawn(
    questions: Questions,
    kinds: Collection[str] | None,
    wanted: Wanted | None,
    limit: int | None,
    seed: int,
    run: Evaluation,
    saved: bool,
) -> list[list[int]]:
    """The rows to ask, by picture; what is saved needs no answers to compare with."""

    def fits(row: int) -> bool:
        return kinds is None or kind_of(questions[row].text).name in kinds

    def known(row: int) -> bool:
        one = questions[row]
        return one.id in wanted if wanted is not None else bool(one.answers)

    listed = draw(
        questions.pictures[0], None, seed, lambda r: bool(r.texts), run.skipped, "no text"
    )
    of_kind = [some for some in ([row for row in rows if fits(row)] for rows in listed) if some]
    if not of_kind:
        told = " or ".join(kinds) if kinds else "anything"
        raise InputError(f"{questions.name} has no prompt for {told}")
    kept = [some for some in ([row for row in rows if known(row)] for rows in of_kind) if some]
    if not kept and not saved:
        raise InputError(
            f"{questions.name} has no answers to compare with",
            "name a file for the answers, or give the file with annotations",
        )
    for row in (row for rows in of_kind for row in rows if kept):
        if not known(row):
            run.skipped.add(questions[row].where, "no answer")
    kept = kept or of_kind
    if limit is not None and limit < len(kept):
        chosen = np.random.default_rng(seed).choice(len(kept), limit, replace=False)
        kept = [kept[i] for i in np.sort(chosen)]
    return kept


class _Asking:
    """Asks a model prompts as they are; who follows none is asked bare questions."""

    def __init__(
        self,
        model: Model | None,
        questions: Questions,
        how: Mapping[str, Any],
        run: Evaluation,
        batch_size: int,
        progress: Progress,
    ) -> None:
        self._model, self._questions, self._how = model, questions, how
        self._run, self._batch_size, self._progress = run, batch_size, progress
        self._prompted = model is not None and supports(model.family, TASKS["prompt"], model.config)
        self.settings: dict[str, Any] = {}

    def __call__(
        self, prompts: Mapping[int, str], what: str, shown: Mapping[int, int] | None = None
    ) -> dict[int, Regions]:
        """What the model says to the prompt of each row; `shown` says of which row the picture."""
        by_task: dict[str, list[int]] = {}
        for row, prompt in prompts.items():
            # other models answer questions too, whatever token stands before them
            asked = not self._prompted and kind_of(prompt) is ANSWERS
            by_task.setdefault("answer" if asked else "prompt", []).append(row)
        found: dict[int, Regions] = {}
        for task, rows in by_task.items():
            found |= self._served(task, rows, prompts, shown or {}, what)
        return found

    def _served(
        self,
        task: str,
        rows: list[int],
        prompts: Mapping[int, str],
        shown: Mapping[int, int],
        what: str,
    ) -> dict[int, Regions]:
        from seesay.tasks.answer import AnswerInput
        from seesay.tasks.prompt import PromptInput

        assert self._model is not None
        questions, options = self._questions, self._how["options"]
        if task == "prompt":
            self._check(rows, prompts)
        self.settings |= writing(self._model, task, options)

        def request(row: int) -> Any:
            image = source(questions.pictures[0], shown.get(row, row))
            if task == "prompt":
                return PromptInput(image=image, prompt=prompts[row], **self._how)
            bare = prompts[row].strip().removeprefix(token_of(prompts[row])).strip()
            return AnswerInput(image=image, question=bare, options=options)

        return ask(
            self._model,
            task,
            rows,
            request,
            _said,
            where=lambda row: questions[row].where,
            skipped=self._run.skipped,
            batch_size=self._batch_size,
            progress=self._progress,
            what=what,
        )

    def _check(self, rows: list[int], prompts: Mapping[int, str]) -> None:
        """Refuse prompts that the model cannot read, before it answers the others.

        Raises:
            UsageError: A task token is misused; names the row.
            InputError: One is too long.
        """
        assert self._model is not None
        self._model.require("prompt")
        processor: Any = self._model.processor
        for prompt, row in {prompts[row]: row for row in reversed(rows)}.items():
            try:
                processor.prompts("prompt", [prompt])
            except (UsageError, InputError) as error:
                told = f"{self._questions[row].where}: {error.what} (the prompt {prompt[:60]!r})"
                raise type(error)(told, error.hint) from None


def _said(output: Any) -> Regions:
    """What an output says, and where; without its picture, which may be bytes."""
    if not isinstance(output, Regions):
        return Regions(str(output.answer), [], (1, 1))
    return Regions(*(getattr(output, field.name) for field in dataclasses.fields(Regions)))


def _line(prompt: str, found: Regions) -> str:
    """What is kept of an answer: places too, where they matter."""
    return found.text if kind_of(prompt) in TEXT else found.raw


def _read(
    predictions: Predictions | None,
    questions: Questions,
    prompts: Mapping[int, str],
    run: Evaluation,
) -> dict[int, Regions]:
    """What a file says to the prompts."""
    placed = next(
        (kind for prompt in prompts.values() if (kind := kind_of(prompt)) not in TEXT), None
    )
    if placed is not None:
        raise UsageError(
            f"a file of predictions says nothing about places, and {placed.name} have them",
            "name a model",
        )
    found = {}
    for row in prompts:
        text = None if predictions is None else predictions.of(questions[row].id)
        if text is None:
            run.skipped.add(questions[row].where, "no prediction")
        else:
            found[row] = Regions(text, [], (1, 1))
    if not found:
        name = predictions.name if predictions else "nothing"
        raise InputError(f"{name} answers none of the prompts of {questions.name}")
    return found


def _table(tested: Sequence[Control]) -> Iterator[Table]:
    """What the controls found, unless there are none."""
    if tested:
        columns = ["exchanged", "kind", "figure", "own", "others", "said the same"]
        yield Table("Controls", columns, [control.row() for control in tested])


def _verdicts(report: Report, tested: Sequence[Control]) -> Iterator[str]:
    for control in tested:
        gained = report.metrics.get(control.gain)
        if gained is not None:
            yield control.verdict(report.intervals.get(control.gain, (gained, gained))[0])
