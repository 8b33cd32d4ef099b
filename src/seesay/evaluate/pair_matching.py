"""Matching: does the model know which texts belong to which pictures?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from seesay.errors import CheckpointError, InputError, UsageError
from seesay.evaluate.asking import ask
from seesay.evaluate.binary import Bools, best_threshold, pair_statistic
from seesay.evaluate.captioned import Captioned, Skipped, captioned
from seesay.evaluate.encode import (
    Progress,
    Silent,
    at_rest,
    image_vectors,
    source,
    text_vectors,
)
from seesay.evaluate.extremes import BEST, WORST
from seesay.evaluate.negatives import hard_negatives, random_negatives
from seesay.evaluate.ranking import Floats, Ints
from seesay.evaluate.report import Evaluation, Example, Report
from seesay.protocols import DualEncoder, Matcher

if TYPE_CHECKING:
    from seesay.data.record import Dataset
    from seesay.model import Model

YES, NO = ("1", "true", "yes"), ("0", "false", "no")
"""Names of labels that say whether picture and text belong together."""

SCORES = {"itc": "cosine", "itm": "match probability"}
"""What a pair is judged by."""


def matching(
    model: Model,
    dataset: Dataset,
    *,
    threshold: float | None = None,
    negatives: Literal["random", "hard"] = "random",
    score: Literal["itc", "itm"] | None = None,
    limit: int | None = None,
    seed: int = 0,
    resamples: int = 1000,
    batch_size: int = 32,
    progress: Progress = Silent,
) -> Report:
    """Evaluate image-text matching, by a match head or by the cosine of the two vectors.

    Labels of 0 and 1 say which pairs belong together. Without labels every picture is asked about
    each of its captions and as many wrong ones. Figures: accuracy, precision, recall, f1, roc_auc
    and average_precision, all of the same pairs.

    Args:
        model: A matcher or a dual encoder.
        dataset: Pairs with labels, or pictures with captions.
        threshold: Score from which a pair is said to belong together. None means a probability of
            one half for a match head; for a cosine it chooses the one with the best F1 on one half
            of the pictures, drawn by the seed, and all figures are then of the other half.
        negatives: Which wrong captions are asked: any, or those that share the most words with a
            right one.
        score: "itm", the probability that a match head gives; "itc", the cosine. None takes the
            match head where there is one.
        limit: At most so many pictures, drawn by the seed.
        seed: Decides what is drawn, and the samples of the intervals.
        resamples: Samples behind the confidence intervals; 0 for none.
        batch_size: Pictures encoded together.
        progress: Shows how far it is.

    Raises:
        UsageError: There are too few pairs to choose a threshold, or the model has no such score.
        InputError: There are no captions, a label is neither 0 nor 1, or no picture can be read.
        CheckpointError: The model gives vectors that are not finite.
    """
    score = _score(model, score)
    labelled = any(record.label is not None for record in dataset)
    run = Evaluation(
        "matching",
        model,
        dataset,
        {
            "score": SCORES[score],
            "negatives": "labelled in the data" if labelled else negatives,
            "limit": limit,
            "seed": seed,
            "resamples": resamples,
            "batch_size": batch_size,
        },
    )
    data = captioned(dataset, run.skipped, limit=limit, seed=seed)
    if labelled:
        data, labels = _labelled(dataset, data, run.skipped)
    else:
        wrong = (hard_negatives if negatives == "hard" else random_negatives)(data, seed)
        labels = np.repeat([True, False], len(data.pairs))
        data = Captioned(data.rows, data.texts, np.concatenate([data.pairs, wrong]))
    with at_rest(model):
        measure = _judged if score == "itm" else _cosines
        scores, readable = measure(model, dataset, data, run.skipped, batch_size, progress)
    pairs, labels, scores = data.pairs[readable], labels[readable], scores[readable]
    given = "given"
    if threshold is None and score == "itm":
        threshold, given = 0.5, "what a match head decides by"
    asked = np.ones(len(pairs), bool)
    chosen_on = {"pairs_to_choose_threshold": 0}
    if threshold is None:
        half = _half(pairs[:, 0], labels, seed)
        threshold, asked = best_threshold(scores[half], labels[half]), ~half
        chosen_on = {"pairs_to_choose_threshold": int(half.sum())}
    scores, pairs, labels = scores[asked], pairs[asked], labels[asked]
    pictures, clusters = np.unique(pairs[:, 0], return_inverse=True)
    statistic = pair_statistic(scores, labels, threshold)
    return run.report(
        lambda counts: statistic(counts[clusters]),
        len(pictures),
        chance={"roc_auc": 0.5, "average_precision": float(labels.mean())},
        counts={
            "pictures": len(pictures),
            "pairs": len(pairs),
            "right_pairs": int(labels.sum()),
            **chosen_on,
            "skipped": len(run.skipped),
        },
        settings={
            "threshold": threshold,
            "threshold_from": "best F1 on the other half of the pictures"
            if chosen_on["pairs_to_choose_threshold"]
            else given,
        },
        examples=dict(_examples(scores, labels, pairs, threshold, data, SCORES[score])),
    )


def _score(model: Model, score: Literal["itc", "itm"] | None) -> Literal["itc", "itm"]:
    """The score that was asked for, else the best the model has.

    Raises:
        UsageError: It has no such score.
    """
    judges, compares = isinstance(model.module, Matcher), isinstance(model.module, DualEncoder)
    if score == "itm" and not judges:
        raise UsageError(f"{model.name} has no match head", "--score itc")
    if score == "itc" and judges and not compares:
        raise UsageError(f"{model.name} has no vectors", "--score itm")
    return score or ("itm" if judges else "itc")


def _cosines(
    model: Model,
    dataset: Dataset,
    data: Captioned,
    skipped: Skipped,
    batch_size: int,
    progress: Progress,
) -> tuple[Floats, Bools]:
    """The cosine of each pair, and which pairs have a readable picture."""
    images, there = image_vectors(
        model, dataset, data.rows, skipped, batch_size=batch_size, progress=progress
    )
    texts = text_vectors(model, data.texts, batch_size=8 * batch_size, progress=progress)
    parts = torch.split(torch.from_numpy(data.pairs), 65536)
    scores = [(images[part[:, 0]] * texts[part[:, 1]]).double().sum(-1).numpy() for part in parts]
    # finer differences are rounding, and should tie
    return np.concatenate(scores).round(6), there.numpy()[data.pairs[:, 0]]


def _judged(
    model: Model,
    dataset: Dataset,
    data: Captioned,
    skipped: Skipped,
    batch_size: int,
    progress: Progress,
) -> tuple[Floats, Bools]:
    """The probability of each pair, and which pairs have a readable picture."""
    from seesay.tasks.match import MatchInput

    bad = Skipped()
    found = ask(
        model,
        "match",
        np.argsort(data.pairs[:, 0], kind="stable").tolist(),
        lambda i: MatchInput(
            image=source(dataset, data.rows[data.pairs[i, 0]]), text=data.texts[data.pairs[i, 1]]
        ),
        lambda output: float(output.probability),
        where=lambda i: dataset[data.rows[data.pairs[i, 0]]].where,
        skipped=bad,
        batch_size=batch_size,
        progress=progress,
        what="pairs",
    )
    skipped.items.extend(dict.fromkeys(bad.items))  # a picture once, however many its pairs
    scores = np.array([found.get(i, np.nan) for i in range(len(data.pairs))])
    readable = np.isin(np.arange(len(data.pairs)), list(found))
    if not np.isfinite(scores[readable]).all():
        raise CheckpointError(f"{model.name} gives match logits that are not finite")
    return scores.round(6), readable


def _labelled(dataset: Dataset, data: Captioned, skipped: Skipped) -> tuple[Captioned, Bools]:
    """Pairs and what the data says of them; a pair twice counts once.

    Raises:
        InputError: A label is neither 0 nor 1, or a pair has both.
    """
    names = dataset.classes
    meaning = {i: i == 1 for i in (0, 1)}
    if names is not None:
        known = {**dict.fromkeys(YES, True), **dict.fromkeys(NO, False)}
        meaning = {
            i: known[name.strip().lower()]
            for i, name in enumerate(names)
            if name.strip().lower() in known
        }
    pictures = {dataset[row].image_id: i for i, row in enumerate(data.rows)}
    numbers = {text: i for i, text in enumerate(data.texts)}
    found: dict[tuple[int, int], bool] = {}
    for record in dataset:
        picture = pictures.get(record.image_id)
        if picture is None:
            continue  # not drawn, or without a caption
        if record.label is None:
            skipped.add(record.where, "no label")
            continue
        if record.label not in meaning:
            named = names[record.label] if names else record.label
            raise InputError(
                f"{record.where}: label {named!r} does not say whether picture and text match",
                "labels are 1 and 0, or yes and no",
            )
        for text in record.texts:
            number = numbers.get(" ".join(text.split()))
            if number is None:
                continue
            said = found.setdefault((picture, number), meaning[record.label])
            if said != meaning[record.label]:
                raise InputError(f"{record.where}: the pair is labelled both 0 and 1")
    if not found:
        raise InputError(f"{dataset.name} has no pair with both a caption and a label")
    pairs = np.array(list(found), np.int64)
    return Captioned(data.rows, data.texts, pairs), np.array(list(found.values()), bool)


def _half(pictures: Ints, labels: Bools, seed: int) -> Bools:
    """Choose the pairs of one half of the pictures.

    Raises:
        UsageError: One of the halves lacks right or wrong pairs.
    """
    distinct = np.unique(pictures)
    drawn = np.random.default_rng(seed).permutation(distinct)[: len(distinct) // 2]
    half: Bools = np.isin(pictures, drawn)
    for part in (half, ~half):
        if len(np.unique(labels[part])) < 2:
            raise UsageError(
                f"{len(distinct)} pictures are too few to choose a threshold on one half of them",
                "give --threshold",
            )
    return half


def _examples(
    scores: Floats, labels: Bools, pairs: Ints, threshold: float, data: Captioned, name: str
) -> Iterator[tuple[str, list[Example]]]:
    """What was said with the most confidence, wrongly and rightly."""
    margin = np.where(labels, scores - threshold, threshold - scores)
    said = scores >= threshold
    for heading, rows, count in (
        ("Wrong pairs taken for right", np.flatnonzero(said & ~labels), WORST // 2),
        ("Right pairs taken for wrong", np.flatnonzero(~said & labels), WORST // 2),
        ("Right pairs found", np.flatnonzero(said & labels), BEST // 2),
        ("Wrong pairs refused", np.flatnonzero(~said & ~labels), BEST // 2),
    ):
        chosen = rows[np.argsort(-np.abs(margin[rows]), kind="stable")][:count]
        yield (
            heading,
            [
                Example(
                    f"{name} {scores[i]:.3f} · threshold {threshold:.3f}",
                    [("text", data.texts[pairs[i, 1]])],
                    [("picture", data.rows[pairs[i, 0]])],
                )
                for i in chosen.tolist()
            ],
        )
