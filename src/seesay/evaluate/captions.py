"""Captioning: how near what a model writes is to what people wrote.

Paper: arXiv 1504.00325 (Chen et al., COCO captions): BLEU, ROUGE-L, CIDEr-D, several references.
Reference: tylin/coco-caption.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from seesay.errors import InputError, UsageError
from seesay.evaluate.asking import ask, elsewhere
from seesay.evaluate.binary import Bools
from seesay.evaluate.bootstrap import Statistic
from seesay.evaluate.captioned import draw
from seesay.evaluate.encode import Progress, Silent, at_rest, source
from seesay.evaluate.extremes import BEST, WORST
from seesay.evaluate.predictions import (
    Predictions,
    check_target,
    names_of_picture,
    number_of_picture,
    write_predictions,
)
from seesay.evaluate.ranking import Floats, Ints
from seesay.evaluate.report import Evaluation, Example, Report
from seesay.evaluate.text.bleu import bleu, overlap
from seesay.evaluate.text.cider import cider_d
from seesay.evaluate.text.rouge import rouge_l
from seesay.evaluate.text.tokens import tokens

if TYPE_CHECKING:
    from seesay.data.record import Dataset
    from seesay.model import Model

Words = list[str]

SHOWN = 3
"""References that are shown with a caption."""


@dataclass(frozen=True)
class Scored:
    """Captions and what people wrote of the same pictures, as tokens."""

    captions: Sequence[Words]
    references: Sequence[Sequence[Words]]

    @cached_property
    def overlaps(self) -> Ints:
        """What BLEU is made of, int64 [N, 10]."""
        pairs = zip(self.captions, self.references, strict=True)
        return np.stack([overlap(caption, several) for caption, several in pairs])

    @cached_property
    def rouge(self) -> Floats:
        """ROUGE-L of each caption [N]."""
        pairs = zip(self.captions, self.references, strict=True)
        return np.array([rouge_l(caption, several) for caption, several in pairs])

    @cached_property
    def cider(self) -> Floats:
        """CIDEr-D of each caption [N]."""
        return cider_d(self.captions, self.references)

    def part(self, rows: Ints) -> Scored:
        """Return some of them, as a corpus of their own."""
        return Scored([self.captions[i] for i in rows], [self.references[i] for i in rows])

    def statistic(self, weights: Ints) -> dict[str, float]:
        """Return the figures, each picture counted so often [N]."""
        total = weights.sum()
        if not total:
            return {}
        scores = bleu(weights @ self.overlaps)
        return {
            "cider_d": float(weights @ self.cider / total),
            **{f"bleu_{n}": score for n, score in enumerate(scores, 1)},
            "rouge_l": float(weights @ self.rouge / total),
        }


def caption_scores(
    captions: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Return BLEU-1 to 4, ROUGE-L and CIDEr-D of captions; no model is needed.

    Args:
        captions: One for each picture.
        references: What people wrote of each, at least one.

    Raises:
        UsageError: There are not as many of both, or a picture has no reference.
    """
    if len(captions) != len(references):
        raise UsageError(f"{len(captions)} captions for {len(references)} pictures' references")
    if not all(references):
        raise UsageError(f"picture {[bool(r) for r in references].index(False)} has no reference")
    scored = _scored(captions, references)
    return scored.statistic(np.ones(len(captions), np.int64))


def captioning(
    model: Model | None,
    dataset: Dataset,
    *,
    prompt: str | None = None,
    options: Mapping[str, Any] | None = None,
    predictions: Predictions | None = None,
    save: str | os.PathLike[str] | None = None,
    groups: Mapping[str, str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    resamples: int = 1000,
    batch_size: int = 8,
    progress: Progress = Silent,
) -> Report:
    """Evaluate captions against references.

    Figures: cider_d, bleu_1 to bleu_4, rouge_l; with groups, the same of each group as a corpus of
    its own. Chance is what the same captions score, each for another picture.

    Args:
        model: One that writes captions; None where `predictions` are given.
        dataset: Pictures with captions, any number each; one of five words each is little.
        prompt: How captions begin; None for what the family was trained with.
        options: Fields of `seesay.generation.Options`; for the others the published values hold.
        predictions: Captions to score, in place of a model's.
        save: Write the captions into this file, as COCO's results.
        groups: Image id to group, such as the domains of NoCaps.
        limit: At most so many pictures, drawn by the seed.
        seed: Decides what is drawn, sampling where the options ask for it, and the intervals.
        resamples: Samples behind the confidence intervals; 0 for none.
        batch_size: Pictures described together.
        progress: Shows how far it is.

    Raises:
        UsageError: The model writes no captions, or an option cannot be.
        InputError: There are no references, nothing was said of any picture, or none can be read.
    """
    check_target(save)
    given = dict(options or {})
    if given.get("do_sample"):
        given.setdefault("seed", seed)
    settings = {"prompt": prompt, "limit": limit, "seed": seed, "resamples": resamples}
    settings |= writing(model, "caption", given) | {"batch_size": batch_size}
    run = Evaluation("captioning", model or predictions, dataset, settings)
    drawn = draw(dataset, limit, seed, lambda record: bool(record.texts), run.skipped, "no caption")
    if not drawn:
        raise InputError(f"{dataset.name} has no captions", "--text-column names their column")
    first = [rows[0] for rows in drawn]
    if model is not None:
        with at_rest(model):
            said = _written(model, dataset, first, prompt, given, run, batch_size, progress)
    else:
        said = _read(predictions, dataset, first, run)
    if save is not None:
        write_predictions(save, _by_picture(dataset, said), ("image_id", "caption"))
    kept = [rows for rows in drawn if rows[0] in said]
    captions = [said[rows[0]] for rows in kept]
    references = [[text for row in rows for text in dataset[row].texts] for rows in kept]
    with progress("scores", len(kept)) as counter:
        scored = _scored(captions, references)
        scored.statistic(np.ones(len(kept), np.int64))
        counter.advance(len(kept))
    parts = _parts(scored, [dataset[rows[0]].image_id for rows in kept], groups or {})
    return run.report(
        _together(scored, parts),
        len(kept),
        chance=_by_others(scored, seed),
        counts={
            "pictures": len(kept),
            "references": sum(map(len, references)),
            "distinct_captions": len(set(captions)),
            "distinct_words": len({word for words in scored.captions for word in words}),
            **{f"{name}_pictures": int(inside.sum()) for name, (_, inside) in parts.items()},
            "skipped": len(run.skipped),
        },
        examples=_examples(scored.cider, captions, references, [rows[0] for rows in kept]),
    )


def writing(model: Model | None, task: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that decides what a model writes, for a report.

    Raises:
        UsageError: The model cannot do the task, or an option cannot be.
    """
    if model is None:
        return {}
    from seesay.tasks.writing import asked

    model.require(task)
    template, resolved = asked(model, task, options)
    return {"template": template, "options": dataclasses.asdict(resolved)}


def _scored(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Scored:
    return Scored(
        [tokens(caption) for caption in captions],
        [[tokens(text) for text in several] for several in references],
    )


def _written(
    model: Model,
    dataset: Dataset,
    rows: Sequence[int],
    prompt: str | None,
    options: Mapping[str, Any],
    run: Evaluation,
    batch_size: int,
    progress: Progress,
) -> dict[int, str]:
    """What the model writes of the pictures in some rows."""
    from seesay.tasks.caption import CaptionInput

    return ask(
        model,
        "caption",
        rows,
        lambda row: CaptionInput(image=source(dataset, row), prompt=prompt, options=options),
        lambda output: str(output.text),
        where=lambda row: dataset[row].where,
        skipped=run.skipped,
        batch_size=batch_size,
        progress=progress,
        what="captions",
    )


def _read(
    predictions: Predictions | None, dataset: Dataset, rows: Sequence[int], run: Evaluation
) -> dict[int, str]:
    """What a file says of the pictures in some rows."""
    found: dict[int, str] = {}
    for row in rows:
        record = dataset[row]
        names = names_of_picture(record.image_id, _file(record.image))
        text = None if predictions is None else predictions.of(*names)
        if text is None:
            run.skipped.add(record.where, "no prediction")
        else:
            found[row] = text
    if not found:
        raise InputError(
            f"{predictions.name if predictions else 'nothing'} speaks of none of the "
            f"{len(rows)} pictures of {dataset.name}"
        )
    return found


def _by_picture(dataset: Dataset, said: Mapping[int, str]) -> dict[str, str]:
    """What is said of each picture, by what a result file calls it."""
    told: dict[str, str] = {}
    for row, text in said.items():
        record = dataset[row]
        name = number_of_picture(record.image_id, _file(record.image))
        # of pictures in several folders with one name, the later ones go by their whole id
        told[record.image_id if name in told else name] = text
    return told


def _file(image: Any) -> str:
    return image if isinstance(image, str) else str(image.name)


def _parts(
    scored: Scored, ids: Sequence[str], groups: Mapping[str, str]
) -> dict[str, tuple[Scored, Bools]]:
    """Each group's captions as a corpus of their own, and which of all they are."""
    names = np.array([groups.get(image_id, "") for image_id in ids])
    return {
        name: (scored.part(np.flatnonzero(names == name)), names == name)
        for name in sorted(set(names.tolist()) - {""})
    }


def _together(scored: Scored, parts: Mapping[str, tuple[Scored, Bools]]) -> Statistic:
    def statistic(counts: Ints) -> dict[str, float]:
        figures = scored.statistic(counts)
        for name, (part, inside) in parts.items():
            figures |= {f"{name}_{k}": v for k, v in part.statistic(counts[inside]).items()}
        return figures

    return statistic


def _by_others(scored: Scored, seed: int) -> dict[str, float]:
    """What the captions score for other pictures."""
    if len(scored.captions) < 2:
        return {}
    order = elsewhere(len(scored.captions), seed)
    others = Scored([scored.captions[i] for i in order], scored.references)
    return others.statistic(np.ones(len(order), np.int64))


def _examples(
    scores: Floats,
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
    rows: Sequence[int],
) -> dict[str, list[Example]]:
    """The captions that are least and most like the references."""
    order = np.argsort(scores, kind="stable")

    def show(i: int) -> Example:
        named = ((f"reference {n}", text) for n, text in enumerate(references[i][:SHOWN], 1))
        lines = [("written", captions[i]), *named]
        return Example(f"CIDEr-D {100 * scores[i]:.1f}", lines, [("picture", rows[i])])

    worst = order[: min(WORST, (len(order) + 1) // 2)].tolist()
    best = order[::-1][: min(BEST, len(order) // 2)].tolist()
    return {
        "Captions least like the references": [show(i) for i in worst],
        "Captions most like the references": [show(i) for i in best],
    }
