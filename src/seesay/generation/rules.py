"""Rules change the scores of the next token: what may not be written, what must be, what is dull.

Scores are logits where tokens are taken greedily or drawn, and log-probabilities in beam search,
as in transformers, whose processors the rules here follow in effect and in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

import torch
from torch import Tensor

from seesay.generation.options import Options


@dataclass(frozen=True)
class Draft:
    """What has been written so far, one row for each beam.

    Attributes:
        ids: int64 [N, L], prefix and new tokens, aligned at the right: -1 stands where a row has
            nothing yet because its prefix is shorter than others.
        starts: How many tokens the prefix of each row has.
        limits: How many new tokens each row may have.
        written: How many new tokens there are, the same for all rows.
    """

    ids: Tensor
    starts: list[int]
    limits: list[int]
    written: int = 0

    def select(self, rows: Tensor, listed: Sequence[int]) -> Draft:
        """Return the draft of some rows, told as int64 [N'] and as a list."""
        return Draft(
            self.ids[rows],
            [self.starts[row] for row in listed],
            [self.limits[row] for row in listed],
            self.written,
        )

    def extended(self, ids: Tensor) -> Draft:
        """Return the draft with one more token for each row, ids [N]."""
        longer = torch.cat([self.ids, ids[:, None]], dim=1)
        return Draft(longer, self.starts, self.limits, self.written + 1)


class Rule(Protocol):
    """Decides from the draft alone, so that it holds for every beam, whatever became of others."""

    def apply(self, scores: Tensor, draft: Draft) -> Tensor:
        """Return the scores [N, V] of the next token, changed; -inf where it may not be.

        `scores` is the rule's own and may be changed in place.
        """
        ...


@dataclass(frozen=True)
class RepetitionPenalty:
    """Make tokens of the draft, the prefix included, less likely: scores over or times a penalty.

    Paper: arXiv 1909.05858, section 4.1; there for logits above zero only.
    """

    penalty: float

    def apply(self, scores: Tensor, draft: Draft) -> Tensor:
        """Divide scores above zero by the penalty and multiply those below, once for each token."""
        # every row has a last token, and it is penalised anyway
        ids = torch.where(draft.ids < 0, draft.ids[:, -1:], draft.ids)
        found = scores.gather(1, ids)
        found = torch.where(found < 0, found * self.penalty, found / self.penalty)
        return scores.scatter_(1, ids, found)


@dataclass(frozen=True)
class NoRepeatNGram:
    """Forbid tokens that would complete a run of `size` tokens that the draft has already."""

    size: int

    def apply(self, scores: Tensor, draft: Draft) -> Tensor:
        """Compare the last size - 1 tokens with every window of that many and what follows it."""
        length = draft.ids.shape[1]
        if length < self.size:
            return scores
        windows = draft.ids.unfold(1, self.size, 1)
        last = windows[:, :, -1]
        suffix = draft.ids[:, None, length + 1 - self.size :]
        # a window that begins before the row equals no suffix but the one at its own place,
        # which nothing follows; only for single tokens there is no suffix to differ
        banned = (windows[:, :, :-1] == suffix).all(-1) & (last >= 0)
        change = torch.zeros_like(last, dtype=scores.dtype).masked_fill_(~banned, inf)
        change = change.masked_fill_(banned, -inf)
        return scores.scatter_reduce_(1, last.clamp(min=0), change, "amin")


@dataclass(frozen=True)
class LeastLength:
    """Forbid the end until there are so many tokens, with or without the prefix."""

    end_ids: tuple[int, ...]
    with_prefix: int
    new: int

    def apply(self, scores: Tensor, draft: Draft) -> Tensor:
        """Forbid the end ids in rows that are too short."""
        least = [max(self.with_prefix - start, self.new) for start in draft.starts]
        short = [i for i, count in enumerate(least) if draft.written < count]
        return _fill(scores, short, self.end_ids, -inf) if short else scores


@dataclass(frozen=True)
class ForcedFirst:
    """After a prefix of one token comes this one, as checkpoints of many languages want it."""

    id: int

    def apply(self, scores: Tensor, draft: Draft) -> Tensor:
        """Forbid all others where the draft is one token long."""
        if draft.written:
            return scores
        return _force(scores, [i for i, start in enumerate(draft.starts) if start == 1], self.id)


@dataclass(frozen=True)
class ForcedLast:
    """The last token that the length allows is this one."""

    id: int

    def apply(self, scores: Tensor, draft: Draft) -> Tensor:
        """Forbid all others where one token is left."""
        left = draft.written + 1
        return _force(scores, [i for i, most in enumerate(draft.limits) if left == most], self.id)


@dataclass(frozen=True)
class Suppressed:
    """Some ids are never written."""

    ids: tuple[int, ...]

    def apply(self, scores: Tensor, draft: Draft) -> Tensor:
        """Forbid them."""
        return _fill(scores, range(len(scores)), self.ids, -inf)


def make_rules(options: Options, end_ids: Sequence[int]) -> list[Rule]:
    """Return the rules that the options ask for, in transformers' order."""
    rules: list[Rule] = []
    if options.repetition_penalty != 1:
        rules.append(RepetitionPenalty(options.repetition_penalty))
    if options.no_repeat_ngram_size:
        rules.append(NoRepeatNGram(options.no_repeat_ngram_size))
    new = options.min_new_tokens
    if new or (new is None and options.min_length):
        with_prefix = options.min_length if new is None else 0
        rules.append(LeastLength(tuple(end_ids), with_prefix, new or 0))
    if options.forced_bos_id is not None:
        rules.append(ForcedFirst(options.forced_bos_id))
    if options.forced_eos_id is not None:
        rules.append(ForcedLast(options.forced_eos_id))
    if options.suppressed_ids:
        rules.append(Suppressed(options.suppressed_ids))
    return rules


def _fill(scores: Tensor, rows: Sequence[int], ids: Sequence[int], value: float) -> Tensor:
    if len(rows) == len(scores):
        for id in ids:
            scores[:, id] = value
        return scores
    where = torch.tensor(rows, device=scores.device)[:, None]
    scores[where, torch.tensor(ids, device=scores.device)] = value
    return scores


def _force(scores: Tensor, rows: Sequence[int], id: int) -> Tensor:
    if not rows:
        return scores
    if len(rows) == len(scores):
        scores.fill_(-inf)
    else:
        scores[torch.tensor(rows, device=scores.device)] = -inf
    return _fill(scores, rows, (id,), 0.0)
