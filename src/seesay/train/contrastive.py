"""Contrastive training of a dual encoder: what the loop is given to train."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seesay.data.loader import Batch
from seesay.errors import UsageError
from seesay.nn.droppath import set_drop_path
from seesay.protocols import PooledEncoder
from seesay.train import gradcache, objectives
from seesay.train.adapters import add_lora, save_adapter
from seesay.train.caches import Features, cached_features
from seesay.train.config import ObjectiveConfig, TrainConfig
from seesay.train.feeding import closing, feed
from seesay.train.freeze import freeze, training_mode
from seesay.train.loop import Learner
from seesay.train.parallel import World, spread, unsynchronised, whole
from seesay.train.precision import autocast, halved
from seesay.train.progress import counting
from seesay.train.reach import chosen, tower_weights
from seesay.train.towers import HEAD, Inputs, Towers, ViewHead

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from seesay.data.record import Dataset
    from seesay.model import Model

_log = logging.getLogger("seesay")
HIGHEST = math.log(100)
"""Largest logarithm of the factor on similarities, as CLIP's."""


def contrastive(
    model: Model,
    dataset: Dataset,
    config: TrainConfig,
    world: World,
    caches: Path,
    evaluation: Dataset | None = None,
    *,
    quiet: bool = False,
) -> Learner:
    """Return what trains the model's towers on the dataset; changes the model in place.

    Args:
        model: In fp32, where it shall be trained.
        dataset: Pictures with captions, labels or, where views are compared, neither.
        config: How.
        world: The processes that train together.
        caches: Where features of frozen towers are kept.
        evaluation: What to measure the model on, or None.
        quiet: Show no progress while features are computed.

    Raises:
        UsageError: The configuration asks for what the model or the data cannot give.
    """
    _check(model, dataset, config)
    prepare(model, config)
    cached = {
        tower: cached_features(
            model,
            dataset,
            tower,
            caches,
            bf16=halved(config, world.device),
            augment=config.data.augment,
            progress=counting(f"{tower} features", quiet=quiet),
        )
        for tower in config.tune.cache
    }
    # a tower that is sharded or wrapped no longer runs by itself
    forward = spread(Towers(model.module), model.module, world, config.strategy)
    loader = feed(model, dataset, config, world, images="image" not in cached)
    steps = Steps(model.module, forward, config, world, cached)
    return Learner(
        model.module,
        loader,
        steps.learn,
        train=lambda: training_mode(model.module),
        after_step=steps.clamp,
        evaluate=evaluator(model, evaluation, config, world, forward),
        export=lambda folder, weights: export(model, folder, weights),
        rows=lambda batch: ", ".join(dataset[i].where for i in batch.rows[:20]),
        metric=usual_metric(config) if evaluation is not None else "-loss",
        samples=config.data.batch_size,
        steps_per_epoch=loader.order.steps_per_epoch,
        close=lambda: closing(loader),
    )


@dataclass
class Steps:
    """The losses of a batch, and their gradient.

    Attributes:
        module: The dual encoder.
        forward: What to call in place of `Towers(module)`.
        config: The run's.
        world: The processes.
        cached: Features of towers that do not run.
    """

    module: Any
    forward: torch.nn.Module
    config: TrainConfig
    world: World
    cached: Mapping[Any, Features]

    def learn(self, batch: Batch) -> dict[str, Tensor]:
        """Add the gradient of the batch's loss to the parameters; return its parts."""
        precision = autocast(self.config, self.world.device)
        told: dict[str, Tensor] = {}

        def features(inputs: Inputs) -> tuple[Tensor, ...]:
            with precision():
                return self.forward(inputs)  # type: ignore[no-any-return]

        def loss(images: Tensor, texts: Tensor, *views: Tensor) -> Tensor:
            value = self._contrast(images, texts, batch)
            if views:
                weight, temperature = self.config.objective.views, self.config.objective.temperature
                told["contrast"] = value.detach()
                first, second = views
                between = objectives.nt_xent(first, second, temperature, group=self.world.group)
                told["views"] = between.detach()
                value = value + weight * between
            return value

        inputs = self._inputs(batch).to(self.world.device)
        size = self.config.data.micro_batch
        if size is None:  # every process decides alike, however many rows it has
            value = loss(*features(inputs))
            value.backward()  # type: ignore[no-untyped-call]
            told["loss"] = value.detach()
        else:
            # a sharded forward pass talks, so all processes make as many
            parts = int(self.world.agree(-(-len(batch.rows) // size)))
            chunks = inputs.split(size, max(1, parts))
            told["loss"] = gradcache.backward(
                features, chunks, loss, no_sync=lambda: unsynchronised(self.forward)
            )
        return told

    def _inputs(self, batch: Batch) -> Inputs:
        images, ids, texts = batch.pixels, batch.ids, batch.mask
        if "image" in self.cached:
            images = self.cached["image"](batch.rows)
        if "text" in self.cached:
            ids, texts = None, self.cached["text"](batch.rows, batch.captions)
        assert images is not None
        assert texts is not None
        return Inputs(images, ids, texts, batch.views)

    def _contrast(self, images: Tensor, texts: Tensor, batch: Batch) -> Tensor:
        # pictures without a text have a part in the loss between views alone
        said = torch.tensor(batch.captions, device=images.device) >= 0
        if self.config.objective.views and not self.world.agree(float(said.any())):
            # nobody has a text in this step; what it does not teach still has its (zero) gradient
            silence: Tensor = (images.sum() + texts.sum() + self.module.logit_scale.sum()) * 0.0
            return silence
        images, texts = images[said], texts[said]
        ids = batch.image_ids.to(images.device)[said]
        labels = batch.labels.to(images.device)[said]
        kind, group = self.config.objective, self.world.group
        return contrast(self.module, images, texts, kind, ids=ids, labels=labels, group=group)

    @torch.no_grad()
    def clamp(self) -> None:
        """Keep the factor on similarities between 1 and 100."""
        self.module.logit_scale.clamp_(0, HIGHEST)


def contrast(
    module: Any,
    images: Tensor,
    texts: Tensor,
    config: ObjectiveConfig,
    *,
    ids: Tensor | None,
    labels: Tensor | None,
    group: ProcessGroup | None = None,
) -> Tensor:
    """Return the configured loss between images and texts, unit vectors [B, E]."""
    ids = ids if config.duplicates else None
    scale = module.logit_scale
    if config.name == "sigmoid":
        return objectives.sigmoid(
            images,
            texts,
            scale,
            module.logit_bias,
            image_ids=ids,
            group=group,
            chunk=config.chunk,
        )
    if config.name == "unicl":
        assert labels is not None
        return objectives.unicl(images, texts, scale, labels, group=group, chunk=config.chunk)
    return objectives.info_nce(
        images,
        texts,
        scale,
        image_ids=ids,
        label_smoothing=config.smoothing,
        group=group,
        chunk=config.chunk,
    )


def prepare(model: Model, config: TrainConfig) -> None:
    """Choose which weights move, and add what only training has."""
    module = model.module.requires_grad_(True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if config.tune.lora:
            add_lora(module, config.tune.lora)
        if config.objective.views:
            width = tower_weights(model, "image")[1]
            module.add_module(HEAD, ViewHead(width).to(model.device))
    if config.tune.drop_path and not set_drop_path(module, config.tune.drop_path):
        raise UsageError(f"no block of {model.name} can be left out: drop_path must be 0")
    freeze(module, chosen(model, config.tune.freeze))
    bias = getattr(module, "logit_bias", None)
    if config.objective.name != "sigmoid" and isinstance(bias, Tensor):
        bias.requires_grad_(False)  # no other loss reads it
    if not any(p.requires_grad for p in module.parameters()):
        raise UsageError(f"freezing {config.tune.freeze} leaves nothing to train")
    normalised = [
        name
        for name, part in module.named_modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm)
        and any(p.requires_grad for p in part.parameters())
    ]
    if normalised and config.data.micro_batch:
        raise UsageError(
            f"batch normalisation would see parts of the batch: {', '.join(normalised[:3])}",
            "--set data.micro_batch=none, or freeze that tower",
        )


def export(model: Model, folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Write a state dict of the model as what `seesay.load` reads: a checkpoint, or an adapter."""
    from seesay.checkpoints.empty import build_empty
    from seesay.checkpoints.native import filling

    kept = {name: w for name, w in weights.items() if not name.startswith(f"{HEAD}.")}
    if hasattr(model.module, "peft_config"):
        save_adapter(model, folder, tensors=kept)
        return
    module, _ = build_empty(model.family, model.config, folder, len(kept))
    module.load_state_dict(kept, assign=True)
    filling(model.family, model.config, model.processor, module, name=model.name)(folder)


def evaluator(
    model: Model, dataset: Dataset | None, config: TrainConfig, world: World, forward: Any
) -> Any:
    """Return the `evaluate` of a learner whose model embeds images and texts."""
    if dataset is None:
        return None

    def evaluate() -> dict[str, float]:
        from seesay.evaluate import retrieval, zeroshot

        told, precision = config.evaluate, autocast(config, world.device)
        limits: dict[str, Any] = {"limit": told.limit, "resamples": 0}
        with precision():
            if told.task == "retrieval":
                report = retrieval(model, dataset, rerank=told.rerank, **limits)
            else:
                report = zeroshot(model, dataset, **limits)
        return {name: float(value) for name, value in report.metrics.items()}

    return lambda: whole(forward, evaluate)


def usual_metric(config: TrainConfig) -> str:
    """Return the figure that tells the best checkpoint."""
    return "mean_recall" if config.evaluate.task == "retrieval" else "top1"


def _check(model: Model, dataset: Dataset, config: TrainConfig) -> None:
    module, objective = model.module, config.objective
    if objective.name == "sigmoid" and not hasattr(module, "logit_bias"):
        raise UsageError(
            f"{model.name} has no logit_bias, which the sigmoid loss needs",
            "objective.name=info_nce, or a model that was made for it",
        )
    if (config.tune.cache or objective.views) and not isinstance(module, PooledEncoder):
        raise UsageError(f"the features of {model.name} cannot be had before their projection")
    if objective.name == "unicl" and (dataset.labels < 0).all():
        _log.warning("no record has a label, so unicl is info_nce: data.label_column names it")
    if "text" in config.tune.cache and not all(map(dataset.text_count, range(len(dataset)))):
        raise UsageError("pictures without captions have no text features to keep")
    if objective.views and "image" in config.tune.cache:
        raise UsageError("views are other pictures every time: their features cannot be kept")
