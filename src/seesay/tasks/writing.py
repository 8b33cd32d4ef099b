"""What the tasks that write have in common: options, decoding, and the records of it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from seesay.errors import UsageError
from seesay.generation import decode, rank
from seesay.generation.options import NEW_TOKENS
from seesay.tasks.caption import WrittenText

if TYPE_CHECKING:
    from torch import Tensor

    from seesay.generation import Rule, Written
    from seesay.generation.options import Options
    from seesay.model import Model
    from seesay.types import Prompt

SMOOTHING = 0.1
"""Part of each token's score that is that of any token: answers are ranked as they were trained."""


def asked(
    model: Model, task: str, options: Mapping[str, Any], form: str = ""
) -> tuple[str, Options]:
    """Return the family's template for a task, and its options with some set anew.

    Args:
        model: Whose family.
        task: The task's name.
        options: Fields of `seesay.generation.Options`.
        form: One of the family's `Asking.forms`; the usual template when empty.

    Raises:
        UsageError: The model is not asked so, or an option does not exist, or cannot be so.
    """
    model.require(task, form)
    asking = model.family.asking(task, model.config)
    assert asking is not None
    drawn = options.get("do_sample") and options.get("num_beams", 1) == 1
    told = {**asking.drawn, **options} if drawn else options
    template = asking.forms[form] if form else asking.template
    return template, asking.options.changed(**told)


_TOKEN = re.compile(r"<[A-Za-z_]+>")


def filled(template: str, text: str) -> str:
    """Put a text into a template; one with a task token of its own needs none."""
    if _TOKEN.match(template) and _TOKEN.match(text.strip()):
        return text.strip()
    return template.replace("{}", text)


def write(
    model: Model, task: str, texts: Sequence[str], tokens: Tensor, options: Options
) -> list[list[WrittenText]]:
    """Return what a generator writes about images, the best first.

    Args:
        model: Its module and its processor.
        task: The task's name.
        texts: Beginnings of captions, or questions, or prompts.
        tokens: Image tokens [G, P, D]; as many texts are about each, side by side.
        options: How.

    Raises:
        UsageError: As `generated`.
    """
    return [
        [
            WrittenText(
                text=(one.text or "").strip(),
                score=round(one.score, 6),
                logprobs=[round(value, 6) for value in one.logprobs],
                finished=one.finished,
            )
            for one in row
        ]
        for row in generated(model, task, texts, tokens, options)
    ]


def generated(
    model: Model,
    task: str,
    texts: Sequence[str],
    tokens: Tensor,
    options: Options,
    rules: Sequence[Rule] = (),
) -> list[list[Written]]:
    """Return what a generator writes about images as ids and text, the best first.

    Arguments are those of `write`, and rules that what is written keeps besides those of options.

    Raises:
        UsageError: The texts could become longer than there are positions for.
    """
    processor: Any = model.processor
    prompt = prompt_of(model, task, texts, tokens)
    _check_room(processor, prompt, options)
    rows = decode(
        model.module,  # type: ignore[arg-type]
        prompt,
        options,
        end_ids=processor.end_ids,
        text=lambda ids: processor.decode([ids])[0],
        rules=rules,
    )
    begun = prompt.prefix_mask.sum(1).tolist()
    return [
        [_ended(one, first, options) for one in sorted(row, key=lambda one: -one.score)]
        for row, first in zip(rows, begun, strict=True)
    ]


def _ended(one: Written, begun: int, options: Options) -> Written:
    """A text that was made to end where its length ran out did not end by itself."""
    limit = options.max_new_tokens
    if limit is None:
        limit = NEW_TOKENS if options.max_length is None else options.max_length - begun
    forced = options.forced_eos_id is not None and len(one.logprobs) >= limit
    return dataclasses.replace(one, finished=one.finished and not forced)


def _check_room(processor: Any, prompt: Prompt, options: Options) -> None:
    """Refuse lengths that the network has no positions for, where it tells how many it has."""
    positions = getattr(processor, "positions", None)
    if positions is None or not len(prompt.prefix):
        return
    begun = int(prompt.prefix_mask.sum(1).max())
    counted = options.max_length is not None and options.max_new_tokens is None
    longest = options.max_length if counted else begun + (options.max_new_tokens or NEW_TOKENS)
    if longest is not None and longest - 1 > positions:  # nothing is read after the last one
        raise UsageError(
            f"a text of {longest} tokens, {begun} of them given, is more than the model's "
            f"{positions}",
            "set a lower max_new_tokens or max_length, or begin it with fewer words",
        )


def choose(
    model: Model, questions: Sequence[str], answers: Sequence[str], tokens: Tensor, top: int
) -> list[list[WrittenText]]:
    """Return answers of a list to questions about images, the likeliest first.

    Args:
        model: Its module and its processor.
        questions: As many about each image, side by side.
        answers: What may be answered.
        tokens: Image tokens [G, P, D].
        top: How many are scored whole.
    """
    processor: Any = model.processor
    prompt = prompt_of(model, "answer", questions, tokens)
    (ids, mask), starts = processor.written(list(answers), task="answer")
    rows = zip(ids.tolist(), mask.sum(1).tolist(), starts.tolist(), strict=True)
    candidates = [row[start:length] for row, length, start in rows]
    ranked = rank(model.module, prompt, candidates, top=top, smoothing=SMOOTHING)  # type: ignore[arg-type]
    return [
        [
            WrittenText(text=answers[i], score=round(score, 6), logprobs=[], finished=True)
            for i, score in zip(places, scores, strict=True)
        ]
        for places, scores in zip(ranked.candidates.tolist(), ranked.total.tolist(), strict=True)
    ]


def prompt_of(model: Model, task: str, texts: Sequence[str], tokens: Tensor) -> Prompt:
    """Return what the generator reads on the model's device, a row for each text."""
    processor: Any = model.processor
    prompt: Prompt = processor.prompts(task, list(texts))
    moved = {
        name: value.to(model.device)
        for name, value in prompt._asdict().items()
        if value is not None
    }
    return prompt._replace(**moved, tokens=tokens)
