"""Filters narrow the distribution that tokens are drawn from, in transformers' order.

Each is a rule that reads scores alone, and comes after the rules of the draft.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from seesay.generation.options import Options
from seesay.generation.rules import Draft, Rule

CANDIDATES = (256, 4096)
"""How many of the most probable tokens are looked at before all of them are sorted."""


@dataclass(frozen=True)
class Temperature:
    """Divide the scores."""

    value: float

    def apply(self, scores: Tensor, draft: Draft) -> Tensor:
        """Divide the scores by the temperature."""
        return scores.div_(self.value)


@dataclass(frozen=True)
class TopK:
    """Keep the most probable tokens, and those as probable as the last of them.

    Paper: arXiv 1805.04833, section 5.4.
    """

    count: int

    def apply(self, scores: Tensor, draft: Draft) -> Tensor:
        """Forbid tokens with scores below the last that is kept."""
        last = best(scores, min(self.count, scores.shape[1]))[0][:, -1:]
        return scores.masked_fill_(scores < last, -inf)


@dataclass(frozen=True)
class TopP:
    """Keep the fewest tokens that together are so probable: nucleus sampling.

    Paper: arXiv 1904.09751, section 3.1.
    """

    mass: float
    least: int

    def apply(self, scores: Tensor, draft: Draft) -> Tensor:
        """Forbid a token when those more probable than it have the mass already."""
        total = scores.logsumexp(-1, keepdim=True)
        for count in (*CANDIDATES, scores.shape[1]):
            kept, ids = scores.topk(min(count, scores.shape[1]))
            mass = (kept - total).exp_().cumsum(-1)
            if bool((mass[:, -1] >= self.mass).all()):
                break
        dropped = torch.zeros_like(kept, dtype=torch.bool)
        dropped[:, self.least :] = mass[:, self.least - 1 : -1] >= self.mass
        return torch.full_like(scores, -inf).scatter_(1, ids, kept.masked_fill_(dropped, -inf))


@dataclass(frozen=True)
class TypicalP:
    """Keep the tokens whose surprise is nearest to the expected one, up to so much probability.

    Paper: arXiv 2202.00666, section 3.
    """

    mass: float
    least: int

    def apply(self, scores: Tensor, draft: Draft) -> Tensor:
        """Forbid tokens less typical than the one with which the mass is reached."""
        logprobs = scores.log_softmax(-1)
        entropy = -(logprobs * logprobs.exp()).nansum(-1, keepdim=True)
        distance, ids = (-logprobs - entropy).abs_().sort()
        mass = logprobs.gather(1, ids).exp_().cumsum(-1)
        last = (mass < self.mass).sum(-1, keepdim=True).clamp_(max=scores.shape[1] - 1)
        dropped = distance > distance.gather(1, last)
        dropped[:, : self.least] = False
        return scores.masked_fill_(torch.empty_like(dropped).scatter_(1, ids, dropped), -inf)


def make_filters(options: Options, num_ends: int) -> list[Rule]:
    """Return the filters that the options ask for; beams need tokens that are no end."""
    if not options.do_sample:
        return []
    least = 1 if options.num_beams == 1 else num_ends + 1
    filters: list[Rule] = []
    if options.temperature != 1:
        filters.append(Temperature(options.temperature))
    if options.top_k:
        filters.append(TopK(max(options.top_k, least)))
    if options.top_p < 1:
        filters.append(TopP(options.top_p, least))
    if options.typical_p < 1:
        filters.append(TypicalP(options.typical_p, least))
    return filters


def best(scores: Tensor, count: int, width: int = 64) -> tuple[Tensor, Tensor]:
    """Return the highest scores of each row and where they are, [N, count] each, best first.

    For few of many scores this is `topk` in a quarter of its time on a CPU: the best scores lie in
    the blocks with the best maxima, and finding maxima is fast.
    """
    rows, total = scores.shape
    blocks = total // width
    if count * 8 > blocks or scores.is_cuda:
        values, places = scores.topk(count)
        return values, places
    cut = blocks * width
    parts = scores[:, :cut].reshape(rows, blocks, width)
    chosen = parts.amax(-1).topk(count, sorted=False)[1]
    near = parts.gather(1, chosen[:, :, None].expand(-1, -1, width)).flatten(1)
    values, places = torch.cat([near, scores[:, cut:]], dim=1).topk(count)
    inside = places < count * width
    block = chosen.gather(1, (places // width).clamp_(max=count - 1))
    found = torch.where(inside, block * width + places % width, places - count * width + cut)
    return values, found
