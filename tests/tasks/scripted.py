"""A generator that says what it is told to, so that results are known exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from seesay.generation import Options, Written
from seesay.model import Model
from seesay.types import Prompt

LOGPROB = -0.5
"""That of every token."""


@dataclass
class Script:
    """What is written to each prompt, and what was asked.

    Attributes:
        lines: The text of each prompt, as the model reads it, without special tokens.
        asked: The prompts of each batch.
        options: The options of each batch.
        rules: How many rules each batch had.
    """

    model: Model
    lines: Mapping[str, str] | Callable[[str], str]
    asked: list[list[str]] = field(default_factory=list)
    options: list[Options] = field(default_factory=list)
    rules: list[int] = field(default_factory=list)

    def decode(
        self, _module: Any, prompt: Prompt, options: Options, *, rules: Any = (), **_: Any
    ) -> list[list[Written]]:
        processor: Any = self.model.processor
        assert prompt.ids is not None
        texts = processor.decode(prompt.ids.tolist())
        self.asked.append(texts)
        self.options.append(options)
        self.rules.append(len(rules))
        return [[self.written(self.line(text))] for text in texts]

    def line(self, text: str) -> str:
        return self.lines(text) if callable(self.lines) else self.lines[text]

    def written(self, text: str) -> Written:
        processor: Any = self.model.processor
        (ids, _), _ = processor.written([text])
        row = ids[0].tolist()[1:]  # without what begins it
        logprobs = [0.0] + [LOGPROB] * (len(row) - 1)
        return Written(row[:-1], sum(logprobs), logprobs, True, processor.decode([row])[0])


def scripted(monkeypatch: pytest.MonkeyPatch, model: Model, lines: Any) -> Script:
    """Make a model write these texts."""
    script = Script(model, lines)
    monkeypatch.setattr("seesay.tasks.writing.decode", script.decode)
    return script
