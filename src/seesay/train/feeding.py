"""How a learner is fed: the batches of a run's configuration, of this process's rows."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

from seesay.data.loader import Loader, text_lengths
from seesay.data.order import Order
from seesay.train.config import TrainConfig
from seesay.train.parallel import World

if TYPE_CHECKING:
    from seesay.data.record import Dataset
    from seesay.model import Model

_log = logging.getLogger("seesay")


def feed(
    model: Model,
    dataset: Dataset,
    config: TrainConfig,
    world: World,
    *,
    text: Literal["random", "none"] = "random",
    images: bool = True,
    stream: int = 0,
) -> Loader:
    """Return what makes the batches of a run; its `order` knows how many steps an epoch has.

    Args:
        model: Says what pixels and ids are, and how a class is described.
        dataset: The records.
        config: How.
        world: The processes that train together.
        text: Which caption of a record is said, "none" where somebody else sees to the texts.
        images: Whether pixels are made.
        stream: Another number, other crops: of the second pictures where there are two.
    """
    data, views = config.data, config.objective.views > 0
    templates = next(iter(model.family.prompt_sets().values()))
    order = Order(
        len(dataset),
        data.batch_size,
        seed=config.seed,
        rank=world.rank,
        world=world.size,
        lengths=text_lengths(dataset, model.processor, templates) if data.bucket else None,
    )
    return Loader(
        dataset,
        order,
        model.processor,
        augment=data.augment,
        seed=config.seed + stream,
        workers=data.workers,
        text=text,
        images=images,
        views=2 if views else 0,
        decode=data.decode,
        on_missing=data.on_missing,
        templates=templates,
        silent=views,  # which need no texts
    )


def closing(loader: Loader) -> None:
    """Stop a loader, and say what it left out."""
    loader.close()
    if loader.skipped:
        first = "; ".join(list(loader.skipped.values())[:3])
        _log.warning("%d records were skipped: %s", len(loader.skipped), first)
