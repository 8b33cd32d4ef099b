"""Re-ranking: the nearest by cosine, put in order by a judge that looks at picture and text.

Paper: arXiv 2107.07651 (ALBEF), section 3.4 and appendix; 2201.12086 (BLIP), section 5.1: the score
of a candidate is its match logit and its cosine, added.
Reference: salesforce/BLIP, train_retrieval.py, evaluation: k 256 for COCO, 128 for Flickr30k.
Differs: one pass over the pictures serves both directions, so each is encoded once and nothing but
scores is kept; what is no candidate stays in the order of the cosines, and not in none; k may be
more than there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seesay.device import without_gradient
from seesay.errors import CheckpointError, UsageError
from seesay.evaluate.encode import Progress, sources
from seesay.evaluate.ranking import TIE, Ints, Ranks, nearest
from seesay.protocols import Matcher
from seesay.tasks.pictures import pixel_chunks

if TYPE_CHECKING:
    from seesay.data.record import Dataset
    from seesay.model import Model

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Candidates:
    """The nearest items of each query, and what the judge says of them.

    Attributes:
        items: int64 [Q, k].
        scores: float32 [Q, k].
    """

    items: Ints
    scores: Scores


def check_matcher(model: Model, rerank: int | None) -> None:
    """Refuse to re-rank with a model that cannot.

    Raises:
        UsageError: It has no match head, or `rerank` is no number of items.
    """
    if rerank is None:
        return
    if rerank < 1:
        raise UsageError(f"rerank={rerank} is not a number of items", "256 is usual for COCO")
    if not isinstance(model.module, Matcher):
        raise UsageError(f"{model.name} has no match head to re-rank with")


def judge(
    model: Model,
    dataset: Dataset,
    rows: Sequence[int],
    texts: Sequence[str],
    images: Tensor,
    strings: Tensor,
    *,
    k: int,
    batch_size: int,
    progress: Progress,
) -> tuple[Candidates, Candidates]:
    """Score the nearest k texts of each picture, and the nearest k pictures of each text.

    Args:
        model: With a match head.
        dataset: Where the pictures are.
        rows: Of the pictures [I]; all of them can be read.
        texts: The captions [T].
        images: Unit vectors of the pictures [I, E].
        strings: Unit vectors of the captions [T, E].
        k: How many; more than there are means all.
        batch_size: Pictures encoded together; eight times as many pairs are judged together.
        progress: Shows how far it is.

    Returns:
        The candidates of the pictures, and of the texts.
    """
    to_text = nearest(images, strings, k)
    to_image = nearest(strings, images, k)
    found = [np.zeros(items.shape, np.float32) for items in (to_text, to_image)]
    by_image = to_image.ravel().argsort(kind="stable")
    starts = np.searchsorted(to_image.ravel()[by_image], np.arange(len(rows) + 1))
    ids, mask = _tokens(model, texts)
    module: Any = model.module
    with progress("pictures re-ranked", len(rows)) as counter, without_gradient(model.module):
        for chunk in pixel_chunks(model, sources(dataset, rows), batch_size):
            for _, error in chunk.failures.items():
                raise error
            for places, pixels in chunk.batches:
                pixels = pixels.to(model.device, model.dtype, memory_format=torch.channels_last)
                for place, seen in zip(places, module.encode_image(pixels), strict=True):
                    i = chunk.start + place
                    asked = by_image[starts[i] : starts[i + 1]]
                    both = np.concatenate([to_text[i], asked // to_image.shape[1]])
                    wanted, inverse = np.unique(both, return_inverse=True)
                    logits = _logits(model, seen, wanted, ids, mask, 8 * batch_size)
                    cosines = strings[torch.from_numpy(wanted)] @ images[i]
                    scores = (logits + cosines.float().cpu()).numpy()[inverse]
                    found[0][i] = scores[: to_text.shape[1]]
                    found[1].ravel()[asked] = scores[to_text.shape[1] :]
            counter.advance(chunk.size)
    if not all(np.isfinite(scores).all() for scores in found):
        raise CheckpointError(f"{model.name} gives match logits that are not finite")
    return Candidates(to_text, found[0]), Candidates(to_image, found[1])


def _tokens(model: Model, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Ids and mask of all texts [T, L], on the CPU."""
    read: Any = getattr(model.processor, "pairs", model.processor.texts)
    parts = [read(list(texts[start : start + 4096])) for start in range(0, len(texts), 4096)]
    length = max(ids.shape[1] for ids, _ in parts)
    pad = [(0, length - ids.shape[1]) for ids, _ in parts]
    widened = [
        (torch.nn.functional.pad(ids, p), torch.nn.functional.pad(mask, p))
        for (ids, mask), p in zip(parts, pad, strict=True)
    ]
    return torch.cat([ids for ids, _ in widened]), torch.cat([mask for _, mask in widened])


def _logits(
    model: Model, seen: Tensor, wanted: Ints, ids: Tensor, mask: Tensor, size: int
) -> Tensor:
    """The match logits of one picture's tokens [P, D] and some texts, float32 [n]."""
    module: Any = model.module
    lengths = mask.sum(1)
    # neighbours in length share a batch, so little is spent on padding
    order = torch.from_numpy(wanted)[lengths[torch.from_numpy(wanted)].argsort(stable=True)]
    logits = torch.empty(len(ids))
    for some in torch.split(order, size):
        longest = int(lengths[some].max())
        part = ids[some, :longest].to(model.device), mask[some, :longest].to(model.device)
        logits[some] = module.match(seen[None], *part)[:, 1].float().cpu()
    return logits[torch.from_numpy(wanted)]


def reranked(ranks: Ranks, candidates: Candidates, pairs: Ints) -> Ranks:
    """Return the ranks after the candidates were put in order by their scores.

    A query that has no right item among its candidates keeps its rank.

    Args:
        ranks: By cosine.
        candidates: Of each query.
        pairs: int64 [P, 2], each a query and an item that is right for it.
    """
    queries = len(candidates.items)
    size = int(max(candidates.items.max(), pairs[:, 1].max())) + 1
    known = np.sort(pairs[:, 0] * size + pairs[:, 1])
    keys = np.arange(queries)[:, None] * size + candidates.items
    right = np.isin(keys, known)
    inside = right.any(1)
    best = np.where(right, candidates.scores, -np.inf).max(1)
    level = np.where(inside, best, 0)[:, None]
    above = ((candidates.scores > level + TIE) & ~right).sum(1)
    tied = ((np.abs(candidates.scores - level) <= TIE) & ~right).sum(1)
    equal = ((candidates.scores >= level - TIE) & right).sum(1)
    return Ranks(
        np.where(inside, above, ranks.above),
        np.where(inside, tied, ranks.tied),
        np.where(inside, equal, ranks.right),
        np.where(inside, best, ranks.score).astype(np.float64),
    )
