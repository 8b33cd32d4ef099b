"""Tokens one after another: the best each time (greedy), or drawn by their probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np
import torch
from torch import Tensor

from seesay.errors import UsageError
from seesay.generation.rules import Draft, Rule
from seesay.generation.written import Ending, Line
from seesay.protocols import Generator, State


@dataclass(frozen=True)
class Setting:
    """What a run of generation needs to know besides its options.

    Attributes:
        rules: What changes the scores of the next token.
        filters: What narrows the distribution that is drawn from.
        ending: Where texts end.
        seeds: What the draws of each image depend on, besides the number of the text.
    """

    rules: Sequence[Rule]
    filters: Sequence[Rule]
    ending: Ending
    seeds: Sequence[Sequence[int]]


def apply(rules: Sequence[Rule], scores: Tensor, draft: Draft) -> Tensor:
    """Return scores [N, V] that every rule had its way with, in turn."""
    for rule in rules:
        scores = rule.apply(scores, draft)
    return scores


def write(
    module: Generator,
    logits: Tensor,
    state: State,
    draft: Draft,
    setting: Setting,
    *,
    sample: bool,
    count: int,
) -> Iterator[list[list[Line]]]:
    """Write `count` texts for each image; yield all texts, as far as they are, after each token.

    Args:
        module: Continues after its `prefill`.
        logits: Those of `prefill` [B, V].
        state: That of `prefill`.
        draft: The prefixes, one row for each image.
        setting: Rules, ends, seeds.
        sample: Whether tokens are drawn.
        count: Texts for each image; one unless they are drawn.
    """
    images = len(logits)
    lines = [[Line() for _ in range(count)] for _ in range(images)]
    limits = draft.limits
    draws = _draws(setting.seeds, limits, count, logits.device) if sample else None
    if count > 1:
        logits, draft = logits.repeat_interleave(count, 0), _repeated(draft, count)
    active = list(range(images))
    while True:
        ids, logprobs = _next(logits, draft, setting, draws)
        told, sure = ids.tolist(), logprobs.tolist()
        written = draft.written + 1
        for place, image in enumerate(active):
            for i, line in enumerate(lines[image]):
                row = place * count + i
                if line.done:
                    continue  # it waits for others of its image
                if isnan(sure[row]):  # no token is allowed
                    refuse_nan(logits)
                    line.done = True
                    continue
                line.ids.append(told[row])
                line.logprobs.append(sure[row])
                line.finished = setting.ending.reached(line.ids)
                line.done = line.finished or written == limits[image]
        yield lines
        kept = remaining([all(line.done for line in lines[image]) for image in active])
        if not kept:
            return
        draft = draft.extended(ids)
        if len(kept) < len(active):
            active = [active[place] for place in kept]
            listed = [place * count + i for place in kept for i in range(count)]
            rows = torch.tensor(listed, device=ids.device)
            ids, draft = ids[rows], draft.select(rows, listed)
            draws = draws[rows] if draws is not None else None
            # before the first step the state has one row for each image, however many texts
            images_kept = torch.tensor(kept, device=ids.device)
            state = state.reorder(images_kept if written == 1 else rows)
        logits, state = module.step(ids, state)


def remaining(done: Sequence[bool]) -> list[int]:
    """Return the places that are not done, with those at the end in place of others that are.

    So most stay where they are, and a state has as little to move as there is to forget.
    """
    count = len(done) - sum(done)
    last = [place for place in range(count, len(done)) if not done[place]]
    return [last.pop() if done[place] else place for place in range(count)]


def refuse_nan(logits: Tensor) -> None:
    """Raise where the module's numbers went wrong.

    Raises:
        UsageError: Some are nan.
    """
    if bool(logits.isnan().any()):
        raise UsageError(
            f"the module's logits are not numbers (nan, in {logits.dtype})",
            "float16 overflows in some models: load with dtype='bfloat16' or 'float32'",
        )


def _next(
    logits: Tensor, draft: Draft, setting: Setting, draws: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the next ids [N] and their log-probabilities [N], nan where none is allowed.

    Log-probabilities are those of the model under the rules; filters do not change them.
    """
    scores = logits.float()
    if setting.rules:
        scores = apply(setting.rules, scores.clone() if scores is logits else scores, draft)
    total = scores.logsumexp(-1)
    if draws is None:
        values, ids = scores.max(-1)
        return ids, values - total
    filtered = apply(setting.filters, scores.clone(), draft) if setting.filters else scores
    ids = _drawn(filtered, draws[:, draft.written])
    return ids, scores.gather(1, ids[:, None])[:, 0] - total


def _drawn(scores: Tensor, draws: Tensor) -> Tensor:
    """Return the ids [N] in which numbers of [0, 1) fall when probabilities are laid in a row."""
    ladder = scores.softmax(-1).to(draws.dtype).cumsum_(-1)
    top = ladder[:, -1:]
    places = torch.searchsorted(ladder, draws[:, None] * top, right=True)
    # rounding may end on the top itself: that is the last token that has a probability
    return torch.minimum(places, (ladder < top).sum(-1, keepdim=True))[:, 0]


def _draws(
    seeds: Sequence[Sequence[int]], limits: Sequence[int], count: int, device: torch.device
) -> Tensor:
    """Return numbers of [0, 1), [B * count, the most new tokens], each row from its own seed."""
    rows = [
        np.random.default_rng((*seed, i)).random(max(limits))
        for seed in seeds
        for i in range(count)
    ]
    wide = torch.float32 if device.type == "mps" else torch.float64  # which that has not
    return torch.from_numpy(np.stack(rows)).to(wide).to(device)


def _repeated(draft: Draft, count: int) -> Draft:
    listed = [row for row in range(len(draft.starts)) for _ in range(count)]
    return draft.select(torch.tensor(listed, device=draft.ids.device), listed)
