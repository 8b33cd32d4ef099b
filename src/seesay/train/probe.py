"""A linear probe: a classifier on the features of a frozen image tower.

Paper: arXiv 2103.00020, section 3.2: how good features are, told by how well a linear classifier
separates labelled pictures with them.
Reference: openai/CLIP, README.md, "Linear-probe evaluation".
Differs: trained by AdamW in the common loop instead of L-BFGS, on features of unit spread.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from seesay.checkpoints.files import read_json, write_json, write_safetensors
from seesay.data.order import Order
from seesay.errors import CheckpointError, InputError, UsageError, all_or_raise
from seesay.evaluate.classes import class_metrics
from seesay.evaluate.ranking import rank
from seesay.processing.image import open_picture
from seesay.protocols import PooledEncoder
from seesay.tasks.classify import ClassifyOutput, LabelScore
from seesay.train.caches import Features, cached_features
from seesay.train.config import TrainConfig
from seesay.train.loop import Learner
from seesay.train.parallel import World, spread
from seesay.train.precision import halved
from seesay.train.progress import counting

if TYPE_CHECKING:
    from seesay.data.record import Dataset
    from seesay.model import Model
    from seesay.types import ImageInput

WEIGHTS, ABOUT = "probe.safetensors", "probe.json"


class Probe(nn.Module):
    """Pooled features [B, D] to logits [B, C] of C classes."""

    centre: Tensor
    spread: Tensor

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    def forward(self, features: Tensor) -> Tensor:
        """Classify features, each measured from its mean in units of its spread."""
        return self.linear((features - self.centre) / self.spread)  # type: ignore[no-any-return]


class Labelled(NamedTuple):
    """Features [B, D] and labels [B] of some records, and how many all processes have."""

    features: Tensor
    labels: Tensor
    rows: list[int]
    total: int


def probe(
    model: Model,
    dataset: Dataset,
    config: TrainConfig,
    world: World,
    caches: Path,
    evaluation: Dataset | None = None,
    *,
    quiet: bool = False,
) -> Learner:
    """Return what trains a linear classifier of the dataset's labels; the model stays as it is.

    Args:
        model: Its features are classified.
        dataset: Pictures with labels.
        config: How; the loss is the cross entropy.
        world: The processes that train together.
        caches: Where features are kept.
        evaluation: Labelled pictures to measure the classifier on, or None.
        quiet: Show no progress while features are computed.

    Raises:
        UsageError: A picture has no label, or the model keeps its features to itself.
    """
    if not isinstance(model.module, PooledEncoder):
        raise UsageError(f"the features of {model.name} cannot be had before their projection")
    classes = _classes(dataset)
    if evaluation is not None:
        _labels(evaluation, classes)  # what is wrong with it is said before features are computed
    model.module.requires_grad_(False)
    features = _features(model, dataset, config, world, caches, quiet)
    module = Probe(features.width, len(classes)).to(world.device)
    _standardise(module, features, len(dataset))
    forward = spread(module, module, world, "ddp")
    order = Order(
        len(dataset),
        min(config.data.batch_size, len(dataset)),
        seed=config.seed,
        rank=world.rank,
        world=world.size,
    )

    def batch(step: int) -> Labelled:
        rows = order.batch(step)
        labels = torch.from_numpy(dataset.labels[rows])
        return Labelled(features(rows), labels, rows, len(order.whole_batch(step)))

    def learn(batch: Labelled) -> dict[str, Tensor]:
        logits = forward(batch.features.to(world.device))
        loss = F.cross_entropy(logits, batch.labels.to(world.device), reduction="sum")
        loss = loss * world.size / batch.total  # the mean over processes is that of the whole batch
        loss.backward()  # type: ignore[no-untyped-call]
        return {"loss": loss.detach()}

    return Learner(
        module,
        batch,
        learn,
        evaluate=_evaluation(module, model, evaluation, classes, config, world, caches, quiet),
        export=lambda folder, weights: _export(folder, weights, classes, model),
        rows=lambda found: ", ".join(dataset[i].where for i in found.rows[:20]),
        metric="top1" if evaluation is not None else "-loss",
        samples=order.batch_size,
        steps_per_epoch=order.steps_per_epoch,
    )


class Classifier:
    """A trained probe and the model whose features it reads.

    Attributes:
        classes: The names of the labels.
    """

    def __init__(self, model: Model, module: Probe, classes: tuple[str, ...]) -> None:
        self.model = model
        self.module = module
        self.classes = classes

    def classify(
        self, images: Iterable[ImageInput] | ImageInput, *, batch_size: int = 32
    ) -> list[ClassifyOutput]:
        """Return the classes of each image, most probable first.

        Raises:
            ItemsFailed: Some images cannot be read; lists them all.
        """
        from seesay.model import as_list

        items, results = as_list(images), []
        for start in range(0, len(items), batch_size):
            results += self._some(items[start : start + batch_size])
        return all_or_raise(results)

    @torch.inference_mode()
    def _some(self, items: list[ImageInput]) -> list[ClassifyOutput | InputError]:
        results: list[Any] = []
        for item in items:
            try:
                results.append(self.model.processor.images([open_picture(item)]))
            except InputError as error:
                results.append(error)
        module: Any = self.model.module
        for i, pixels in enumerate(results):
            if isinstance(pixels, Tensor):
                pooled = module.pool_image(pixels.to(self.model.device, self.model.dtype))
                chances = self.module(pooled.float()).softmax(-1)[0].tolist()
                told = sorted(zip(chances, self.classes, strict=True), reverse=True)
                scores = [LabelScore(label=name, score=chance) for chance, name in told]
                results[i] = ClassifyOutput(scores=scores)
        return results


def load_probe(folder: str | os.PathLike[str], *, device: str = "auto") -> Classifier:
    """Read the classifier that a run of the recipe "probe" left.

    Args:
        folder: The run, or one of its checkpoints.
        device: "auto" is the GPU when there is one.

    Raises:
        CheckpointError: There is none, it is damaged, or its model has changed.
    """
    from seesay.model import load

    place = Path(folder)
    place = next((place / k for k in ("best", "last") if (place / k / ABOUT).is_file()), place)
    about = read_json(place / ABOUT)
    try:
        weights = load_file(place / WEIGHTS)
        classes = tuple(about["classes"])
        module = Probe(weights["centre"].shape[0], len(classes))
        module.load_state_dict(weights)
    except Exception as error:  # a damaged file raises whatever it likes
        raise CheckpointError(f"{place} holds no sound probe ({error})") from None
    model = load(about["model"], device=device, dtype="float32")
    if model.fingerprint != about["fingerprint"]:
        raise CheckpointError(f"{place} was trained on another {about['model']} than this one")
    return Classifier(model, module.to(model.device).eval(), classes)


def _features(
    model: Model, dataset: Dataset, config: TrainConfig, world: World, caches: Path, quiet: bool
) -> Features:
    return cached_features(
        model,
        dataset,
        "image",
        caches,
        bf16=halved(config, world.device),
        augment=config.data.augment,
        progress=counting(f"features of {dataset.name}", quiet=quiet),
    )


def _classes(dataset: Dataset) -> tuple[str, ...]:
    if (dataset.labels < 0).any():
        row = int(np.flatnonzero(dataset.labels < 0)[0])
        raise UsageError(
            f"{dataset[row].where} has no label, and a probe learns labels",
            "--set data.label_column=NAME, or a folder for each class",
        )
    count = int(dataset.labels.max()) + 1
    return dataset.classes or tuple(str(i) for i in range(count))


def _labels(dataset: Dataset, classes: tuple[str, ...]) -> np.ndarray[Any, Any]:
    """Return the labels of data whose classes are some of those that are trained on, by name."""
    theirs = _classes(dataset)
    strange = [name for name in theirs if name not in classes]
    if strange:
        raise UsageError(
            f"{dataset.name} has classes that are not trained on: {', '.join(strange[:5])}",
            f"known: {', '.join(classes[:20])}",
        )
    index = np.array([classes.index(name) for name in theirs])
    labels: np.ndarray[Any, Any] = index[dataset.labels]
    return labels


def _standardise(module: Probe, features: Features, count: int) -> None:
    """Give the probe the mean and spread of its inputs, over at most 10,000 of them."""
    rows = np.random.default_rng(0).permutation(count)[:10_000].tolist()
    found = features(sorted(rows))
    with torch.no_grad():
        module.centre.copy_(found.mean(0))
        module.spread.copy_(found.std(0, correction=0).clamp(min=1e-6))


def _evaluation(
    module: Probe,
    model: Model,
    dataset: Dataset | None,
    classes: tuple[str, ...],
    config: TrainConfig,
    world: World,
    caches: Path,
    quiet: bool,
) -> Any:
    if dataset is None:
        return None
    labels = _labels(dataset, classes)
    features = _features(model, dataset, config, world, caches, quiet)

    @torch.no_grad()
    def evaluate() -> Mapping[str, float]:
        module.eval()
        rows = range(len(dataset))
        logits = torch.cat(
            [module(features(rows[i : i + 4096]).to(world.device)).cpu() for i in rows[::4096]]
        )
        pairs = np.stack([np.arange(len(labels)), labels], 1)
        return class_metrics(rank(logits, torch.eye(len(classes)), pairs), labels)

    return evaluate


def _export(
    folder: Path, weights: Mapping[str, Tensor], classes: tuple[str, ...], model: Model
) -> None:
    write_safetensors(folder / WEIGHTS, weights)
    told = {"model": model.name, "fingerprint": model.fingerprint, "classes": list(classes)}
    write_json(folder / ABOUT, json.loads(json.dumps(told)))
