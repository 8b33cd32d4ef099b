"""BLIP's published losses as loops over Python numbers: slow and plain, nothing of the library."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from reference.losses import dot, log_softmax


def momentum_contrast(
    own: tuple[Tensor, Tensor],
    slow: tuple[Tensor, Tensor],
    gallery: tuple[Tensor, Tensor],
    ids: list[int],
    gallery_ids: list[int],
    temperature: float,
    alpha: float,
) -> float:
    """Equation 6 of ALBEF with one id for each row, as BLIP's fine-tuning for retrieval has it."""
    total = 0.0
    for queries, slow_queries, keys in (
        (own[0], slow[0], gallery[1]),
        (own[1], slow[1], gallery[0]),
    ):
        for i, query in enumerate(queries.tolist()):
            found = [dot(query, key) / temperature for key in keys.tolist()]
            aimed = [dot(slow_queries[i].tolist(), key) / temperature for key in keys.tolist()]
            logs, wanted = log_softmax(found), log_softmax(aimed)
            mates = [j for j in range(len(keys)) if gallery_ids[j] == ids[i]]
            for j in range(len(keys)):
                target = alpha * math.exp(wanted[j])
                target += (1 - alpha) * (j in mates) / len(mates)
                total -= target * logs[j]
    return total / (2 * len(ids))


def negative_weights(
    similarity: Sequence[float], allowed: Sequence[bool], floor: float
) -> list[float]:
    """The probabilities of columns as BLIP computes them: softmax, floor, matches struck out."""
    logs = log_softmax(list(similarity))
    weights = [(math.exp(x) + floor) * ok for x, ok in zip(logs, allowed, strict=True)]
    return [weight / math.fsum(weights) for weight in weights]


def drawn(weights: Sequence[float], number: float) -> int:
    """The column at which the weights so far first exceed a number."""
    reached = 0.0
    for column, weight in enumerate(weights):
        reached += weight
        if reached > number:
            return column
    raise AssertionError("weights do not add up to one")


def matching(logits: Tensor, target: list[int], counted: list[bool]) -> tuple[float, float]:
    """Mean cross entropy and accuracy of the pairs that count."""
    loss, right, count = 0.0, 0, 0
    for row, wanted, counts in zip(logits.tolist(), target, counted, strict=True):
        if counts:
            loss -= log_softmax(row)[wanted]
            right += (row[1] > row[0]) == bool(wanted)
            count += 1
    return (loss / count, right / count) if count else (0.0, 0.0)


def text_loss(logits: Tensor, ids: list[int], length: int, start: int, smoothing: float) -> float:
    """The summed loss of one text whose first `length` ids count, learnt from `start` on."""
    total, width = 0.0, logits.shape[-1]
    for place in range(max(1, start), length):
        logs = log_softmax(logits[place - 1].tolist())
        total -= (1 - smoothing) * logs[ids[place]] + smoothing / width * math.fsum(logs)
    return total
