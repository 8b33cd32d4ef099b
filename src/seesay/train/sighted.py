"""Whether a model reads its prompt and looks at its picture, told by its loss on held-out data.

Each answer is scored three times: as it is asked, behind another prompt of the same task, and under
another picture. A model that is blind to the one or the other cannot tell the difference. This
needs no writing, so it is part of every evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seesay.errors import InputError
from seesay.evaluate.encode import at_rest
from seesay.evaluate.kinds import token_of
from seesay.train.config import TrainConfig
from seesay.train.language import text_losses
from seesay.train.parallel import World

if TYPE_CHECKING:
    from seesay.data.questions import Questions
    from seesay.model import Model

ROWS = 256
"""Prompts that are scored, drawn by the seed: enough to tell what is blind from what is not."""
TOGETHER = 8
"""Prompts among which prompts and pictures are exchanged, however few are scored at once."""
SURELY = 2.0
"""Standard errors by which an exchange must raise the loss."""
BLIND = {"prompts": "question-blind", "pictures": "image-blind"}
GAINED = {"prompts": "val_gained_by_reading", "pictures": "val_gained_by_looking"}


class Scores(NamedTuple):
    """The losses of some answers.

    Attributes:
        own: As they are asked [N], sums over tokens.
        other: With something exchanged [N]; NaN where there was nothing to exchange it for.
        tokens: [N].
    """

    own: Tensor
    other: Tensor
    tokens: Tensor

    @property
    def raised(self) -> Tensor:
        """By how much the exchange raised each loss; only those that were exchanged."""
        raised = self.other - self.own
        return raised[raised.isfinite()]

    @property
    def gained(self) -> float | None:
        """Nats a token that what was exchanged is worth; None where nothing could be."""
        counted = self.tokens[self.other.isfinite()].sum()
        return float(self.raised.sum() / counted) if counted else None

    @property
    def sure(self) -> bool:
        """Whether that is more than chance."""
        raised = self.raised
        error = float(raised.std()) / math.sqrt(len(raised)) if len(raised) > 1 else 0.0
        return len(raised) > 0 and float(raised.mean()) > SURELY * error


class Sighted:
    """Measures a model's loss on held-out prompts, and what prompts and pictures are worth to it.

    Args:
        model: What is trained.
        questions: Held out.
        config: The run's.
        world: Where it is trained.
    """

    def __init__(
        self, model: Model, questions: Questions, config: TrainConfig, world: World
    ) -> None:
        self._model, self._questions = model, questions
        self._config, self._world = config, world
        self._size = min(config.data.micro_batch or TOGETHER, TOGETHER)
        self._rows = self._drawn()
        self._measured: list[dict[str, Scores]] = []

    def figures(self) -> dict[str, float]:
        """Return `val_loss`, and what reading and looking gain, where that can be told."""
        with at_rest(self._model), torch.no_grad():
            found = self._scores()
        self._measured.append(found)
        if not found:
            return {}
        pictures = found["pictures"]
        told = {"val_loss": float(pictures.own.sum() / pictures.tokens.sum().clamp(min=1))}
        gained = {GAINED[what]: scores.gained for what, scores in found.items()}
        return told | {name: value for name, value in gained.items() if value is not None}

    def verdicts(self) -> list[str]:
        """Return a sentence on each thing that the last model measured seems to be blind to.

        None where only one was measured, which was not trained.
        """
        if len(self._measured) < 2:
            return []
        told = []
        for what, scores in self._measured[-1].items():
            if scores.gained is None or scores.sure:
                continue
            blind = f"the model is {BLIND[what]}"
            if scores.raised.any():
                blind = f"no sign that the model is not {BLIND[what]}"
            told.append(
                f"{blind}: with {what} exchanged, the loss of {len(scores.raised)} held-out "
                f"answers is {scores.gained:+.3g} nats a token from what it is with their own"
            )
        return told

    def _drawn(self) -> list[int]:
        """Rows to score: prompts of a task side by side, so that they can be exchanged."""
        count = len(self._questions)
        random = np.random.default_rng(self._config.seed)
        rows = random.permutation(count)[:ROWS].tolist()
        answered = [row for row in rows if self._questions.answers(row)]
        return sorted(answered, key=lambda row: token_of(self._questions[row].text))

    def _scores(self) -> dict[str, Scores]:
        parts: dict[str, list[Scores]] = {"prompts": [], "pictures": []}
        for start in range(0, len(self._rows), TOGETHER):
            rows, pictures = [], []
            for row in self._rows[start : start + TOGETHER]:
                try:
                    pictures.append(self._questions.picture(row))
                    rows.append(row)
                except InputError:  # the evaluation proper says which cannot be read
                    continue
            if rows:
                for what, scores in self._exchanged(rows, pictures).items():
                    parts[what].append(scores)
        if not parts["pictures"]:
            return {}
        return {what: Scores(*map(torch.cat, zip(*p, strict=True))) for what, p in parts.items()}

    def _exchanged(self, rows: list[int], pictures: Sequence[Any]) -> dict[str, Scores]:
        """The losses of some answers, and those with prompts and with pictures exchanged."""
        from seesay.train.instructing import taught

        processor: Any = self._model.processor
        asked = [self._questions[row] for row in rows]
        texts = [question.text for question in asked]
        said = [question.answers[0] for question in asked]
        pixels = processor.images(pictures)
        tokens = [token_of(text) for text in texts]
        prompts = _others(texts, tokens)
        images = _others([str(question.images[0]) for question in asked], [""] * len(asked))

        def losses(texts: Sequence[str], pixels: Tensor) -> tuple[Tensor, Tensor]:
            batch = taught(processor, texts, said, rows, pixels, self._config)
            module: Any = self._model.module
            sums, counts = [], []
            for start in range(0, len(rows), self._size):
                part = batch.part(start, start + self._size).to(self._world.device)
                written = part.prompt.prefix, part.prompt.prefix_mask
                logits = module(part.prompt)
                found = text_losses(logits, *written, part.starts, label_smoothing=0.0)
                sums.append(found[0].double().cpu())
                counts.append(found[1].cpu())
            return torch.cat(sums), torch.cat(counts)

        own, counts = losses(texts, pixels)
        others = {
            "prompts": (losses([texts[i] for i in prompts], pixels), prompts),
            "pictures": (losses(texts, pixels[images]), images),
        }
        found = {}
        for what, ((other, _), places) in others.items():
            unchanged = torch.tensor(places) == torch.arange(len(rows))
            found[what] = Scores(own, other.masked_fill(unchanged, math.nan), counts)
        return found


def _others(things: Sequence[str], groups: Sequence[str]) -> list[int]:
    """Return for each thing the place of the next different one of its group, else its own."""
    count, found = len(things), []
    for i in range(count):
        later = ((i + step) % count for step in range(1, count))
        fits = (j for j in later if groups[j] == groups[i] and things[j] != things[i])
        found.append(next(fits, i))
    return found
