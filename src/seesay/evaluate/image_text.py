"""Retrieval: do the captions of a picture find it, and does it find them?

Paper: arXiv 1412.2306 (Karpathy and Fei-Fei): recall at 1, 5 and 10 and the median rank, several
captions to a picture, the best of them counting.
Reference: LAION-AI/CLIP_benchmark, clip_benchmark/metrics/zeroshot_retrieval.py.
Differs: equal pictures and equal captions are one item each, and all that belong together are
right; ties count as the average over their orders, not as hits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from seesay.errors import UsageError
from seesay.evaluate.bootstrap import Statistic
from seesay.evaluate.captioned import Captioned, captioned, words
from seesay.evaluate.encode import (
    Progress,
    Silent,
    at_rest,
    cut_off,
    image_vectors,
    text_vectors,
)
from seesay.evaluate.extremes import BEST, WORST, best, place, worst
from seesay.evaluate.ranking import Ints, Ranks, chance, nearest, rank, rank_statistic
from seesay.evaluate.report import Evaluation, Example, Report
from seesay.evaluate.reranking import Candidates, check_matcher, judge, reranked

if TYPE_CHECKING:
    from seesay.data.record import Dataset
    from seesay.model import Model

T = TypeVar("T")


@dataclass(frozen=True)
class Direction:
    """Queries of one kind against a gallery of the other.

    Attributes:
        name: What its figures begin with.
        ranks: One per query.
        guess: The ranks of a model that knows nothing.
        clusters: The picture each query belongs to, int64 [Q].
    """

    name: str
    ranks: Ranks
    guess: Ranks
    clusters: Ints


def retrieval(
    model: Model,
    dataset: Dataset,
    *,
    depths: Sequence[int] = (1, 5, 10),
    long_from: int = 20,
    rerank: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    resamples: int = 1000,
    batch_size: int = 32,
    progress: Progress = Silent,
) -> Report:
    """Evaluate image-to-text and text-to-image retrieval.

    Figures: image_to_text_ and text_to_image_ with r@1, r@5, r@10, mean_rank and median_rank;
    mean_recall, the mean of all recalls; and the first again for short_ and long_ captions alone
    when there are both. With `rerank`, all is after re-ranking, long and short captions are not
    measured apart, and itc_ names the figures before it. Works on a model in training, which is
    afterwards as it was.

    Args:
        model: A dual encoder.
        dataset: Pictures with captions, any number each, in any language.
        depths: The k of recall at k.
        long_from: A caption of more words is long. A Chinese or Japanese character is a word.
        rerank: Put so many of the nearest in order by a match head, as published for BLIP: 256 for
            COCO, 128 for Flickr30k.
        limit: At most so many pictures, drawn by the seed.
        seed: Decides what is drawn, and the samples of the intervals.
        resamples: Samples behind the confidence intervals; 0 for none.
        batch_size: Pictures encoded together.
        progress: Shows how far it is.

    Raises:
        UsageError: A depth is no whole number from 1, or the model cannot re-rank.
        InputError: There are no captions, or no picture can be read.
        CheckpointError: The model gives vectors that are not finite.
    """
    if not depths or min(depths) < 1:
        raise UsageError(f"depths {tuple(depths)} are not whole numbers from 1", "--k 1,5,10")
    check_matcher(model, rerank)
    depths = sorted(set(depths))
    run = Evaluation(
        "retrieval",
        model,
        dataset,
        {
            "depths": depths,
            "long_from": long_from,
            "rerank": rerank,
            "limit": limit,
            "seed": seed,
            "resamples": resamples,
            "batch_size": batch_size,
            "ties": "expected value over their orders",
        },
    )
    data = captioned(dataset, run.skipped, limit=limit, seed=seed)
    with at_rest(model):
        images, there = image_vectors(
            model, dataset, data.rows, run.skipped, batch_size=batch_size, progress=progress
        )
        data = data.keep(there.numpy(), np.ones(len(data.texts), bool))
        texts = text_vectors(model, data.texts, batch_size=8 * batch_size, progress=progress)
        truncated = cut_off(model, data.texts)
        images = images[there]
        judged = None
        if rerank is not None:
            judged = judge(model, dataset, data.rows, data.texts, images, texts, k=rerank,
                           batch_size=batch_size, progress=progress)  # fmt: skip
    images, texts = images.to(model.device), texts.to(model.device)
    long = np.array([len(words(text)) > long_from for text in data.texts])
    whole = list(_directions(images, texts, data, ""))
    parts = list(whole)
    if judged is not None:
        whole = [
            replace(part, ranks=reranked(part.ranks, found, pairs))
            for part, found, pairs in zip(
                whole, judged, (data.pairs, data.pairs[:, ::-1]), strict=True
            )
        ]
        parts = whole + [replace(part, name=f"itc_{part.name}") for part in parts]
    elif 0 < long.sum() < len(long):
        for name, chosen in (("short_", ~long), ("long_", long)):
            parts += _directions(images, texts, data, name, chosen)
    return run.report(
        _statistic(parts, depths, [part.ranks for part in parts]),
        len(data.rows),
        chance=_statistic(parts, depths, [part.guess for part in parts])(
            np.ones(len(data.rows), np.int64)
        ),
        counts={
            "pictures": len(data.rows),
            "captions": len(data.texts),
            "pairs": len(data.pairs),
            "long_captions": int(long.sum()),
            "captions_cut_off": truncated,
            "skipped": len(run.skipped),
        },
        examples=dict(_examples(whole, images, texts, data, judged or (None, None))),
    )


def _directions(
    images: Tensor, texts: Tensor, data: Captioned, name: str, chosen: Ints | None = None
) -> Iterator[Direction]:
    """Both directions of all captions, or of the chosen ones alone.

    The chosen captions are then the gallery of the pictures that have one, and the queries for
    the gallery of all pictures.
    """
    pairs, rows = data.pairs, np.arange(len(data.texts))
    if chosen is not None:
        rows = np.flatnonzero(chosen)
        pairs = pairs[chosen[pairs[:, 1]]]
        pairs = np.stack([pairs[:, 0], np.searchsorted(rows, pairs[:, 1])], 1)
    gallery = _of(texts, rows)
    asked, numbers = np.unique(pairs[:, 0], return_inverse=True)
    forward = np.stack([numbers, pairs[:, 1]], 1)
    yield Direction(
        name + "image_to_text",
        rank(_of(images, asked), gallery, forward),
        chance(forward, len(asked), len(gallery)),
        asked,
    )
    backward = pairs[:, ::-1]
    yield Direction(
        name + "text_to_image",
        rank(gallery, images, backward),
        chance(backward, len(gallery), len(images)),
        data.owners()[rows],
    )


def _of(vectors: Tensor, rows: Ints) -> Tensor:
    """Some of the vectors; without a copy when it is all of them."""
    return vectors if len(rows) == len(vectors) else vectors[torch.from_numpy(rows)]


def _statistic(
    parts: Sequence[Direction], depths: Sequence[int], ranks: Sequence[Ranks]
) -> Statistic:
    """From how often each picture is counted to all figures."""
    statistics = [rank_statistic(found, depths) for found in ranks]

    def statistic(counts: Ints) -> dict[str, float]:
        figures = {
            f"{part.name}_{key}": value
            for part, figures in zip(parts, statistics, strict=True)
            for key, value in figures(counts[part.clusters]).items()
        }
        keys = [f"{part.name}_r@{k}" for part in parts[:2] for k in depths]
        if not figures.keys() >= set(keys):
            return figures  # a draw without a query of one direction, when there are few pictures
        return {"mean_recall": float(np.mean([figures[key] for key in keys])), **figures}

    return statistic


def _examples(
    whole: Sequence[Direction],
    images: Tensor,
    texts: Tensor,
    data: Captioned,
    judged: tuple[Candidates | None, Candidates | None],
) -> Iterator[tuple[str, list[Example]]]:
    """The worst and the best of both directions."""
    to_text, to_image = whole
    owners = data.owners()
    for heading, chosen in (
        ("Captions that missed their picture", worst(to_image.ranks, owners, WORST)),
        ("Captions that found their picture", best(to_image.ranks, owners, BEST)),
    ):
        first = _first(texts, images, chosen, judged[1])
        yield (
            heading,
            [
                Example(
                    place(to_image.ranks, query, len(images), _score(judged[1])),
                    [("caption", data.texts[query])],
                    _unless_same(data.rows[owners[query]], data.rows[found]),
                )
                for query, found in zip(chosen, first, strict=True)
            ],
        )
    everyone = np.arange(len(images))
    starts = np.searchsorted(data.pairs[:, 0], everyone)
    for heading, chosen in (
        ("Pictures that missed their captions", worst(to_text.ranks, everyone, WORST)),
        ("Pictures that found their captions", best(to_text.ranks, everyone, BEST)),
    ):
        first = _first(images, texts, chosen, judged[0])
        yield (
            heading,
            [
                Example(
                    place(to_text.ranks, query, len(texts), _score(judged[0])),
                    _unless_same(data.texts[data.pairs[starts[query], 1]], data.texts[found]),
                    [("picture", data.rows[query])],
                )
                for query, found in zip(chosen, first, strict=True)
            ],
        )


def _first(queries: Tensor, gallery: Tensor, chosen: Ints, found: Candidates | None) -> Ints:
    """The item that comes first for each of the chosen queries."""
    if found is None:
        return nearest(queries[torch.from_numpy(chosen)], gallery, 1)[:, 0]
    first: Ints = found.items[chosen, found.scores[chosen].argmax(1)]
    return first


def _score(found: Candidates | None) -> str:
    return "cosine" if found is None else "match logit and cosine"


def _unless_same(wanted: T, found: T) -> list[tuple[str, T]]:
    return [("wanted", wanted)] if wanted == found else [("wanted", wanted), ("found", found)]
