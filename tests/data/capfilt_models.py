"""Models that CapFilt can be run with in milliseconds, and judges that say what they are told."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from seesay.errors import InputError
from seesay.family import Asking
from seesay.generation.options import Options
from seesay.processing.image import ImageSpec
from seesay.types import Picture, Prompt, TextBatch

WORDS = (
    "[end]",
    "[start]",
    "a",
    "cat",
    "dog",
    "red",
    "blue",
    "bird",
    "sits",
    "runs",
    "on",
    "grass",
)
SPEC = ImageSpec(size=(2, 2), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class Words:
    """A processor: a picture is its mean colour, a text its number in a list of all texts seen."""

    image = SPEC
    end_ids = (0,)

    def __init__(self) -> None:
        self.known: list[str] = []

    def images(self, pictures: Sequence[Picture]) -> Tensor:
        small = [p.image.resize((2, 2)).tobytes() for p in pictures]
        rows = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in small]
        return torch.stack(rows).float().view(-1, 2, 2, 3).permute(0, 3, 1, 2) / 255

    def texts(self, texts: Sequence[str]) -> TextBatch:
        raise AssertionError("texts are read looking at the picture")

    def pairs(self, texts: Sequence[str]) -> TextBatch:
        for text in texts:
            assert text, "an empty text was judged"
            if any("\ud800" <= char <= "\udfff" for char in text):
                raise InputError("not UTF-8")
            if text not in self.known:
                self.known.append(text)
        ids = torch.tensor([[self.known.index(text)] for text in texts])
        return TextBatch(ids, torch.ones_like(ids, dtype=torch.bool))

    def prompts(self, task: str, texts: Sequence[str]) -> Prompt:
        start = torch.ones(len(texts), 1, dtype=torch.long)
        return Prompt(None, start, start.bool())

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        return [" ".join(WORDS[i] for i in row if i > 1) for row in rows]


class Past:
    """What `Colours` remembers: the colour each beam writes about."""

    def __init__(self, tokens: Tensor) -> None:
        self.tokens = tokens

    def reorder(self, rows: Tensor) -> Past:
        return Past(self.tokens[rows])


class Colours(nn.Module):
    """A generator of words that depend on the picture, and a matcher that is told its verdicts."""

    def __init__(self, verdict: Callable[[str], float], words: Words) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image = nn.Linear(12, len(WORDS))
        self.follow = nn.Embedding(len(WORDS), len(WORDS))
        nn.init.normal_(self.image.weight, std=0.7)
        self.requires_grad_(False)
        self.verdict, self.words = verdict, words
        self.seen = 0

    def encode_image(self, pixels: Tensor) -> Tensor:
        self.seen += len(pixels)
        return pixels.flatten(1)[:, None]

    def forward(self, batch: Prompt) -> Tensor:
        raise AssertionError("nothing is taught here")

    def prefill(self, batch: Prompt) -> tuple[Tensor, Past]:
        assert batch.tokens is not None
        state = Past(batch.tokens[:, 0])
        return self._logits(batch.prefix[:, 0], state), state

    def step(self, ids: Tensor, state: Past) -> tuple[Tensor, Past]:
        many = len(ids) // len(state.tokens)
        state = Past(state.tokens.repeat_interleave(many, 0))
        return self._logits(ids, state), state

    def _logits(self, ids: Tensor, state: Past) -> Tensor:
        logits = self.image(state.tokens) + self.follow(ids)
        logits[:, 1] = -math.inf
        return logits

    def match(self, tokens: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        assert len(ids) % len(tokens) == 0
        likely = torch.tensor([self.verdict(self.words.known[int(i)]) for i in ids[:, 0]])
        return torch.stack([torch.zeros(len(ids)), torch.logit(likely.double()).float()], 1)


class Model:
    """A captioner, filter or ranker.

    Args:
        verdict: The probability, or the cosine, of a text.
        name: Decides the fingerprint.
    """

    device, dtype = torch.device("cpu"), torch.float32
    config = None

    def __init__(self, verdict: Callable[[str], float] = lambda text: 0.9, name: str = "toy"):
        self.name = name
        self.fingerprint = f"fingerprint-{name}"
        self.processor = Words()
        self.module: Any = Colours(verdict, self.processor)
        self.family = SimpleNamespace(
            asking=lambda *_: Asking(template="a picture of {}", options=Options(max_length=8))
        )

    def tasks(self) -> list[str]:
        return ["caption"]

    def require(self, *_: Any) -> None:
        """It can do what it is asked for here."""


class Compared(Model):
    """A dual encoder that gives each text the cosine it is told to."""

    def __init__(self, verdict: Callable[[str], float], name: str = "dual") -> None:
        super().__init__(verdict, name)
        self.module = SimpleNamespace(logit_scale=0, embed_image=1, embed_text=1)
        self.verdict = verdict

    def tasks(self) -> list[str]:
        return []

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        return torch.tensor([[1.0, 0.0]]).repeat(len(pixels), 1)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        cosines = torch.tensor([self.verdict(text) for text in texts])
        return torch.stack([cosines, (1 - cosines**2).sqrt()], -1).view(-1, 2)
