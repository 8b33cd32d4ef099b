"""How well a text describes an image, or a video."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seesay.errors import InputError, UsageError, all_or_raise
from seesay.protocols import DualEncoder, Matcher, TokenEncoder
from seesay.types import ImageInput, TextBatch

if TYPE_CHECKING:
    from torch import Tensor

    from seesay.model import Model
    from seesay.tasks.pictures import Seen


@dataclass(frozen=True, kw_only=True)
class MatchInput:
    """An image, or the frames of a video, and a text."""

    image: ImageInput | tuple[ImageInput, ...] = field(metadata={"help": "An image."})
    text: str = field(metadata={"help": "Texts to score against it.", "each": True})
    frames: int | None = field(
        default=None,
        metadata={"help": "IMAGE is a folder of frames of a video: look at so many of them."},
    )

    def images(self) -> tuple[ImageInput, ...]:
        """Return what is looked at: one image, or the frames."""
        if self.frames is not None:
            from seesay.tasks.video import frames_of

            return frames_of(self.image, self.frames)  # type: ignore[arg-type]
        return self.image if isinstance(self.image, tuple) else (self.image,)


@dataclass(frozen=True, kw_only=True)
class MatchOutput:
    """The scores of one pair.

    Attributes:
        itc: Cosine of the two vectors, -1..1 (the image-text contrastive score). Of a video, that
            of the mean of its frames' vectors. None for models without vectors.
        itm: The logit of a match (image-text matching), given by models that look at image and text
            together; of a video, they look at all frames at once.
        probability: How likely it is that the text describes the image, 0..1, whatever other texts
            there are. None for models that were trained to compare texts, not to judge one.
    """

    itc: float | None
    itm: float | None = None
    probability: float | None = None

    def show(self) -> str:
        """Return the scores, for people."""
        cosine = "" if self.itc is None else f"{self.itc:.3f}"
        likely = "" if self.probability is None else f"{self.probability:.1%}"
        return "   ".join(part for part in (cosine, likely) if part)


def match(
    model: Model,
    images: Iterable[ImageInput] | ImageInput | None = None,
    texts: Sequence[str] | str = (),
    *,
    videos: Sequence[Sequence[ImageInput]] | None = None,
    batch_size: int = 32,
) -> list[MatchOutput]:
    """Score pairs of an image and a text.

    Args:
        model: A dual encoder, a matcher, or both.
        images: Paths, encoded bytes, PIL images or arrays [h, w, c]; as many as texts, or one for
            all texts.
        texts: As many as images, or one for all images.
        videos: In place of images: the frames of each, as `seesay.tasks.video.frames_of` gives.
        batch_size: How many go through the network together.

    Raises:
        UsageError: The numbers of images and texts do not pair up.
        ItemsFailed: Some images cannot be read.
    """
    from seesay.tasks.pictures import as_list
    from seesay.tasks.vectors import as_texts

    model.require("match")
    if (images is None) == (videos is None):
        raise UsageError("match takes images or videos, one of the two")
    seen = [tuple(frames) for frames in videos or ()] if images is None else as_list(images)
    if videos is not None and not all(seen):
        raise UsageError("a video has no frames")
    requests = [MatchInput(image=image, text=text) for image, text in pairs(seen, as_texts(texts))]
    return all_or_raise(run(model, requests, batch_size=batch_size))


def pairs(
    images: Sequence[Any], texts: Sequence[Any], what: str = "texts"
) -> list[tuple[Any, Any]]:
    """Pair images with texts; one of either goes with all of the other.

    Raises:
        UsageError: The numbers do not pair up.
    """
    count = max(len(images), len(texts))
    if not count:
        return []
    if {len(images), len(texts)} - {1, count}:
        raise UsageError(f"{len(images)} images and {len(texts)} {what} do not pair up")
    one_image, one_text = len(images) == 1, len(texts) == 1
    return [(images[0 if one_image else i], texts[0 if one_text else i]) for i in range(count)]


def run(
    model: Model, requests: Sequence[MatchInput], *, batch_size: int = 32
) -> Iterator[MatchOutput | InputError]:
    """Score each request; a text that comes again, or an image after itself, is encoded once."""
    import torch
    import torch.nn.functional as F

    from seesay.tasks.pictures import serve

    module: Any = model.module
    judges = isinstance(module, Matcher)
    # a judge whose tokens become vectors gives both scores for one pass over the image
    compares = isinstance(module, DualEncoder) and (not judges or isinstance(module, TokenEncoder))
    vectors: dict[str, Tensor] = {}
    if compares:
        texts = list(dict.fromkeys(request.text for request in requests))
        vectors = dict(zip(texts, model.embed_texts(texts), strict=True))

    def respond(groups: list[list[MatchInput]], seen: Seen) -> list[MatchOutput]:
        asked = [request for group in groups for request in group]
        logits: list[Any] = [None] * len(asked)
        cosines: list[Any] = [None] * len(asked)
        if judges:
            ids, mask = pair_ids(model, [request.text for request in asked])
            # the frames of a video are one long image: [G, N, P, D] to [G, N * P, D]
            logits = module.match(seen.features.flatten(1, 2), ids, mask).float().tolist()
        if compares:
            found = seen.features.flatten(0, 1)
            if judges:
                found = module.project_image(module.pool_tokens(found))
            found = found.float().view(*seen.features.shape[:2], -1)
            found = F.normalize(found, dim=-1).mean(1).cpu()
            images = F.normalize(found, dim=-1).repeat_interleave(len(groups[0]), 0)
            cosines = (images * torch.stack([vectors[r.text] for r in asked])).sum(-1).tolist()
        return [_scored(module, *pair) for pair in zip(cosines, logits, strict=True)]

    yield from serve(
        model,
        requests,
        respond,
        see=module.encode_image if judges else module.embed_image,
        images=MatchInput.images,
        batch_size=batch_size,
    )


def pair_ids(model: Model, texts: Sequence[str]) -> TextBatch:
    """Return ids and mask of texts that will look at an image, on the model's device."""
    read: Any = getattr(model.processor, "pairs", model.processor.texts)
    ids, mask = read(texts)
    return TextBatch(ids.to(model.device), mask.to(model.device))


def _scored(module: Any, itc: float | None, logits: tuple[float, float] | None) -> MatchOutput:
    """The scores of a pair, and the probability of models that were trained to judge it."""
    if logits is not None:
        return MatchOutput(itc=itc, itm=logits[1], probability=sigmoid(logits[1] - logits[0]))
    bias = getattr(module, "logit_bias", None)
    if bias is None or itc is None:
        return MatchOutput(itc=itc)
    scale = float(module.logit_scale.detach().exp())
    return MatchOutput(itc=itc, probability=sigmoid(scale * itc + float(bias.detach())))


def sigmoid(x: float) -> float:
    """Return 1 / (1 + exp(-x)), written so that no exponential overflows."""
    return 1 / (1 + math.exp(-x)) if x > 0 else 1 - 1 / (1 + math.exp(x))
