"""How likely given texts are: to rank answers, to prune a list of them by their first tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seesay.errors import UsageError
from seesay.protocols import Generator
from seesay.types import Prompt, TextBatch


class Scores(NamedTuple):
    """How likely n texts are for each of B rows of a prompt.

    Attributes:
        total: Sum of the log-probabilities [B, n], float32, smoothed if that was asked for.
        mean: The same divided by `lengths`.
        lengths: How many tokens were scored [B, n].
    """

    total: Tensor
    mean: Tensor
    lengths: Tensor


class Ranked(NamedTuple):
    """The candidates that were scored for each row, best first.

    Attributes:
        candidates: Their places in the list, int64 [B, n].
        total: Their scores [B, n].
    """

    candidates: Tensor
    total: Tensor


@torch.inference_mode()
def score(
    module: Generator,
    batch: Prompt,
    texts: TextBatch,
    starts: Tensor | int = 1,
    *,
    smoothing: float = 0.0,
    chunk: int | None = None,
) -> Scores:
    """Return how likely the module finds texts that are given.

    Args:
        module: The generator, in evaluation mode.
        batch: What it reads; its prefix only tells how many rows there are. Give `tokens` in
            place of `pixels` where the images are asked more than once.
        texts: B * n rows [B * n, L], prefix and end included, the n of one image side by side.
        starts: Place of the first token that is scored, 1 or more, for all rows or each [B * n].
        smoothing: Part of every token's target that is spread over the vocabulary, as in training
            with label smoothing: (1 - s) log p(token) + s mean log p.
        chunk: How many texts of each image go through the module at once; None for all.

    Raises:
        UsageError: The rows are no multiple of those of the prompt, or there are none.
    """
    rows, length = texts.ids.shape
    images = len(batch.prefix)
    if not rows or rows % images:
        raise UsageError(
            f"{rows} texts for {images} rows of the prompt", "give as many for each row"
        )
    first = torch.as_tensor(starts, device=texts.ids.device).expand(rows)
    places = torch.arange(length, device=texts.ids.device)
    scored = texts.mask.bool() & (places >= first[:, None])
    if bool(scored[:, 0].any()):
        raise UsageError("nothing comes before the first token", "let starts be 1 or more")
    each = rows // images
    ids, mask, counted = (t.view(images, each, length) for t in (*texts, scored))
    total = torch.zeros(images, each, device=texts.ids.device)
    for at in range(0, each, chunk or each):
        some = slice(at, at + (chunk or each))
        part = TextBatch(ids[:, some].flatten(0, 1), mask[:, some].flatten(0, 1))
        sums = _totals(module, batch, part, counted[:, some].flatten(0, 1), smoothing)
        total[:, some] = sums.view(images, -1)
    count = scored.sum(1).view(images, each)
    return Scores(total, total / count.clamp(min=1), count)


@torch.inference_mode()
def first_logprobs(module: Generator, batch: Prompt) -> Tensor:
    """Return the log-probabilities [B, V], float32, of the token after each prefix."""
    return module.prefill(batch)[0].float().log_softmax(-1)


@torch.inference_mode()
def rank(
    module: Generator,
    batch: Prompt,
    candidates: Sequence[Sequence[int]],
    *,
    top: int | None = None,
    smoothing: float = 0.0,
    chunk: int = 32,
) -> Ranked:
    """Rank a list of texts by how likely each is for each row of a prompt.

    Paper: arXiv 2107.07651, section 4: ranking answers of a list, and pruning it.
    Reference: salesforce/BLIP, models/blip_vqa.py, which ranks with a smoothing of 0.1.

    Args:
        module: The generator, in evaluation mode.
        batch: What it reads, and the prefixes that the candidates continue.
        candidates: Ids of each, without the prefix and with the end.
        top: Score only so many candidates of each row, those with the likeliest first tokens;
            None scores all.
        smoothing: As in `score`.
        chunk: How many candidates of each row go through the module at once.

    Raises:
        UsageError: There are no candidates, or one is empty.
    """
    if not candidates or not all(candidates):
        raise UsageError("a candidate is empty, or there is none", "give one id or more for each")
    batch = _encoded(module, batch)
    images, device = len(batch.prefix), batch.prefix.device
    index = torch.arange(len(candidates), device=device).expand(images, -1)
    if not images:
        index = index[:, :top]
        return Ranked(index, torch.zeros(index.shape, device=device))
    if top is not None and top < len(candidates):
        heads = torch.tensor([candidate[0] for candidate in candidates], device=device)
        index = first_logprobs(module, batch)[:, heads].topk(top)[1]
    texts, starts = _continued(batch, candidates, index)
    total = score(module, batch, texts, starts, smoothing=smoothing, chunk=chunk).total
    total, order = total.sort(descending=True, stable=True)
    return Ranked(index.gather(1, order), total)


def _totals(
    module: Generator, batch: Prompt, texts: TextBatch, scored: Tensor, smoothing: float
) -> Tensor:
    """Return the sum over the scored tokens of each row [N]."""
    logits = module.forward(batch._replace(prefix=texts.ids, prefix_mask=texts.mask))
    counted = scored[:, 1:]  # the logits of a place are those of the next token
    losses = F.cross_entropy(
        logits[:, :-1][counted].float(),
        texts.ids[:, 1:][counted],
        label_smoothing=smoothing,
        reduction="none",
    )
    rows = counted.nonzero()[:, 0]
    return torch.zeros(len(scored), device=losses.device).index_add_(0, rows, losses, alpha=-1)


def _encoded(module: Generator, batch: Prompt) -> Prompt:
    """Return the prompt with what the module can do once done: images encoded, questions read."""
    encode, read = (getattr(module, name, None) for name in ("encode_image", "read"))
    if encode is not None and batch.pixels is not None:
        batch = batch._replace(pixels=None, tokens=encode(batch.pixels))
    return batch if read is None else batch._replace(read=read(batch))


def _continued(
    batch: Prompt, candidates: Sequence[Sequence[int]], index: Tensor
) -> tuple[TextBatch, Tensor]:
    """Return prefixes with candidates after them [B * n, L], and where the candidates begin."""
    lengths = batch.prefix_mask.sum(1).tolist()
    prefixes = [row[:length] for row, length in zip(batch.prefix.tolist(), lengths, strict=True)]
    rows = [
        [*prefix, *candidates[i]]
        for prefix, chosen in zip(prefixes, index.tolist(), strict=True)
        for i in chosen
    ]
    longest = max(map(len, rows))
    device = index.device
    ids = torch.tensor([row + [row[-1]] * (longest - len(row)) for row in rows], device=device)
    ends = torch.tensor([[len(row)] for row in rows], device=device)
    starts = torch.tensor(lengths, device=device).repeat_interleave(index.shape[1])
    return TextBatch(ids, torch.arange(longest, device=device) < ends), starts
