"""A picture and a text, alone and together: one forward pass for contrast, matching and writing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from seesay.train.gather import Share, gather
from seesay.train.image_text import alike, hard_negatives
from seesay.types import Prompt, TextBatch

T = TypeVar("T")


@dataclass(frozen=True)
class Pairs:
    """What a forward pass reads: rows of every tensor belong together.

    Attributes:
        pixels: [B, 3, h, w].
        texts: As they are embedded, [B, L].
        asked: As they are judged together with a picture, [B, L].
        written: As they are written, [B, L'], or None.
        starts: Where in it what is learnt begins, [B].
        keys: What matches, [B, K]; see `image_text.alike`.
    """

    pixels: Tensor
    texts: TextBatch
    asked: TextBatch
    written: TextBatch | None
    starts: Tensor | None
    keys: Tensor


@dataclass(frozen=True)
class Others:
    """The pairs that negatives are drawn from, N of them, in an order that all processes share.

    Attributes:
        among: Which of them are whose.
        order: Their places among the gathered rows [N].
        asked: Their texts, [N, L].
        keys: [N, K].
        draws: For each own pair the random numbers that pick its picture and its text, [B, 2].
    """

    among: Share
    order: Tensor
    asked: TextBatch
    keys: Tensor
    draws: Tensor


class Seen(NamedTuple):
    """What a forward pass found.

    Attributes:
        images: Unit vectors [B, E].
        texts: Unit vectors [B, E].
        judged: Logits [3 * B, 2]: the pairs, the texts with other pictures, the pictures with other
            texts.
        counted: Which of those are pairs indeed, boolean [3 * B]; others had no negative.
        words: Logits [B, L', V] of what is written, or None.
    """

    images: Tensor
    texts: Tensor
    judged: Tensor
    counted: Tensor
    words: Tensor | None


class Joint(nn.Module):
    """Calls the parts of a model that this training needs, in one forward pass.

    Each picture goes through its tower once, and serves all three objectives.

    Args:
        module: A `DualEncoder` and `Matcher` whose first image token is what is pooled; a
            `Generator` where there is something to write.
        floor: See `hard_negatives`.
    """

    def __init__(self, module: nn.Module, floor: float) -> None:
        super().__init__()
        self.module = module
        self.floor = floor

    def forward(self, pairs: Pairs, others: Others) -> Seen:
        """Return the vectors, the judgements and the words."""
        module: Any = self.module
        tokens = module.encode_image(pairs.pixels)
        images = module.project_image(tokens[:, 0])
        texts = module.embed_text(*pairs.texts)
        other_image, other_text, found = self._negatives(images, texts, pairs, others)

        elsewhere = gather(tokens, others.among)[others.order[other_image]]
        wrong = module.match(elsewhere, *pairs.asked)
        # a picture and its two texts: what the texts look at is read once
        ids = torch.stack([pairs.asked.ids, others.asked.ids[other_text]], 1).flatten(0, 1)
        mask = torch.stack([pairs.asked.mask, others.asked.mask[other_text]], 1).flatten(0, 1)
        both = module.match(tokens, ids, mask)
        judged = torch.cat([both[::2], wrong, both[1::2]])
        words = None
        if pairs.written is not None:
            words = module(Prompt(None, *pairs.written, tokens=tokens))
        return Seen(images, texts, judged, found.repeat(3), words)

    @torch.no_grad()
    def _negatives(
        self, images: Tensor, texts: Tensor, pairs: Pairs, others: Others
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return another picture for each text, another text for each picture, and where are some.

        Matching pairs match both ways, so whoever has one of the two has the other.
        """
        module: Any = self.module
        allowed = ~alike(pairs.keys, others.keys)
        with torch.autocast(images.device.type, enabled=False):
            images, texts = images.float(), texts.float()
            factor = module.logit_scale.exp()
            to_images = factor * texts @ gather(images, others.among)[others.order].T
            to_texts = factor * images @ gather(texts, others.among)[others.order].T
        picture, text = others.draws.T
        image, found = hard_negatives(to_images, allowed, picture, floor=self.floor)
        return image, hard_negatives(to_texts, allowed, text, floor=self.floor)[0], found

    def within(self, function: Callable[[], T]) -> T:
        """Call a function as if from `forward`: what is sharded over processes is whole there."""
        return function()
