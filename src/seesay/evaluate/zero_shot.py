"""Zero-shot classification: the names of the classes are all the model is told.

Paper: arXiv 2103.00020 (CLIP), section 3.1.
Reference: LAION-AI/CLIP_benchmark, clip_benchmark/metrics/zeroshot_classification.py.
Differs: classes that score the same share the hit; several right classes of a picture all count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from seesay.errors import InputError, UsageError
from seesay.evaluate.captioned import draw
from seesay.evaluate.classes import class_statistic, confusions
from seesay.evaluate.encode import Progress, Silent, at_rest, image_vectors
from seesay.evaluate.extremes import BEST, WORST, best, place, worst
from seesay.evaluate.ranking import Ints, Ranks, chance, nearest, rank
from seesay.evaluate.report import Evaluation, Example, Report, Table
from seesay.tasks.classify import label_vectors, prompts

if TYPE_CHECKING:
    from seesay.data.record import Dataset, Record
    from seesay.model import Model


def zeroshot(
    model: Model,
    dataset: Dataset,
    *,
    classes: Sequence[str] | None = None,
    templates: Sequence[str] | str | None = None,
    depths: Sequence[int] = (1, 5),
    limit: int | None = None,
    seed: int = 0,
    resamples: int = 1000,
    batch_size: int = 32,
    progress: Progress = Silent,
) -> Report:
    """Evaluate zero-shot classification.

    Figures: top1, top5 and mean_per_class, the top-1 accuracy of each class averaged. A depth
    that all classes reach says nothing and is left out.

    Args:
        model: A dual encoder.
        dataset: Pictures with labels.
        classes: Other names for the dataset's classes, in their order; in any language.
        templates: As in `Model.classify`: a list, one template, a prompt set, or None.
        depths: The k of top-k.
        limit: At most so many pictures, drawn by the seed.
        seed: Decides what is drawn, and the samples of the intervals.
        resamples: Samples behind the confidence intervals; 0 for none.
        batch_size: Pictures encoded together.
        progress: Shows how far it is.

    Raises:
        UsageError: The names do not fit the labels, or there is no such prompt set.
        InputError: There are no labels, or no picture can be read.
        CheckpointError: The model gives vectors that are not finite.
    """
    names = _names(dataset, classes)
    depths = sorted({1, *(k for k in depths if 1 <= k < len(names))})
    run = Evaluation(
        "zeroshot",
        model,
        dataset,
        {
            "depths": depths,
            "templates": list(prompts(model, templates)),
            "classes": names,
            "limit": limit,
            "seed": seed,
            "resamples": resamples,
            "batch_size": batch_size,
            "ties": "expected value over their orders",
        },
    )

    def usable(record: Record) -> bool:
        return record.label is not None and record.label < len(names)

    rows = draw(dataset, limit, seed, usable, run.skipped, "no label among the classes")
    with at_rest(model):
        # a name that two classes share is encoded once, and the two tie
        distinct = list(dict.fromkeys(names))
        vectors = label_vectors(model, distinct, templates)[[distinct.index(n) for n in names]]
        images, there = image_vectors(
            model, dataset, [r[0] for r in rows], run.skipped,
            batch_size=batch_size, progress=progress,
        )  # fmt: skip
    rows = [own for own, readable in zip(rows, there.tolist(), strict=True) if readable]
    images, vectors = images[there].to(model.device), vectors.to(model.device)
    pairs = _pairs(dataset, rows)
    labels = pairs[np.unique(pairs[:, 0], return_index=True)[1], 1]
    ranks = rank(images, vectors, pairs)
    guess = chance(pairs, len(rows), len(names))
    first = nearest(images, vectors, 1)[:, 0]
    everyone = np.ones(len(rows), np.int64)
    return run.report(
        class_statistic(ranks, labels, depths),
        len(rows),
        chance=class_statistic(guess, labels, depths)(everyone),
        counts={
            "pictures": len(rows),
            "classes": len(names),
            "classes_seen": len(np.unique(labels)),
            "skipped": len(run.skipped),
        },
        tables=[_by_class(ranks, labels, first, names)],
        examples=dict(_examples(ranks, labels, first, names, [own[0] for own in rows])),
    )


def _names(dataset: Dataset, classes: Sequence[str] | None) -> list[str]:
    """The name of each class, from the dataset or as given.

    Raises:
        UsageError: There are none, or too few.
        InputError: The dataset has no labels.
    """
    highest = int(dataset.labels.max(initial=-1))
    if highest < 0:
        raise InputError(f"{dataset.name} has no labels", "--label-column names their column")
    known = dataset.classes
    names = list(classes if classes is not None else known or ())
    wanted = len(known) if known else highest + 1
    if len(names) < wanted or (known and len(names) > wanted):
        raise UsageError(
            f"{len(names)} class names for the {wanted} classes of {dataset.name}",
            "--classes FILE has one name on each line, in the order of the labels",
        )
    return names


def _pairs(dataset: Dataset, rows: Sequence[Sequence[int]]) -> Ints:
    """Each picture with each of its labels, sorted by picture, the first record's label first."""
    found = dict.fromkeys((i, dataset[row].label) for i, own in enumerate(rows) for row in own)
    return np.array(list(found), np.int64)


def _by_class(ranks: Ranks, labels: Ints, first: Ints, names: Sequence[str]) -> Table:
    """The classes, the worst first, with what they are taken for."""
    hits = ranks.hits(1)
    accuracy = np.bincount(labels, hits) / np.maximum(np.bincount(labels), 1)
    fared = confusions(labels, first, (hits > 0).tolist())
    rows = [
        (
            names[label],
            count,
            float(accuracy[label]),
            ", ".join(f"{names[other]} {times}" for other, times in wrong),
        )
        for label, (count, wrong) in fared.items()
    ]
    rows.sort(key=lambda row: row[2])
    return Table("Classes, the worst first", ("class", "pictures", "top1", "taken for"), rows)


def _examples(
    ranks: Ranks, labels: Ints, first: Ints, names: Sequence[str], rows: Sequence[int]
) -> Iterator[tuple[str, list[Example]]]:
    everyone = np.arange(len(rows))
    for heading, chosen in (
        ("Pictures taken for something else", worst(ranks, everyone, WORST)),
        ("Pictures recognised", best(ranks, everyone, BEST)),
    ):
        yield (
            heading,
            [
                Example(
                    place(ranks, i, len(names)),
                    [("wanted", names[labels[i]])]
                    + ([("found", names[first[i]])] if first[i] != labels[i] else []),
                    [("picture", rows[i])],
                )
                for i in chosen.tolist()
            ],
        )
