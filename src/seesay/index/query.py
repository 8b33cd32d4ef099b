r"""The little language of queries, and how a query becomes one vector.

    a red bicycle                     words
    beach + sunset - people           terms, added and subtracted
    beach -people                     the same; the sign may stand at the word
    2:dog + 0.5:cat                   weights
    ./holiday.jpg + at night          a file whose name ends like a picture's is a picture
    "salt + pepper - 12:30"           quoted, it is words and nothing else

A sign counts only after a space or at the start, so "t-shirt" and "C++" are words. The vector of a
query is the weighted sum of its terms' unit vectors, scaled to length one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seesay.errors import UsageError
from seesay.processing.image import SUFFIXES
from seesay.types import ImageInput

if TYPE_CHECKING:
    from seesay.model import Model

_MARK = re.compile(r'"[^"]*"|(?:^|(?<=\s))[+-]')
_WEIGHT = re.compile(r"(\d+(?:\.\d+)?|\.\d+):(?=[^\s\d])")


@dataclass(frozen=True)
class Term:
    """One summand of a query.

    Attributes:
        content: Words, or an image.
        weight: Negative for what shall not be seen.
        is_image: Whether `content` is an image; a string is then its path.
    """

    content: Any
    weight: float = 1.0
    is_image: bool = False


def parse(query: str, *, files: bool = True) -> list[Term]:
    """Read a query.

    Args:
        query: In the language above.
        files: Whether a term may name a file. False where queries come from strangers.

    Raises:
        UsageError: A term is empty, or weighs nothing.
    """
    terms = []
    for sign, text in _split(query):
        weight = -1.0 if sign == "-" else 1.0
        if match := _WEIGHT.match(text):
            weight *= float(match[1])
            text = text[match.end() :].strip()
        quoted = len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1]
        text = text[1:-1] if quoted else text
        if not text.strip():
            raise UsageError(
                f"the query {query!r} has an empty term", 'to search for signs, quote them: "+"'
            )
        if weight == 0:
            raise UsageError(f"the term {text!r} weighs nothing", "leave it out")
        is_image = files and not quoted and text.lower().endswith(SUFFIXES)
        terms.append(Term(os.path.expanduser(text) if is_image else text, weight, is_image))
    return terms


def _split(query: str) -> Iterator[tuple[str, str]]:
    """Cut a query at the signs that stand outside quotes: pairs of sign and text."""
    sign, start = "+", 0
    for match in _MARK.finditer(query):
        if match[0].startswith('"'):
            continue
        text = query[start : match.start()].strip()
        if text or start:  # nothing stands before a sign at the very beginning
            yield sign, text
        sign, start = match[0], match.end()
    yield sign, query[start:].strip()


def terms_of(query: str | ImageInput | None, image: ImageInput | None) -> list[Term]:
    """Collect the terms of what a search was given.

    Raises:
        UsageError: It was given nothing.
    """
    terms = []
    if isinstance(query, str):
        terms += parse(query)
    elif query is not None:
        terms.append(Term(query, is_image=True))
    if image is not None:
        terms.append(Term(image, is_image=True))
    if not terms:
        raise UsageError("there is nothing to search for", "give words, an image, or both")
    return terms


def encode(terms: Sequence[Term], model: Model) -> Tensor:
    """Turn the terms of one query into a unit vector [E].

    Raises:
        UsageError: The terms cancel each other out.
        ItemsFailed: An image cannot be read.
    """
    images = [term for term in terms if term.is_image]
    texts = [term for term in terms if not term.is_image]
    total = torch.tensor(0.0)
    if images:
        weights = torch.tensor([term.weight for term in images])
        total = total + weights @ model.embed_images([term.content for term in images])
    if texts:
        weights = torch.tensor([term.weight for term in texts])
        total = total + weights @ model.embed_texts([str(term.content) for term in texts])
    length = total.norm()
    if not length > 1e-4:
        raise UsageError("the terms of the query cancel each other out")
    unit: Tensor = total / length
    return unit
