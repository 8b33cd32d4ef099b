"""Training of models that choose answers: is it true of two pictures, does it follow from one?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.data.loader import Batch
from seesay.errors import InputError, UsageError
from seesay.evaluate.encode import at_rest
from seesay.train.answering import expect
from seesay.train.captioning import refuse
from seesay.train.config import TrainConfig
from seesay.train.contrastive import export, prepare
from seesay.train.feeding import closing, feed
from seesay.train.freeze import training_mode
from seesay.train.loop import Learner
from seesay.train.parallel import World, spread
from seesay.train.precision import autocast
from seesay.train.writing import Called, backward, counted, in_parts, measured

if TYPE_CHECKING:
    from seesay.data.questions import Questions
    from seesay.data.record import Source
    from seesay.model import Model

TRUTH = ("false", "true")
"""The answers to statements about two pictures, in the order of the classes."""
ENTAILMENT = ("contradiction", "neutral", "entailment")
"""Those of SNLI-VE, in the order of LAVIS."""
_SWAP = 7
"""Which stream of random numbers decides whether two pictures are swapped."""
_SIDE = re.compile(r"\b(left|right)\b", re.IGNORECASE)


def comparing(
    model: Model,
    questions: Questions,
    config: TrainConfig,
    world: World,
    caches: Path,
    evaluation: Questions | None = None,
    *,
    quiet: bool = False,
) -> Learner:
    """Return what trains a model to choose the answers of questions; changes the model in place.

    Of two pictures every other pair is swapped in training, and left and right in its statement.

    Paper: arXiv 2201.12086, section 5.4.
    Reference: salesforce/BLIP, train_nlvr.py and data/nlvr_dataset.py.
    Differs: nothing is swapped when the model is measured; "Left" and "left's" are swapped too.

    Args:
        model: In fp32, where it shall be trained.
        questions: About two pictures each ("nlvr"), or one ("classification"), with answers.
        config: How.
        world: The processes that train together.
        caches: Not used.
        evaluation: What to measure the model on, or None.
        quiet: Not used: nothing is computed before the first step.

    Raises:
        UsageError: The configuration asks for what the model or the data cannot give.
    """
    refuse(config)
    method = "compare" if config.objective.name == "nlvr" else "classify_pair"
    function = getattr(model.module, method, None)
    if function is None:
        raise UsageError(
            f"{model.name} has nothing that chooses as {config.objective.name!r} does",
            "a model such as blip-tiny, which then gets it",
        )
    expect(questions, 2 if method == "compare" else 1, config)
    labels = numbered(questions, classes_of(model, config))
    if evaluation is not None:
        numbered(evaluation, classes_of(model, config))
    prepare(model, config)
    forward = spread(Called(model.module, function), model.module, world, config.strategy)
    loaders = [
        feed(model, pictures, config, world, text="none", stream=n)
        for n, pictures in enumerate(questions.pictures)
    ]
    order = loaders[0].order

    def batch(step: int) -> Choices:
        found = [loader(step) for loader in loaders]
        return chosen(model.processor, questions, found, labels, config.seed, order.epoch(step))

    def close() -> None:
        for loader in loaders:
            closing(loader)

    steps = Choosing(forward, config, world)

    def figures() -> Mapping[str, float]:
        assert evaluation is not None
        from seesay.evaluate import comparing as measure

        limit = config.evaluate.limit
        if method == "classify_pair":
            return entailed(model, evaluation, limit)
        return measure(model, evaluation, limit=limit, resamples=0).metrics

    return Learner(
        model.module,
        batch,
        steps.learn,
        train=lambda: training_mode(model.module),
        evaluate=measured(figures, config, world, forward) if evaluation is not None else None,
        export=lambda folder, weights: export(model, folder, weights),
        rows=lambda choices: ", ".join(questions[i].where for i in choices.rows[:20]),
        metric="accuracy" if evaluation is not None else "-loss",
        samples=config.data.batch_size,
        steps_per_epoch=order.steps_per_epoch,
        close=close,
    )


@dataclass(frozen=True)
class Choices:
    """Questions and which answer is right.

    Attributes:
        images: The first pictures [B, 3, h, w], and perhaps the second ones.
        ids: [B, L].
        mask: [B, L].
        labels: int64 [B].
        rows: The questions' numbers.
    """

    images: tuple[Tensor, ...]
    ids: Tensor
    mask: Tensor
    labels: Tensor
    rows: list[int]

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, start: int, stop: int) -> Choices:
        """Return some of them."""
        cut = slice(start, stop)
        images = tuple(pixels[cut] for pixels in self.images)
        return Choices(images, self.ids[cut], self.mask[cut], self.labels[cut], self.rows[cut])


@dataclass
class Choosing:
    """The mean cross entropy of the questions of all processes, and its gradient.

    Attributes:
        forward: What to call in place of the model's method.
        config: The run's.
        world: The processes.
    """

    forward: nn.Module
    config: TrainConfig
    world: World

    def learn(self, batch: Choices) -> dict[str, Tensor]:
        """Add the gradient of the batch's loss to the parameters; return it."""
        total, device = counted(len(batch), self.world), self.world.device
        right = torch.zeros((), device=device)

        def loss(part: Choices) -> Tensor:
            nonlocal right
            with autocast(self.config, device)():
                inputs = (*part.images, part.ids, part.mask)
                logits = self.forward(*(tensor.to(device) for tensor in inputs))
            labels = part.labels.to(device)
            right = right + (logits.detach().argmax(-1) == labels).sum()
            smoothing = self.config.objective.smoothing
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            each = F.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)
            return each * (self.world.size / total)

        parts = in_parts(batch, self.config.data.micro_batch, self.world)
        value = backward(self.forward, parts, loss)
        return {"loss": value, "accuracy": right * (self.world.size / total)}


def chosen(
    processor: Any,
    questions: Questions,
    found: Sequence[Batch],
    labels: np.ndarray[Any, Any],
    seed: int,
    epoch: int,
) -> Choices:
    """Return a batch of what the loaders of the first and of the second pictures gave."""
    both = [row for row in found[0].rows if all(row in other.rows for other in found[1:])]
    columns = []
    for batch in found:
        assert batch.pixels is not None
        columns.append(batch.pixels[[batch.rows.index(row) for row in both]])
    texts = [questions[row].text for row in both]
    if len(columns) == 2:
        swapped = [swaps(seed, epoch, row) for row in both]
        texts = [mirrored(t) if swap else t for t, swap in zip(texts, swapped, strict=True)]
        turn = torch.tensor(swapped, dtype=torch.bool)[:, None, None, None]
        first, second = columns
        columns = [torch.where(turn, second, first), torch.where(turn, first, second)]
    ids = torch.zeros(0, 1, dtype=torch.long)
    mask = ids.bool()
    if both:
        ids, mask = processor.pairs(texts)
    return Choices(tuple(columns), ids, mask, torch.from_numpy(labels[both]), both)


def swaps(seed: int, epoch: int, row: int) -> bool:
    """Whether the two pictures of a question are swapped in an epoch."""
    return bool(np.random.default_rng([seed, epoch, row, _SWAP]).random() < 0.5)


def mirrored(text: str) -> str:
    """Return a statement about two pictures as it reads when they are swapped."""

    def other(found: re.Match[str]) -> str:
        word = found[0]
        turned = "right" if word.lower() == "left" else "left"
        return turned.capitalize() if word[0].isupper() else turned

    return _SIDE.sub(other, text)


def classes_of(model: Model, config: TrainConfig) -> tuple[str, ...]:
    """Return the names of the model's classes, in order."""
    if config.objective.name == "nlvr":
        return TRUTH
    return tuple(getattr(model.config, "class_names", ()))


def answer_names(questions: Questions) -> tuple[str, ...]:
    """Return the different answers of questions, as a classifier's classes: sorted, or as known."""
    found = {answer for i in range(len(questions)) for answer in questions.answers(i)}
    known = next((known for known in (ENTAILMENT, TRUTH) if found == set(known)), None)
    return known or tuple(sorted(found))


def numbered(questions: Questions, classes: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the number of each question's (first) answer among the classes, int64 [N].

    Raises:
        UsageError: An answer is none of them.
    """
    place = {name.lower(): i for i, name in enumerate(classes)}
    labels = np.empty(len(questions), dtype=np.int64)
    for i in range(len(questions)):
        answers = questions.answers(i)
        said = answers[0] if answers else ""
        if said.lower() not in place:
            raise UsageError(
                f"{questions[i].where}: {said!r} is none of {', '.join(classes) or 'no classes'}",
                "the answers of statements about two pictures are true and false"
                if tuple(classes) == TRUTH
                else "train on data with these answers, or from a pre-trained model",
            )
        labels[i] = place[said.lower()]
    return labels


def entailed(model: Model, questions: Questions, limit: int | None) -> dict[str, float]:
    """Return how often the answer that a model gives most is the one of the data."""
    from seesay.tasks.entail import EntailInput, run

    asked = list(questions[: limit or len(questions)])
    requests = [EntailInput(image=_path(q.images[0]), text=q.text) for q in asked]
    with at_rest(model):
        found = list(run(model, requests))
    right = [
        answer.scores[0].label.lower() == question.answers[0].lower()
        for answer, question in zip(found, asked, strict=True)
        if not isinstance(answer, InputError)
    ]
    return {"accuracy": sum(right) / max(1, len(right))}


def _path(image: Source) -> str:
    assert isinstance(image, str)  # as readers of questions give them
    return image
