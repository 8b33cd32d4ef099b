"""Training of models that look at a picture and a text together: contrast, matching, writing."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.data.loader import Batch
from seesay.errors import UsageError
from seesay.evaluate.encode import at_rest
from seesay.protocols import DualEncoder, Generator, Matcher, PooledEncoder, Speaker
from seesay.train.config import TrainConfig
from seesay.train.contrastive import evaluator, export, prepare, usual_metric
from seesay.train.feeding import closing, feed
from seesay.train.freeze import training_mode
from seesay.train.gather import Share, gather, share_of
from seesay.train.image_text import Vectors, matching, momentum_contrast
from seesay.train.joint import Joint, Others, Pairs
from seesay.train.language import language_modelling
from seesay.train.loop import Learner
from seesay.train.momentum import Momentum
from seesay.train.parallel import World, spread
from seesay.train.precision import autocast
from seesay.train.queue import Queue
from seesay.train.reach import read_by
from seesay.train.towers import Inputs, Towers
from seesay.types import TextBatch

if TYPE_CHECKING:
    from seesay.data.record import Dataset
    from seesay.model import Model

TEMPERATURES = (0.001, 0.5)
"""Between which the temperature stays, as BLIP's."""
FLOOR = 1e-4
"""What pre-training adds to the probability of every negative, as BLIP does."""


def pretraining(
    model: Model,
    dataset: Dataset,
    config: TrainConfig,
    world: World,
    caches: Path,
    evaluation: Dataset | None = None,
    *,
    quiet: bool = False,
) -> Learner:
    """Return what trains a model by contrast (ITC), matching (ITM) and, perhaps, writing (LM).

    The first with slow copies of the towers and a queue of what they made, the second with hard
    negatives, the third for "pretraining" alone; their sum is the loss. The model is changed in
    place.

    Paper: arXiv 2201.12086, section 3.2.
    Reference: salesforce/BLIP, models/blip_pretrain.py and blip_retrieval.py.
    Differs: see `image_text`, `momentum` and `queue`.

    Args:
        model: In fp32, where it shall be trained.
        dataset: Pictures with captions.
        config: How.
        world: The processes that train together.
        caches: Not used.
        evaluation: What to measure the model on, or None.
        quiet: Not used: nothing is computed before the first step.

    Raises:
        UsageError: The configuration asks for what the model or the data cannot give.
    """
    _check(model, config)
    prepare(model, config)
    module: Any = model.module
    writes = config.objective.name == "pretraining"
    joint = Joint(module, FLOOR if writes else 0.0)
    example = _example(model, writes)
    with at_rest(model):
        read = set(read_by(module, lambda: joint(*example)))
        for name, parameter in module.named_parameters():
            if name not in read:  # such as a head for writing that is not asked
                parameter.requires_grad_(False)
        towers = Inputs(example[0].pixels, *example[0].texts)
        momentum = Momentum(module, towers, config.objective.momentum.decay, world, config.strategy)
        width = Towers(module)(towers)[0].shape[1]
    queue = Queue(
        config.objective.momentum.queue, width, keys=2, device=world.device, data=dataset.digest
    )
    forward = spread(joint, module, world, config.strategy)
    loader = feed(model, dataset, config, world)
    epoch = loader.order.steps_per_epoch
    steps = Steps(module, model.processor, forward, config, world, momentum, queue, epoch)
    steps.clamp()
    return Learner(
        module,
        lambda step: Shown(step, loader(step)),
        steps.learn,
        train=lambda: training_mode(module),
        after_step=steps.after,
        evaluate=evaluator(model, evaluation, config, world, forward),
        export=lambda folder, weights: export(model, folder, weights),
        rows=lambda shown: ", ".join(dataset[i].where for i in shown.batch.rows[:20]),
        metric=usual_metric(config) if evaluation is not None else "-loss",
        samples=config.data.batch_size,
        steps_per_epoch=epoch,
        extra={"momentum": momentum, "queue": queue},
        close=lambda: closing(loader),
    )


class Shown(NamedTuple):
    """A batch, and the step it is shown in."""

    step: int
    batch: Batch


@dataclass
class Steps:
    """The losses of a batch, their gradient, and what changes besides the weights.

    Attributes:
        module: What is trained.
        processor: Its words to ids.
        forward: What to call in place of `Joint(module)`.
        config: The run's.
        world: The processes.
        momentum: The slow copies of the towers.
        queue: What they made of earlier batches.
        epoch: How many steps one has.
        made: What they made of this batch; it joins the queue when the step is done.
    """

    module: Any
    processor: Any
    forward: nn.Module
    config: TrainConfig
    world: World
    momentum: Momentum
    queue: Queue
    epoch: int
    made: Vectors | None = None

    def learn(self, shown: Shown) -> dict[str, Tensor]:
        """Add the gradient of the batch's loss to the parameters; return its parts."""
        precision, group = autocast(self.config, self.world.device), self.world.group
        objective, batch = self.config.objective, shown.batch
        device, pairs = self.world.device, self._pairs(shown)
        among = share_of(pairs.keys, group)
        # whoever computes them, rows stand in the order of the data
        order = gather(torch.tensor(batch.rows, dtype=torch.long, device=device), among).argsort()
        others = self._others(pairs, among, order, shown.step)
        with precision():
            seen = self.forward(pairs, others)
            slow = Vectors(*self.momentum(Inputs(pairs.pixels, *pairs.texts)), pairs.keys)
        self.made = Vectors(*(gather(column, among)[order] for column in slow))
        gallery = Vectors(*map(torch.cat, zip(self.made, self.queue.held(), strict=True)))
        alpha = self.alpha(shown.step)
        own = Vectors(seen.images, seen.texts, pairs.keys)
        itc = momentum_contrast(
            own, slow, gallery, self.module.logit_scale, alpha=alpha, group=group
        )
        right = torch.arange(3, device=seen.judged.device) == 0
        target = right.long().repeat_interleave(len(pairs.keys))
        itm, accuracy = matching(seen.judged, target, seen.counted, group=group)
        told = {"itc": itc, "itm": itm}
        if pairs.written is not None and seen.words is not None:
            told["lm"] = language_modelling(
                seen.words,
                *pairs.written,
                pairs.starts,
                label_smoothing=objective.smoothing,
                group=group,
            )
        loss = torch.stack(list(told.values())).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        told |= {
            "itm_accuracy": accuracy,
            "temperature": (-self.module.logit_scale).exp(),
            "alpha": torch.tensor(alpha),
            "loss": loss,
        }
        return {name: value.detach() for name, value in told.items()}

    def after(self) -> None:
        """Do what follows a step of the optimiser."""
        self.clamp()
        self.momentum.update()
        if self.made is not None:
            self.queue.put(self.made)

    @torch.no_grad()
    def clamp(self) -> None:
        """Keep the temperature where it may be."""
        least, most = TEMPERATURES
        self.module.logit_scale.clamp_(-math.log(most), -math.log(least))

    def alpha(self, step: int) -> float:
        """Return how much the slow copies say in the targets of a step."""
        told = self.config.objective.momentum
        rising = told.alpha_epochs * self.epoch
        return told.alpha * (min(1.0, step / rising) if rising else 1.0)

    def _pairs(self, shown: Shown) -> Pairs:
        batch, length = shown.batch, self.config.objective.max_length
        device = self.world.device
        assert batch.pixels is not None
        processor, texts = self.processor, batch.texts
        written, starts = None, None
        if self.config.objective.name == "pretraining":
            written, starts = processor.written(texts, max_length=length)
        return Pairs(
            batch.pixels.to(device, non_blocking=True),
            _on(device, processor.texts(texts, max_length=length)),
            self._widened(_on(device, processor.pairs(texts, max_length=length))),
            None if written is None else _on(device, written),
            None if starts is None else starts.to(device),
            self._keys(shown).to(device),
        )

    def _widened(self, batch: TextBatch) -> TextBatch:
        """Fill texts up to the longest of any process, for they will meet."""
        missing = int(self.world.agree(batch.ids.shape[1])) - batch.ids.shape[1]
        return TextBatch(*(F.pad(column, (0, missing)) for column in batch))

    def _keys(self, shown: Shown) -> Tensor:
        """Numbers of pictures and of texts; where equal ones are no matches, of the pair alone."""
        batch = shown.batch
        if self.config.objective.duplicates:
            texts = torch.tensor([number(text) for text in batch.texts], dtype=torch.long)
            return torch.stack([batch.image_ids, texts], 1)
        pairs = shown.step << 32 | torch.tensor(batch.rows, dtype=torch.long)
        return torch.stack([pairs, pairs], 1)

    def _others(self, pairs: Pairs, among: Share, order: Tensor, step: int) -> Others:
        """Gather what negatives are drawn from."""
        device = pairs.keys.device
        drawn = np.random.default_rng([self.config.seed, step]).random((among.total, 2))
        # the numbers belong to the rows of the data, not to the process that has them
        draws = torch.from_numpy(drawn).to(device)[order.argsort()][among.of(among.rank)]
        if self.config.objective.negatives == "local":
            own = Share((len(pairs.keys),))
            return Others(
                own, torch.arange(own.total, device=device), pairs.asked, pairs.keys, draws
            )
        asked = TextBatch(*(gather(column, among)[order] for column in pairs.asked))
        return Others(among, order, asked, gather(pairs.keys, among)[order], draws)


def number(text: str) -> int:
    """Return a number that equal texts share, and hardly any two others."""
    found = hashlib.blake2b(" ".join(text.lower().split()).encode(), digest_size=8).digest()
    return int.from_bytes(found, "big", signed=True)


def _on(device: torch.device, batch: TextBatch) -> TextBatch:
    if not len(batch.ids):  # a share without rows: one column, as networks want
        batch = TextBatch(*(column.new_zeros(0, 1) for column in batch))
    return TextBatch(batch.ids.to(device), batch.mask.to(device))


def _example(model: Model, writes: bool) -> tuple[Pairs, Others]:
    """Two pairs of nothing."""
    processor: Any = model.processor
    texts, device = ["a", "b"], model.device
    asked = _on(device, processor.pairs(texts))
    keys = torch.arange(2, device=device)[:, None]
    written, starts = processor.written(texts) if writes else (None, None)
    pairs = Pairs(
        torch.zeros(2, 3, *processor.image.size, device=device),
        _on(device, processor.texts(texts)),
        asked,
        None if written is None else _on(device, written),
        starts,
        keys,
    )
    return pairs, Others(Share((2,)), keys[:, 0], asked, keys, torch.zeros(2, 2, device=device))


def _check(model: Model, config: TrainConfig) -> None:
    name, module = config.objective.name, model.module
    if not all(isinstance(module, kind) for kind in (DualEncoder, PooledEncoder, Matcher)):
        raise UsageError(
            f"{model.name} does not both embed and match, which {name!r} trains",
            "a model such as blip-tiny; `seesay models --tasks` lists who can match",
        )
    writes = isinstance(module, Generator) and isinstance(model.processor, Speaker)
    if name == "pretraining" and not writes:
        raise UsageError(
            f"{model.name} cannot write, which is a part of pre-training",
            "objective.name=retrieval trains contrast and matching alone",
        )
    unknown = {
        "data.micro_batch": config.data.micro_batch,
        "objective.chunk": config.objective.chunk,
        "objective.views": config.objective.views,
        "tune.cache": config.tune.cache,
    }
    for key, value in unknown.items():
        if value:
            raise UsageError(
                f"{key}={value}: {name!r} looks at whole batches of pictures and texts at once",
                f"leave {key} out; data.batch_size bounds the memory, objective.momentum.queue "
                "takes its place in the contrast",
            )
    if config.objective.prompt:
        raise UsageError(
            f"objective.prompt={config.objective.prompt!r}: {name!r} learns whole captions",
            "leave it out; objective.name=captioning begins with one",
        )
    if config.data.batch_size < 2:
        raise UsageError(
            f"data.batch_size={config.data.batch_size}: matching needs another pair to be wrong"
        )
