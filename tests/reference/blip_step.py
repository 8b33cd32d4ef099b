"""BLIP's pre-training step as its paper tells it, pair by pair, on one process.

It asks the model only to encode, to match and to write, one pair at a time and without padding;
momentum is a whole second model, the queue a list, negatives are drawn by `image_text.drawn`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from reference.image_text import drawn, negative_weights
from seesay.types import Prompt


class Pair(NamedTuple):
    """A picture [3, h, w], and the ids of its text as it is embedded, judged and written."""

    pixels: Tensor
    text: list[int]
    asked: list[int]
    written: list[int]
    keys: tuple[int, int]


class Step:
    """The losses of batch after batch; the caller moves the weights in between."""

    def __init__(self, module: Any, *, decay: float, queue: int, floor: float) -> None:
        self.module, self.slow = module, copy.deepcopy(module).eval()
        self.decay, self.size, self.floor = decay, queue, floor
        self.queue: list[tuple[Tensor, Tensor, tuple[int, int]]] = []

    def __call__(
        self, pairs: Sequence[Pair], draws: Sequence[Sequence[float]], alpha: float
    ) -> dict[str, Tensor]:
        """Return the losses of a batch; `draws` pick each pair's picture and text."""
        with torch.no_grad():
            for mean, now in zip(self.slow.parameters(), self.module.parameters(), strict=True):
                mean.copy_(self.decay * mean + (1 - self.decay) * now)
        images, texts = self._vectors(self.module, pairs)
        with torch.no_grad():
            slow_images, slow_texts = self._vectors(self.slow, pairs)
        gallery = [*zip(slow_images, slow_texts, (p.keys for p in pairs), strict=True), *self.queue]
        gallery_images = torch.stack([row[0] for row in gallery])
        gallery_texts = torch.stack([row[1] for row in gallery])
        scale = self.module.logit_scale.exp()
        itc = []
        for i, pair in enumerate(pairs):
            mates = torch.tensor([_match(pair.keys, row[2]) for row in gallery]).float()
            for own, slow, others in (
                (images[i], slow_images[i], gallery_texts),
                (texts[i], slow_texts[i], gallery_images),
            ):
                wanted = alpha * (scale * others @ slow).softmax(0).detach()
                wanted = wanted + (1 - alpha) * mates / mates.sum()
                itc.append(-(wanted * (scale * others @ own).log_softmax(0)).sum())
        self.queue = [*self.queue, *gallery[: len(pairs)]][-self.size :] if self.size else []
        return {
            "itc": torch.stack(itc).mean(),
            "itm": self._matching(pairs, images, texts, draws, scale.item()),
            "lm": self._writing(pairs),
        }

    def _vectors(self, module: Any, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
        images = [module.embed_image(pair.pixels[None])[0] for pair in pairs]
        texts = [module.embed_text(*_alone(pair.text))[0] for pair in pairs]
        return torch.stack(images), torch.stack(texts)

    def _matching(
        self,
        pairs: Sequence[Pair],
        images: Tensor,
        texts: Tensor,
        draws: Sequence[Sequence[float]],
        scale: float,
    ) -> Tensor:
        losses = []
        for i, pair in enumerate(pairs):
            allowed = [not _match(pair.keys, other.keys) for other in pairs]
            if not any(allowed):
                continue
            picture, text = (
                drawn(negative_weights((scale * row).tolist(), allowed, self.floor), number)
                for row, number in zip(
                    (images @ texts[i], texts @ images[i]), draws[i], strict=True
                )
            )
            for one, other, wanted in (
                (pair, pair, 1),
                (pairs[picture], pair, 0),
                (pair, pairs[text], 0),
            ):
                tokens = self.module.encode_image(one.pixels[None])
                logits = self.module.match(tokens, *_alone(other.asked))
                losses.append(F.cross_entropy(logits, torch.tensor([wanted])))
        return torch.stack(losses).mean()

    def _writing(self, pairs: Sequence[Pair]) -> Tensor:
        losses, count = [], 0
        for pair in pairs:
            ids, mask = _alone(pair.written)
            logits = self.module(Prompt(pair.pixels[None], ids, mask))
            each = F.cross_entropy(logits[0, :-1], ids[0, 1:], label_smoothing=0.1, reduction="sum")
            losses.append(each)
            count += len(pair.written) - 1
        return torch.stack(losses).sum() / count


def _match(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] == b[0] or a[1] == b[1]


def _alone(ids: list[int]) -> tuple[Tensor, Tensor]:
    return torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool)
