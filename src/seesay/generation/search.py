"""Beam search: several texts of an image are written side by side, and the best finished kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from operator import itemgetter

import numpy as np
import torch
from torch import Tensor

from seesay.generation.filters import best
from seesay.generation.options import Options
from seesay.generation.rules import Draft
from seesay.generation.sampling import Setting, apply, refuse_nan, remaining
from seesay.generation.written import Ending, Line
from seesay.protocols import Generator, State

Candidate = tuple[float, int, int, float]
"""One way to go on: the sum of log-probabilities it leads to, which beam, which id, how likely."""

Scored = tuple[float, Line]
"""A finished text with its score."""

_first = itemgetter(0)


@dataclass
class Beam:
    """A text that is being written, and the sum of its log-probabilities."""

    total: float
    line: Line


@dataclass
class Group:
    """Beams of one image that compete with each other, and the best of what they finished.

    Attributes:
        size: How many beams, and how many finished texts are kept.
        limit: How many tokens may be written.
        beams: The running beams, best first; fewer than `size` where there is not more to say.
        pool: The finished texts, best first.
        done: Whether nothing better can come, by the rule of early stopping.
        taken: The ids that texts of this group went on with, which groups after it avoid.
    """

    size: int
    limit: int
    beams: list[Beam] = field(default_factory=lambda: [Beam(0.0, Line())])
    pool: list[Scored] = field(default_factory=list)
    done: bool = False
    taken: list[int] = field(default_factory=list)

    def advance(
        self, candidates: Sequence[Candidate], written: int, ending: Ending, options: Options
    ) -> list[Candidate]:
        """Take candidates, in order of precedence, and return those that the beams go on with.

        Those that end come into the pool if they are among the first `size`; the others are there
        so that enough go on. Scores are sums divided by written ** length_penalty, where `written`
        counts the new tokens, this one included.
        """
        alive: list[Candidate] = []
        if self.done:
            self.taken = []
            return alive
        divisor = written**options.length_penalty
        for place, candidate in enumerate(candidates):
            total, beam, id, logprob = candidate
            line = self.beams[beam].line
            ids = [*line.ids, id]
            ended = ending.reached(ids)
            if not ended and written < self.limit:
                alive.append(candidate)
            elif place < self.size:
                finished = Line(ids, [*line.logprobs, logprob], ended)
                self.pool.append((total / divisor, finished))
        if not candidates and not self.pool:  # no rule allows anything: what there is must do
            divisor = max(written - 1, 1) ** options.length_penalty
            self.pool = [(beam.total / divisor, beam.line) for beam in self.beams]
        self.pool = sorted(self.pool, key=_first, reverse=True)[: self.size]
        alive = sorted(alive, key=_first, reverse=True)[: self.size]
        last = candidates[: self.size] if written == self.limit else alive
        self.taken = [id for _, _, id, _ in last if id not in ending.end_ids]
        self.beams = [self._extended(*candidate) for candidate in alive]
        self.done = not alive or (len(self.pool) == self.size and self._settled(written, options))
        return alive

    def _extended(self, total: float, beam: int, id: int, logprob: float) -> Beam:
        line = self.beams[beam].line
        return Beam(total, Line([*line.ids, id], [*line.logprobs, logprob]))

    def _settled(self, written: int, options: Options) -> bool:
        """Whether the best running beam will hardly beat the worst of a full pool."""
        if options.early_stopping is True:
            return True
        longest = options.early_stopping == "never" and options.length_penalty > 0
        length = self.limit if longest else written
        possible: float = self.beams[0].total / length**options.length_penalty
        return possible <= self.pool[-1][0]


def search(
    module: Generator,
    logits: Tensor,
    state: State,
    draft: Draft,
    setting: Setting,
    options: Options,
) -> list[list[Scored]]:
    """Return the best finished texts of each image, best first.

    Paper: arXiv 1610.02424, algorithm 1, for groups, with the count of a token in the groups
        before as the dissimilarity.
    Reference: transformers 5.23, generation/utils.py, for the pool and early stopping.
    Differs: what rules forbid is never returned, so that there may be fewer texts than beams.

    Args:
        module: Continues after its `prefill`.
        logits: Those of `prefill` [B, V].
        state: That of `prefill`.
        draft: The prefixes, one row for each image.
        setting: Rules, ends, seeds.
        options: Beams, groups, penalties, early stopping.
    """
    groups, size = options.num_beam_groups, options.num_beams // options.num_beam_groups
    images = [[Group(size, limit) for _ in range(groups)] for limit in draft.limits]
    randoms = [np.random.default_rng((*seed, 0)) for seed in setting.seeds]
    active = list(range(len(images)))
    written, width = 0, 1  # rows of each image: before the first step all its beams are one
    while True:
        written += 1
        # of each active image: the rows that its beams go on from, and with which ids
        rows: list[list[int]] = [[] for _ in active]
        ids: list[list[int]] = [[] for _ in active]
        taken: list[list[int]] = [[] for _ in active]
        for g in range(groups):
            first = g * size if width > 1 else 0
            own = slice(first, first + min(size, width))
            scores, total = _scores(logits, draft, own, width, setting, options, taken)
            current = [images[i][g] for i in active]
            if options.do_sample:
                found = _raced(scores, current, [randoms[i] for i in active], setting)
            else:
                found = _best(scores, total, current, setting)
            for place, group in enumerate(current):
                if not found[place]:
                    refuse_nan(logits)
                alive = group.advance(found[place], written, setting.ending, options)
                # rows that no beam uses are filled: the module wants as many for every image
                start, idle = place * width + first, size - len(alive)
                rows[place] += [start + beam for _, beam, _, _ in alive] + [start] * idle
                ids[place] += [id for _, _, id, _ in alive] + [0] * idle
                taken[place] += group.taken
        kept = remaining([all(group.done for group in images[i]) for i in active])
        if not kept:
            return [
                sorted((s for g in image for s in g.pool), key=_first, reverse=True)
                for image in images
            ]
        listed = [row for place in kept for row in rows[place]]
        chosen = [id for place in kept for id in ids[place]]
        origin, nexts = torch.tensor([listed, chosen], device=logits.device)
        if setting.rules:
            draft = draft.select(origin, listed).extended(nexts)
        if width == 1:  # the state has one row for each image
            if len(kept) < len(active):
                state = state.reorder(torch.tensor(kept, device=logits.device))
        elif len(kept) < len(active) or listed != list(range(len(listed))):
            state = state.reorder(origin)
        active, width = [active[place] for place in kept], groups * size
        logits, state = module.step(nexts, state)


def _scores(
    logits: Tensor,
    draft: Draft,
    own: slice,
    width: int,
    setting: Setting,
    options: Options,
    taken: Sequence[Sequence[int]],
) -> tuple[Tensor, Tensor | None]:
    """Return the scores [N * S, V] of one group's beams, and what to take off to normalise them.

    Where no rule needs log-probabilities the logits do: taking the sum off is left to the few
    candidates that are looked at.
    """
    if options.num_beam_groups > 1 and width > 1:
        listed = [row for row in range(len(logits)) if own.start <= row % width < own.stop]
        rows = torch.tensor(listed, device=logits.device)
        logits = logits[rows]
        draft = draft.select(rows, listed) if setting.rules else draft
    scores = logits.float()
    total = scores.logsumexp(-1, keepdim=True)
    avoided = [(place, id) for place, ids in enumerate(taken) for id in ids]
    if not (avoided or setting.rules or setting.filters or options.do_sample):
        return scores, total
    scores = scores - total
    if avoided:
        at = torch.tensor(avoided, device=scores.device).T
        cost = scores.new_zeros(len(taken), 1, scores.shape[1])
        price = scores.new_tensor(-options.diversity_penalty)
        cost.index_put_((at[0], torch.zeros_like(at[0]), at[1]), price, accumulate=True)
        scores = (scores.view(len(taken), -1, scores.shape[1]) + cost).flatten(0, 1)
    return apply([*setting.rules, *setting.filters], scores, draft), None


def _count(group: Group, setting: Setting) -> int:
    """How many candidates leave enough to go on from if all that can end do."""
    return max(2, 1 + len(setting.ending.end_ids)) * group.size


def _best(
    scores: Tensor, total: Tensor | None, groups: Sequence[Group], setting: Setting
) -> list[list[Candidate]]:
    """Return the best candidates of each image, from scores [N * S, V], best first."""
    count = min(_count(groups[0], setting), scores.shape[1])
    values, places = best(scores, count)
    if total is not None:
        values = values - total
    logprobs, ids = values.tolist(), places.tolist()
    width = len(logprobs) // len(groups)
    found = []
    for i, group in enumerate(groups):
        candidates = [
            (beam.total + logprob, b, id, logprob)
            for b, beam in enumerate(group.beams)
            for logprob, id in zip(logprobs[i * width + b], ids[i * width + b], strict=True)
            if logprob > -inf
        ]
        candidates.sort(key=_first, reverse=True)
        found.append(candidates[: _count(group, setting)])
    return found


def _raced(
    scores: Tensor,
    groups: Sequence[Group],
    randoms: Sequence[np.random.Generator],
    setting: Setting,
) -> list[list[Candidate]]:
    """Return candidates drawn without replacement, from log-probabilities [N * S, V], as drawn.

    Adding Gumbel noise to log-probabilities and taking the largest draws in just this way.
    """
    vocab = scores.shape[1]
    scores = scores.view(len(groups), -1)
    width = scores.shape[1] // vocab
    spread = [[beam.total for beam in group.beams] for group in groups]
    spread = [(totals + [-inf] * width)[:width] for totals in spread]
    totals = scores.new_tensor(spread).repeat_interleave(vocab, 1)
    waits = [random.standard_exponential(scores.shape[1], dtype=np.float32) for random in randoms]
    noise = torch.from_numpy(np.stack(waits)).to(scores.device).log_().neg_()
    count = min(_count(groups[0], setting), scores.shape[1])
    places = (scores + totals + noise).topk(count)[1]
    logprobs, drawn = scores.gather(1, places).tolist(), places.tolist()
    found = []
    for i, group in enumerate(groups):
        pairs = zip(logprobs[i], drawn[i], strict=True)
        ways = [(place // vocab, place % vocab, logprob) for logprob, place in pairs]
        found.append(
            [
                (group.beams[beam].total + logprob, beam, id, logprob)
                for beam, id, logprob in ways
                if beam < len(group.beams) and logprob > -inf
            ]
        )
    return found
