"""Caption-to-caption retrieval (CRA): does a text tower know that two captions say the same?

Paper: arXiv 2411.04997 (LLM2CLIP): caption retrieval accuracy, the share of pictures whose first
caption finds their second among the second captions of all pictures.
Reference: microsoft/LLM2CLIP, whose published figures are of two pools, 5,000 and 40,504 pictures
of COCO: the figure falls with the size of the pool, which is therefore part of every report.
Differs: the two captions are the first that differ; equal captions are one item of the pool.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from seesay.errors import InputError
from seesay.evaluate.captioned import captioned
from seesay.evaluate.encode import Progress, Silent, at_rest, cut_off, text_vectors
from seesay.evaluate.extremes import BEST, WORST, best, place, worst
from seesay.evaluate.ranking import Ints, Ranks, chance, nearest, rank, rank_statistic
from seesay.evaluate.report import Evaluation, Example, Report

if TYPE_CHECKING:
    from seesay.data.record import Dataset
    from seesay.model import Model


def cra(
    model: Model,
    dataset: Dataset,
    *,
    depths: Sequence[int] = (1, 5, 10),
    limit: int | None = None,
    seed: int = 0,
    resamples: int = 1000,
    batch_size: int = 256,
    progress: Progress = Silent,
) -> Report:
    """Evaluate the retrieval of second captions by first captions; no picture is needed.

    Figures: cra, which is the recall at 1; r@5 and the others asked for; mean and median rank.

    Args:
        model: A dual encoder.
        dataset: Pictures with two captions or more; the others are skipped and counted.
        depths: The k of recall at k.
        limit: At most so many pictures, drawn by the seed: the size of the pool.
        seed: Decides what is drawn, and the samples of the intervals.
        resamples: Samples behind the confidence intervals; 0 for none.
        batch_size: Captions encoded together.
        progress: Shows how far it is.

    Raises:
        InputError: No picture has two captions.
        CheckpointError: The model gives vectors that are not finite.
    """
    depths = sorted({1, *depths})
    run = Evaluation(
        "cra",
        model,
        dataset,
        {
            "depths": depths,
            "limit": limit,
            "seed": seed,
            "resamples": resamples,
            "batch_size": batch_size,
            "ties": "expected value over their orders",
        },
    )
    data = captioned(dataset, run.skipped, limit=None, seed=seed)
    starts = np.searchsorted(data.pairs[:, 0], np.arange(len(data.rows) + 1))
    several = np.flatnonzero(np.diff(starts) > 1)
    for picture in np.flatnonzero(np.diff(starts) == 1).tolist():
        run.skipped.add(dataset[data.rows[picture]].where, "one caption only")
    if not len(several):
        raise InputError(f"no picture of {dataset.name} has two captions that differ")
    if limit is not None and limit < len(several):
        rng = np.random.default_rng(seed)
        several = np.sort(rng.choice(several, limit, replace=False))
    first = data.pairs[starts[several], 1]
    pool, second = np.unique(data.pairs[starts[several] + 1, 1], return_inverse=True)
    texts = [data.texts[i] for i in pool]
    asked = [data.texts[i] for i in first]
    with at_rest(model):
        queries = text_vectors(model, asked, batch_size=batch_size, progress=progress)
        gallery = text_vectors(model, texts, batch_size=batch_size, progress=progress)
        truncated = cut_off(model, [*asked, *texts])
    rows = [data.rows[i] for i in several]
    queries, gallery = queries.to(model.device), gallery.to(model.device)
    pairs = np.stack([np.arange(len(several)), second], 1)
    ranks = rank(queries, gallery, pairs)
    figures = rank_statistic(ranks, depths)
    guess = rank_statistic(chance(pairs, len(several), len(pool)), depths)

    def statistic(counts: Ints) -> dict[str, float]:
        return _named(figures(counts))

    return run.report(
        statistic,
        len(several),
        chance=_named(guess(np.ones(len(several), np.int64))),
        counts={
            "pictures": len(several),
            "pool": len(pool),
            "captions_cut_off": truncated,
            "skipped": len(run.skipped),
        },
        examples=dict(_examples(ranks, queries, gallery, asked, texts, second, rows)),
    )


def _named(figures: dict[str, float]) -> dict[str, float]:
    """Call the recall at 1 what the paper calls it."""
    return {"cra" if key == "r@1" else key: value for key, value in figures.items()}


def _examples(
    ranks: Ranks,
    queries: Tensor,
    gallery: Tensor,
    asked: Sequence[str],
    texts: Sequence[str],
    second: Ints,
    rows: Sequence[int],
) -> Iterator[tuple[str, list[Example]]]:
    everyone = np.arange(len(asked))
    for heading, chosen in (
        ("First captions that missed the second", worst(ranks, everyone, WORST)),
        ("First captions that found the second", best(ranks, everyone, BEST)),
    ):
        found = nearest(queries[torch.from_numpy(chosen)], gallery, 1)[:, 0]
        yield (
            heading,
            [
                Example(
                    place(ranks, i, len(texts)),
                    [("caption", asked[i]), ("wanted", texts[second[i]])]
                    + ([("found", texts[other])] if other != second[i] else []),
                    [("picture", rows[i])],
                )
                for i, other in zip(chosen.tolist(), found.tolist(), strict=True)
            ],
        )
