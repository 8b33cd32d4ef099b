"""Who writes captions, and who judges them: what CapFilt asks of its models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor

from seesay.device import without_gradient
from seesay.errors import UsageError
from seesay.generation import decode
from seesay.protocols import DualEncoder, Generator, Matcher
from seesay.tasks.match import pair_ids
from seesay.tasks.writing import asked, prompt_of

if TYPE_CHECKING:
    from seesay.model import Model


class Captioner:
    """Writes captions.

    Args:
        model: A generator that can be asked for captions.
        prompt: How captions begin; None for what the model was trained with.
        options: Fields of `seesay.generation.Options`; tokens are drawn, as the family draws them,
            unless they say otherwise.
        candidates: How many captions for each picture.
        seed: Of the draws.

    Raises:
        UsageError: The model writes no captions, or the options cannot be.
    """

    def __init__(
        self,
        model: Model,
        prompt: str | None,
        options: Mapping[str, Any],
        candidates: int,
        seed: int,
    ) -> None:
        if not isinstance(model.module, Generator) or "caption" not in model.tasks():
            raise UsageError(f"{model.name} writes no captions", "name another captioner")
        drawn = {"do_sample": True, "seed": seed} if options.get("do_sample", True) else {}
        told = {**drawn, **options, "num_return_sequences": candidates}
        template, self.options = asked(model, "caption", told)
        self.model = model
        self.prompt = template.replace("{}", "") if prompt is None else prompt

    def write(self, tokens: Tensor, keys: Sequence[int]) -> list[list[str]]:
        """Return the captions of pictures.

        Args:
            tokens: Image tokens [B, P, D].
            keys: [B], what the draws depend on besides the seed.
        """
        processor: Any = self.model.processor
        written = decode(
            self.model.module,  # type: ignore[arg-type]
            prompt_of(self.model, "caption", [self.prompt] * len(tokens), tokens),
            self.options,
            end_ids=processor.end_ids,
            text=lambda ids: processor.decode([ids])[0],
            keys=keys if self.options.do_sample else None,
        )
        return [[(one.text or "").strip() for one in row] for row in written]


class Judge(Protocol):
    """Gives scores to the captions of pictures, and chooses by them."""

    role: ClassVar[str]
    """What the model is called in settings and messages."""
    measure: ClassVar[str]
    """What a score is."""
    model: Model

    def see(self, pixels: Tensor) -> Tensor:
        """Pixels [B, 3, h, w] to what `score` wants of each picture [B, ...]."""
        ...

    def score(self, seen: Tensor, texts: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return a score for each text of each of B pictures."""
        ...

    def choose(self, scores: Sequence[float]) -> list[bool]:
        """Return which captions of one picture are kept."""
        ...


class Filter:
    """Keeps the captions that an image-text matching head thinks likely.

    Args:
        model: A matcher.
        threshold: What the probability must exceed.

    Raises:
        UsageError: The model judges no pairs, or no probability exceeds the threshold.
    """

    role: ClassVar[str] = "filter"
    measure: ClassVar[str] = "probability"

    def __init__(self, model: Model, threshold: float) -> None:
        if not isinstance(model.module, Matcher):
            raise UsageError(
                f"{model.name} does not look at picture and text together, so it cannot filter",
                "name another filter, or rank by a dual encoder",
            )
        if not 0 <= threshold < 1:
            raise UsageError(f"threshold={threshold} is no probability that can be exceeded")
        self.model = model
        self.threshold = threshold

    def see(self, pixels: Tensor) -> Tensor:
        """Pixels [B, 3, h, w] to image tokens [B, P, D]."""
        return encode(self.model, pixels)

    def score(self, seen: Tensor, texts: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return how likely each text describes its picture, whatever other texts there are."""
        module: Any = self.model.module
        found: list[list[float]] = [[] for _ in texts]
        for count in sorted({len(some) for some in texts} - {0}):
            rows = [i for i, some in enumerate(texts) if len(some) == count]
            ids, mask = pair_ids(self.model, [text for i in rows for text in texts[i]])
            with without_gradient(module):
                likely = module.match(seen[rows], ids, mask).float().softmax(-1)[:, 1]
            for i, scores in zip(rows, likely.view(-1, count).tolist(), strict=True):
                found[i] = _checked(self.model, scores)
        return found

    def choose(self, scores: Sequence[float]) -> list[bool]:
        """Keep the captions whose probability exceeds the threshold."""
        return [score > self.threshold for score in scores]


class Ranker:
    """Keeps the captions of a picture that are closest to it.

    Args:
        model: A dual encoder.
        keep: How many captions of a picture.

    Raises:
        UsageError: The model has no vectors to compare.
    """

    role: ClassVar[str] = "rank"
    measure: ClassVar[str] = "similarity"

    def __init__(self, model: Model, keep: int) -> None:
        if not isinstance(model.module, DualEncoder):
            raise UsageError(
                f"{model.name} makes no vectors of picture and text, so it cannot rank",
                "name a dual encoder, such as CLIP",
            )
        if keep < 1:
            raise UsageError(f"keep={keep} keeps nothing")
        self.model = model
        self.keep = keep

    def see(self, pixels: Tensor) -> Tensor:
        """Pixels [B, 3, h, w] to unit vectors [B, E]."""
        return self.model.embed_pixels(pixels)

    def score(self, seen: Tensor, texts: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return the cosine of each text with its picture."""
        flat = [text for some in texts for text in some]
        vectors = torch.split(self.model.embed_texts(flat), [len(some) for some in texts])
        pairs = zip(vectors, seen, strict=True)
        return [_checked(self.model, (of_texts @ image).tolist()) for of_texts, image in pairs]

    def choose(self, scores: Sequence[float]) -> list[bool]:
        """Keep the best; of equally good ones those that come first."""
        order = sorted(range(len(scores)), key=lambda i: -scores[i])[: self.keep]
        return [i in order for i in range(len(scores))]


def encode(model: Model, pixels: Tensor) -> Tensor:
    """Pixels [B, 3, h, w] to image tokens [B, P, D], on the model's device."""
    module: Any = model.module
    moved = pixels.to(model.device, model.dtype, memory_format=torch.channels_last)
    with without_gradient(module):
        tokens: Tensor = module.encode_image(moved)
    return tokens


def _checked(model: Model, scores: Sequence[float]) -> list[float]:
    if not all(map(math.isfinite, scores)):
        raise UsageError(
            f"{model.name} gives a score that is no number", "run it in float32: dtype='float32'"
        )
    return [round(score, 6) for score in scores]
