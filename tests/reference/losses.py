"""The published definitions of the objectives, as loops over Python numbers: slow and plain.

Nothing is shared with the library: vectors are lists, matches are a predicate on two indices.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

Match = Callable[[int, int], bool]


def info_nce(
    images: Tensor, texts: Tensor, scale: float, match: Match, smoothing: float = 0.0
) -> float:
    """Mean over both directions and all rows of the cross entropy with spread targets."""
    u, v = images.tolist(), texts.tolist()
    count, total = len(u), 0.0
    for queries, keys, found in ((u, v, match), (v, u, lambda i, j: match(j, i))):
        for i in range(count):
            logs = log_softmax([math.exp(scale) * dot(queries[i], key) for key in keys])
            mates = [j for j in range(count) if found(i, j)]
            for j in range(count):
                target = (1 - smoothing) * (j in mates) / len(mates) + smoothing / count
                total -= target * logs[j]
    return total / (2 * count)


def unicl(images: Tensor, texts: Tensor, scale: float, labels: list[int]) -> float:
    """The sum of the two directions as in the equations; a label below 0 matches only itself."""
    u, v = images.tolist(), texts.tolist()
    total = 0.0
    for queries, keys in ((u, v), (v, u)):
        for i, query in enumerate(queries):
            mates = [k for k in range(len(u)) if k == i or labels[k] == labels[i] >= 0]
            logs = log_softmax([math.exp(scale) * dot(query, key) for key in keys])
            total -= sum(logs[k] for k in mates) / len(mates)
    return total


def sigmoid(images: Tensor, texts: Tensor, scale: float, bias: float, match: Match) -> float:
    """Sum over all pairs of -log sigmoid(+-logit), divided by the number of rows."""
    u, v = images.tolist(), texts.tolist()
    total = 0.0
    for i, image in enumerate(u):
        for j, text in enumerate(v):
            logit = math.exp(scale) * dot(image, text) + bias
            total += math.log1p(math.exp(-logit if match(i, j) else logit))
    return total / len(u)


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> float:
    """SimCLR: each of the 2N views against all others but itself."""
    views = [*first.tolist(), *second.tolist()]
    count, total = len(first), 0.0
    for k, view in enumerate(views):
        others = [m for m in range(2 * count) if m != k]
        cosines = [dot(view, views[m]) / norm(view) / norm(views[m]) for m in others]
        logs = log_softmax([cosine / temperature for cosine in cosines])
        total -= logs[others.index((k + count) % (2 * count))]
    return total / (2 * count)


def dot(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def norm(a: list[float]) -> float:
    return math.sqrt(dot(a, a))


def log_softmax(logits: list[float]) -> list[float]:
    top = max(logits)
    total = top + math.log(math.fsum(math.exp(x - top) for x in logits))
    return [x - total for x in logits]
