"""A small generator that remembers in a GRU, and slow ways to say what it should write.

The slow ways never look at the code they check: no state, no batch, every text anew from its ids,
in float64, and all continuations of all beams in one sorted list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor, nn

from seesay.types import Prompt

VOCAB, WIDTH, ENDS = 23, 16, (3, 7)


@dataclass
class Memory:
    """Hidden states [N, D], and how often each was reordered."""

    hidden: Tensor
    log: list[int]

    def reorder(self, rows: Tensor) -> Memory:
        self.log.append(len(rows))
        return Memory(self.hidden[rows], self.log)


class Toy(nn.Module):
    """A GRU that begins with what it sees and what it reads."""

    def __init__(self, seed: int = 0, sharpness: float = 2.0) -> None:
        super().__init__()
        self.look = nn.Linear(12, WIDTH)
        self.embed = nn.Embedding(VOCAB, WIDTH)
        self.cell = nn.GRUCell(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, VOCAB)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(0, sharpness / parameter.shape[-1] ** 0.5, generator=generator)
            self.head.weight.mul_(2)
        self.steps: list[int] = []
        self.log: list[int] = []

    def encode_image(self, pixels: Tensor) -> Tensor:
        return self.look(pixels.flatten(1))[:, None]

    def _begin(self, batch: Prompt) -> Tensor:
        seen = batch.tokens if batch.tokens is not None else self.encode_image(batch.pixels)
        hidden = seen[:, 0].tanh()
        if batch.ids is not None:
            read = self.embed(batch.ids) * batch.mask[:, :, None]
            hidden = (hidden + read.sum(1)).tanh()
        return hidden

    def forward(self, batch: Prompt) -> Tensor:
        hidden = self._begin(batch)
        hidden = hidden.repeat_interleave(len(batch.prefix) // len(hidden), 0)
        logits = []
        for column in batch.prefix.T:
            hidden = self.cell(self.embed(column), hidden)
            logits.append(self.head(hidden))
        return torch.stack(logits, 1)

    def prefill(self, batch: Prompt) -> tuple[Tensor, Memory]:
        hidden = self._begin(batch)
        for column, real in zip(batch.prefix.T, batch.prefix_mask.T, strict=True):
            hidden = torch.where(real[:, None], self.cell(self.embed(column), hidden), hidden)
        return self.head(hidden), Memory(hidden, self.log)

    def step(self, ids: Tensor, state: Memory) -> tuple[Tensor, Memory]:
        self.steps.append(len(ids))
        hidden = state.hidden.repeat_interleave(len(ids) // len(state.hidden), 0)
        hidden = self.cell(self.embed(ids), hidden)
        return self.head(hidden), Memory(hidden, state.log)


def prompt(rows: int = 4, seed: int = 0, lengths: Sequence[int] | None = None) -> Prompt:
    """A prompt with ragged prefixes and questions."""
    generator = torch.Generator().manual_seed(seed)
    lengths = lengths or [1 + i % 3 for i in range(rows)]
    prefix = torch.randint(8, VOCAB, (rows, max(lengths)), generator=generator)
    ids = torch.randint(8, VOCAB, (rows, 4), generator=generator)
    mask = torch.arange(4) < torch.tensor([[1 + i % 4] for i in range(rows)])
    pixels = torch.randn(rows, 3, 2, 2, generator=generator)
    prefix_mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return Prompt(pixels, prefix, prefix_mask, ids=ids, mask=mask)


def row(batch: Prompt, i: int) -> Prompt:
    """One row of a prompt without its padding."""
    length = int(batch.prefix_mask[i].sum())
    alone = Prompt(*(None if t is None else t[i : i + 1] for t in batch))
    return alone._replace(
        prefix=alone.prefix[:, :length], prefix_mask=alone.prefix_mask[:, :length]
    )


def slow_logprobs(module: Toy, alone: Prompt, written: Sequence[int]) -> list[float]:
    """Log-probabilities of the next token, read from the whole text."""
    text = torch.cat([alone.prefix, torch.tensor([list(written)], dtype=torch.int64)], 1)
    logits = module(alone._replace(prefix=text, prefix_mask=torch.ones_like(text, dtype=bool)))
    return logits[0, -1].double().log_softmax(-1).tolist()


def slow_greedy(module: Toy, alone: Prompt, limit: int) -> tuple[list[int], float]:
    """The best token each time, the end included, and the sum of log-probabilities."""
    ids: list[int] = []
    total = 0.0
    while len(ids) < limit and (not ids or ids[-1] not in ENDS):
        logprobs = slow_logprobs(module, alone, ids)
        ids.append(max(range(VOCAB), key=logprobs.__getitem__))
        total += logprobs[ids[-1]]
    return ids, total


def slow_beams(
    module: Toy, alone: Prompt, limit: int, beams: int, penalty: float, stopping: bool | str
) -> list[tuple[float, list[int]]]:
    """Scores and texts of beam search, the end included, best first."""
    running: list[tuple[float, list[int]]] = [(0.0, [])]
    pool: list[tuple[float, list[int]]] = []
    for length in range(1, limit + 1):
        ways = [
            (total + logprob, [*ids, token])
            for total, ids in running
            for token, logprob in enumerate(slow_logprobs(module, alone, ids))
        ]
        ways = sorted(ways, reverse=True)[: (1 + len(ENDS)) * beams]
        over = [ids[-1] in ENDS or length == limit for _, ids in ways]
        pool += [
            (total / length**penalty, ids)
            for (total, ids), end in list(zip(ways, over, strict=True))[:beams]
            if end
        ]
        pool = sorted(pool, reverse=True)[:beams]
        running = [way for way, end in zip(ways, over, strict=True) if not end][:beams]
        if len(pool) == beams and running:
            ahead = limit if stopping == "never" and penalty > 0 else length
            hope = running[0][0] / ahead**penalty if stopping is not True else -inf
            if hope <= pool[-1][0]:
                break
    return pool
