"""The model a run begins with: loaded, made for what is trained, at the size that is wanted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seesay.errors import CheckpointError, UsageError
from seesay.family import resolve
from seesay.networks.davit import DavitConfig
from seesay.networks.vit import VitConfig, resample_positions
from seesay.train.config import TrainConfig
from seesay.train.parallel import World

if TYPE_CHECKING:
    from seesay.model import Model

POSITIONS = "image.position_embedding"


def begin(config: TrainConfig, world: World, classes: tuple[str, ...] = ()) -> Model:
    """Return the model to train, in fp32, where it shall be trained.

    Args:
        config: Names it, and what it shall learn.
        world: The processes.
        classes: What the data's answers are, where a classifier of pairs is trained.

    Raises:
        UsageError: There is no such model, or it has no beginning for what it shall learn.
    """
    from seesay import registry
    from seesay.model import create, load

    if not config.model:
        raise UsageError("which model?", "--model NAME, or --set model=NAME")
    if config.tune.lora and config.init == "random":
        raise UsageError(
            "an adapter needs a base that can be loaded again; init=random makes none",
            "train the base first, and give its run as the model",
        )
    if config.init == "random" and config.model in registry.variants():
        model = create(config.model, seed=config.seed, device=world.device)
    else:
        model = load(config.model, device=world.device, dtype="float32")
        if config.init == "random":  # a folder lends its sizes and its tokenizer
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.seed)
                model.module = model.family.build(model.config).to(world.device)
            model.fingerprint = f"random-{model.fingerprint}-{config.seed}"
    changed = converted(model, config.objective.name, classes=classes, seed=config.seed)
    if config.image_size is not None:
        changed = resized(changed, config.image_size)
    if config.tune.lora and changed.config != model.config:
        raise UsageError(
            f"an adapter belongs to a base that can be loaded again, and {model.name} would be "
            "changed first: made for another objective, or for another image size",
            "seesay.train.begin: converted(model, objective) and resized(model, size) return what "
            "can be saved and then be adapted",
        )
    return changed


def converted(
    model: Model, objective: str, *, classes: tuple[str, ...] = (), seed: int = 0
) -> Model:
    """Return the model that an objective trains, begun from one that was trained as another.

    Args:
        model: Pre-trained, say. Returned itself where it is trained as it is.
        objective: What shall be trained: "captioning", "vqa".
        classes: What a classifier of pairs shall choose from.
        seed: Of what the other did not have.

    Raises:
        UsageError: It has no beginning for that.
    """
    if model.family.begun is None:
        return model
    begun = resolve(model.family.begun)
    config, tensors, fresh = begun(model.config, model.module.state_dict(), objective, classes)
    if config == model.config:
        return model
    return _other(model, config, tensors, fresh, model.processor.settings(), seed)


def resized(model: Model, size: int) -> Model:
    """Return the model for square pictures of another size.

    The positions of a vision transformer are resampled; a DaViT has none of its own.

    Raises:
        UsageError: Its image network cannot see another size, or no whole patches fit.
    """
    image, tensors = getattr(model.config, "image", None), model.module.state_dict()
    if isinstance(image, DavitConfig):
        wanted = dataclasses.replace(image, image_size=(size, size))
        config = dataclasses.replace(model.config, image=wanted)
        try:
            return _other(model, config, tensors, (), _settings(model, size), 0)
        except (
            ValueError,
            CheckpointError,
        ) as error:  # too many tokens
            raise UsageError(f"image_size={size}: {error}") from None
    if not isinstance(image, VitConfig) or POSITIONS not in tensors:
        raise UsageError(f"image_size={size}: {model.name} has one image size", "leave it out")
    if size % image.patch_size:
        near = max(1, round(size / image.patch_size)) * image.patch_size
        raise UsageError(
            f"image_size={size} is not divided by the patches of {image.patch_size}",
            f"image_size={near} is",
        )
    other = dataclasses.replace(image, image_size=(size, size))
    table = resample_positions(tensors[POSITIONS], image.grid, other.grid, image.resampling)
    config = dataclasses.replace(model.config, image=other)
    return _other(model, config, {**tensors, POSITIONS: table}, (), _settings(model, size), 0)


def _settings(model: Model, size: int) -> dict[str, Any]:
    """The settings of a model's processor, for square pictures of another size."""
    settings = model.processor.settings()
    spec = {**settings["image"], "size": (size, size)}
    if edge := spec.get("shortest_edge"):
        spec["shortest_edge"] = round(edge * size / min(settings["image"]["size"]))
    return {**settings, "image": spec}


def _other(
    model: Model,
    config: Any,
    tensors: Mapping[str, Tensor],
    fresh: tuple[str, ...],
    settings: dict[str, Any],
    seed: int,
) -> Model:
    """A model of another configuration, with tensors for all but what is drawn afresh."""
    from seesay.model import Model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = model.family.build(config)
    own = module.state_dict()
    drawn = {n for n in own.keys() - tensors.keys() if any(fnmatchcase(n, p) for p in fresh)}
    module.load_state_dict({**{name: own[name] for name in drawn}, **tensors})
    with TemporaryDirectory() as folder:  # which is how a tokenizer is handed on
        model.processor.save(Path(folder))
        processor = model.family.make_processor(config, settings, Path(folder))
    made = Model(
        module,
        processor,
        model.family,
        config,
        name=model.name,
        fingerprint=model.fingerprint,
        revision=model.revision,
    )
    made.decode = model.decode
    return made.to(model.device, model.dtype)
