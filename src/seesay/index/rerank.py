"""The first hits of a search in the order of a model that looks at picture and text together.

Such a model is right more often than vectors and far too slow for a whole collection: it judges
only the pictures that the vectors found, which are read from the disk again.

Paper: arXiv 2107.07651, section 4 (retrieval: candidates by vectors, ranking by pairs).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from seesay.errors import InputError, ItemsFailed, UsageError
from seesay.index.query import Term

if TYPE_CHECKING:
    from seesay.index.items import Hit
    from seesay.model import Model


def text_of(terms: Sequence[Term]) -> str:
    """Return the one text that a query is, for a model that judges pictures by texts.

    Raises:
        UsageError: The query is something else: an image, several terms, one that is subtracted.
    """
    if all(term.is_image for term in terms):
        raise UsageError(
            "re-ranking judges pictures by a text, and the query has none",
            "give words too, or leave out the re-ranking",
        )
    [term, *others] = terms
    if others or term.is_image or term.weight < 0:
        raise UsageError(
            "re-ranking judges pictures by one text, and the query is made of several terms",
            'say it in words alone, "quoted" where they hold signs, or leave out the re-ranking',
        )
    return str(term.content)


def check_judge(model: Model) -> Model:
    """Return the model when it can judge.

    Raises:
        UsageError: It only compares vectors.
    """
    from seesay.protocols import Matcher

    if not isinstance(model.module, Matcher):
        raise UsageError(
            f"{model.name} compares vectors and does not judge pairs",
            "re-rank with a model that does, such as blip-itm-base-coco",
        )
    return model


def rerank(
    hits: Sequence[Hit],
    text: str,
    model: Model,
    *,
    errors: list[InputError] | None = None,
    progress: Callable[[int], None] | None = None,
    batch_size: int = 16,
) -> list[Hit]:
    """Return the hits by how likely the text describes them, the likeliest first.

    Args:
        hits: What the vectors found; of equal probability, their order stays.
        text: What was searched for.
        model: The judge.
        errors: When given, pictures that cannot be read are told here and left out.
        progress: Told after each picture how many there were.
        batch_size: How many go through the network together.

    Raises:
        ItemsFailed: Pictures cannot be read any more and `errors` is None.
    """
    from seesay.tasks.match import MatchInput, run

    failures: list[InputError] = []
    found: list[tuple[float, Hit]] = []
    requests = [MatchInput(image=hit.path, text=text) for hit in hits]
    judged = run(model, requests, batch_size=batch_size)
    for done, (hit, result) in enumerate(zip(hits, judged, strict=True), 1):
        if isinstance(result, InputError):
            failures.append(result)
        else:
            found.append((float(result.probability or 0), hit))
        if progress is not None:
            progress(done)
    if failures and errors is None:
        raise ItemsFailed(failures, len(hits))
    if errors is not None:
        errors.extend(failures)
    found.sort(key=lambda pair: -pair[0])
    return [
        replace(hit, rank=rank, score=round(likely, 6), cosine=hit.score)
        for rank, (likely, hit) in enumerate(found, 1)
    ]
