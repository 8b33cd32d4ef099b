"""`decode` and `stream`: what a prompt makes a generator write, by any of the ways of options."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from seesay.errors import UsageError
from seesay.generation.filters import make_filters
from seesay.generation.options import NEW_TOKENS, Options
from seesay.generation.rules import Draft, Rule, make_rules
from seesay.generation.sampling import Setting, write
from seesay.generation.search import search
from seesay.generation.written import Decode, Ending, Line, Piece, Written
from seesay.protocols import Generator, State
from seesay.types import Prompt


@torch.inference_mode()
def decode(
    module: Generator,
    batch: Prompt,
    options: Options,
    *,
    end_ids: Sequence[int],
    text: Decode | None = None,
    rules: Sequence[Rule] = (),
    keys: Sequence[int] | None = None,
) -> list[list[Written]]:
    """Return what the module writes about each of the B rows of a prompt.

    Every row gets what it would get alone.

    Args:
        module: The generator, in evaluation mode.
        batch: What it reads, and a prefix of one token or more for each row.
        options: How the text is found.
        end_ids: Ids that end a text.
        text: Ids of one text to the text; needed for stops, and for `Written.text`.
        rules: What else changes the scores of the next token, after the rules of the options.
        keys: Numbers [B] from 0 that tell the draws of rows apart under one seed: rows draw alike
            where they are equal. None: all alike with a seed, all apart without.

    Returns:
        [B][num_return_sequences], best first for beams, in order of the draws otherwise.

    Raises:
        UsageError: Options, prompt and vocabulary do not fit together, or logits are nan.
    """
    if not len(batch.prefix):
        return []
    run = _begin(module, batch, options, end_ids, text, rules, keys)
    if options.num_beams > 1:
        return _searched(module, run, options)
    *_, lines = _writing(module, run, options)
    ending = run.setting.ending
    return [[ending.written(line, sum(line.logprobs)) for line in row] for row in lines]


@torch.inference_mode()
def stream(
    module: Generator,
    batch: Prompt,
    options: Options,
    *,
    end_ids: Sequence[int],
    text: Decode | None = None,
    rules: Sequence[Rule] = (),
    keys: Sequence[int] | None = None,
) -> Iterator[Piece]:
    """Yield what `decode` returns piece by piece, as soon as a piece will not change any more.

    Arguments are those of `decode`. With `text`, pieces are whole words, and the pieces of one
    text are its text; without, every token is a piece. Beams come when their search has ended,
    since until then any of them may win.

    Raises:
        UsageError: As `decode` does, when the first piece is asked for.
    """
    if not len(batch.prefix):
        return
    run = _begin(module, batch, options, end_ids, text, rules, keys)
    if options.num_beams > 1:
        for image, texts in enumerate(_searched(module, run, options)):
            for i, written in enumerate(texts):
                yield Piece(image, i, written.ids, written.text or "", written)
        return
    ending, told = run.setting.ending, dict[tuple[int, int], tuple[int, int]]()
    for lines in _writing(module, run, options):
        for image, row in enumerate(lines):
            for i, line in enumerate(row):
                ids, letters = told.get((image, i), (0, 0))
                if ids < 0:
                    continue  # all of it was told
                if line.done:
                    written = ending.written(line, sum(line.logprobs))
                    told[image, i] = (-1, 0)
                    rest = (written.text or "")[letters:]
                    yield Piece(image, i, written.ids[ids:], rest, written)
                elif text is None or len(settled := ending.settled(line.ids)) > letters:
                    more = "" if text is None else settled[letters:]
                    told[image, i] = (len(line.ids), letters + len(more))
                    yield Piece(image, i, line.ids[ids:], more, None)


class _Run(NamedTuple):
    """A prompt that was read, and what holds for writing about it."""

    logits: Tensor
    state: State
    draft: Draft
    setting: Setting


def _begin(
    module: Generator,
    batch: Prompt,
    options: Options,
    end_ids: Sequence[int],
    text: Decode | None,
    rules: Sequence[Rule],
    keys: Sequence[int] | None,
) -> _Run:
    """Check that all fits together, and read the prompt."""
    if options.stop and text is None:
        raise UsageError(f"stop={options.stop} needs texts", "pass `text`, which decodes ids")
    if keys is not None and len(keys) != len(batch.prefix):
        raise UsageError(f"{len(keys)} keys for {len(batch.prefix)} rows", "give one for each row")
    if keys is not None and min(keys, default=0) < 0:
        raise UsageError(f"a key is {min(keys)}", "give numbers from 0")
    draft = _drafted(batch, options)
    logits, state = module.prefill(batch)
    if logits.ndim != 2 or len(logits) != len(batch.prefix):
        raise UsageError(
            f"prefixes are {tuple(batch.prefix.shape)} and logits {tuple(logits.shape)}",
            "generation wants one prefix for each image",
        )
    _check_ids(options, end_ids, logits.shape[1])
    setting = Setting(
        rules=[*make_rules(options, end_ids), *rules],
        filters=make_filters(options, len(end_ids)),
        ending=Ending(frozenset(end_ids), options.stop, text),
        seeds=_seeds(options, len(logits), keys) if options.do_sample else [(0,)] * len(logits),
    )
    return _Run(logits, state, draft, setting)


def _drafted(batch: Prompt, options: Options) -> Draft:
    """Return the prefixes as drafts, and how much may be added to each."""
    mask = batch.prefix_mask.bool()
    starts = mask.sum(1)
    places = torch.arange(mask.shape[1], device=mask.device)
    if bool((mask != (places < starts[:, None])).any()) or not bool((starts > 0).all()):
        raise UsageError(
            "a prefix is empty or padded on the left", "give one id or more, padded on the right"
        )
    source = places - (mask.shape[1] - starts)[:, None]
    ids = batch.prefix.gather(1, source.clamp(min=0)).masked_fill_(source < 0, -1)
    lengths = starts.tolist()
    if options.max_new_tokens is not None or options.max_length is None:
        return Draft(ids, lengths, [options.max_new_tokens or NEW_TOKENS] * len(lengths))
    limits = [options.max_length - length for length in lengths]
    if min(limits) < 1:
        row = limits.index(min(limits))
        raise UsageError(
            f"the prefix of row {row} has {lengths[row]} tokens, and max_length="
            f"{options.max_length} counts them",
            f"set max_length above {lengths[row]}, or max_new_tokens",
        )
    return Draft(ids, lengths, limits)


def _check_ids(options: Options, end_ids: Sequence[int], vocab: int) -> None:
    told = {
        "end_ids": end_ids,
        "suppressed_ids": options.suppressed_ids,
        "forced_bos_id": [i for i in [options.forced_bos_id] if i is not None],
        "forced_eos_id": [i for i in [options.forced_eos_id] if i is not None],
    }
    for name, ids in told.items():
        if not all(0 <= i < vocab for i in ids):
            raise UsageError(f"{name}: {list(ids)} are not all in a vocabulary of {vocab}")


def _seeds(options: Options, rows: int, keys: Sequence[int] | None) -> list[tuple[int, int]]:
    """Return what the draws of each row depend on."""
    if options.seed is not None:
        return [(options.seed, key) for key in (keys or [0] * rows)]
    fresh = int(torch.randint(2**62, ()))  # torch.manual_seed makes a whole program repeatable
    return [(fresh, row) for row in range(rows)]


def _searched(module: Generator, run: _Run, options: Options) -> list[list[Written]]:
    found = search(module, run.logits, run.state, run.draft, run.setting, options)
    return [
        [run.setting.ending.written(line, score) for score, line in texts]
        for texts in (image[: options.num_return_sequences] for image in found)
    ]


def _writing(module: Generator, run: _Run, options: Options) -> Iterator[list[list[Line]]]:
    return write(
        module,
        run.logits,
        run.state,
        run.draft,
        run.setting,
        sample=options.do_sample,
        count=options.num_return_sequences,
    )
