"""Features of a frozen tower, computed once: what training reads instead of running the tower.

A frozen tower gives the same features for the same picture in every epoch and every run. They are
kept by what decides them: the bytes of the picture or text, the weights that are read on the way,
the configuration, the processor's settings and the precision. What is unchanged is never computed
again, whatever dataset it comes in; what has changed in any of these is.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seesay.checkpoints.files import tensor_digest
from seesay.config import to_dict
from seesay.errors import UsageError
from seesay.evaluate.encode import at_rest
from seesay.train.featurestore import KEY, FeatureStore, Keys, alone
from seesay.train.picturekeys import digest, first_of_each, picture_keys
from seesay.train.reach import Tower, tower_weights

if TYPE_CHECKING:
    from seesay.data.record import Dataset
    from seesay.model import Model

FORMAT = 1
"""Counts changes of what pooled features are; a higher one makes all be computed again."""
FLUSH_SECONDS = 20.0
"""How much work a kill may cost."""
T = TypeVar("T")
R = TypeVar("R")


class Features:
    """The pooled features of a dataset's pictures or texts.

    Attributes:
        width: D.
    """

    def __init__(self, store: FeatureStore, places: NDArray[np.int64], starts: NDArray[np.int64]):
        self.width = store.width
        self._store, self._places, self._starts = store, places, starts

    def __len__(self) -> int:
        return len(self._places)

    def __call__(self, records: Sequence[int], texts: Sequence[int] | None = None) -> Tensor:
        """Return features [B, D], float32.

        Args:
            records: Indices into the dataset.
            texts: Which caption of each, where the features are of texts; the first when None.
        """
        rows = self._starts[np.asarray(records, dtype=np.int64)]
        if texts is not None:
            rows = rows + np.asarray(texts, dtype=np.int64)
        return torch.from_numpy(self._store.read(self._places[rows])).float()


def cached_features(
    model: Model,
    dataset: Dataset,
    tower: Tower,
    folder: str | os.PathLike[str],
    *,
    batch_size: int = 64,
    bf16: bool = False,
    augment: str = "none",
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Return the pooled features of a dataset, computing those that are not kept yet.

    Of several processes the first to come computes; the others wait, and find everything there.

    Args:
        model: Everything that `pool_image` or `pool_text` reads must be frozen.
        dataset: Pictures and texts.
        tower: Whose features.
        folder: Where features of any models and datasets are kept side by side.
        batch_size: How many go through the tower together.
        bf16: Compute in bfloat16 where that is safe (autocast).
        augment: The name of the augmentation that training uses.
        progress: Called with how many of the missing are computed, and how many are missing.

    Raises:
        UsageError: Part of the tower is trained, or pictures are augmented: there is nothing
            constant to keep.
        InputError: A picture cannot be read. What was computed before it is kept.
        StorageError: The folder cannot be written. What was there before is still there.
    """
    if tower == "image" and augment != "none":
        raise UsageError(
            f"augment={augment!r} makes another picture every time: its features cannot be kept",
            'augment="none", or no cache of the image tower',
        )
    place = Path(folder)
    key, width = _identify(model, tower, bf16)
    if tower == "image":
        keys, starts = picture_keys(dataset, place), np.arange(len(dataset))
    else:
        keys, starts = _text_keys(dataset)
    store = FeatureStore(place / f"{tower}-{key[:16]}", width)
    if (store.find(keys) < 0).any():
        with alone(store.folder):
            # whoever went first may have added them
            store = FeatureStore(store.folder, width)
            missing = np.flatnonzero(store.find(keys) < 0)
            missing = missing[first_of_each(keys[missing])]
            batches = _image_batches if tower == "image" else _text_batches
            with at_rest(model), torch.inference_mode():
                read = batches(model, dataset, missing, starts, batch_size)
                _fill(store, keys, _pooled(model, tower, bf16, read), len(missing), progress)
    return Features(store, store.find(keys), starts)


def _fill(
    store: FeatureStore,
    keys: Keys,
    computed: Iterable[tuple[NDArray[np.int64], NDArray[np.float16]]],
    total: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Write features as they come, every few seconds and before an error leaves."""
    rows: list[NDArray[np.int64]] = []
    features: list[NDArray[np.float16]] = []
    done, written = 0, time.monotonic()

    def write() -> None:
        if rows:
            some, found = np.concatenate(rows), np.concatenate(features)
            rows.clear()
            features.clear()
            store.append(keys[some], found)

    try:
        for some, found in computed:
            rows.append(some)
            features.append(found)
            done += len(some)
            if time.monotonic() - written >= FLUSH_SECONDS:
                write()
                written = time.monotonic()
            if progress is not None:
                progress(done, total)
    finally:
        write()


def _pooled(
    model: Model, tower: Tower, bf16: bool, batches: Iterable[tuple[NDArray[np.int64], Any]]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
    """Run the tower over batches of inputs, each with the rows it is for."""
    for rows, inputs in batches:
        found = _pool(model, tower, bf16, inputs).half().cpu().numpy()
        if not np.isfinite(found).all():
            raise UsageError(
                f"the {tower} tower of {model.name} gives features that half precision cannot hold",
                "train without a cache",
            )
        yield rows, found


def _pool(model: Model, tower: Tower, bf16: bool, inputs: Any) -> Tensor:
    module: Any = model.module
    with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
        if tower == "image":
            pooled: Tensor = module.pool_image(inputs.to(model.device, model.dtype))
        else:
            pooled = module.pool_text(*(tensor.to(model.device) for tensor in inputs))
    return pooled


def _image_batches(
    model: Model, dataset: Dataset, rows: NDArray[np.int64], _: NDArray[np.int64], batch_size: int
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Yield the pixels of some records while the next ones are being decoded."""

    def prepare(row: int) -> Tensor:
        return model.processor.images([dataset.picture(row)])

    decoded = _ahead(prepare, rows.tolist(), batch_size)
    for start in range(0, len(rows), batch_size):
        some = rows[start : start + batch_size]
        pixels = list(islice(decoded, len(some)))
        # by size: some models keep the proportions of their pictures
        for size in dict.fromkeys(each.shape for each in pixels):
            same = [i for i, each in enumerate(pixels) if each.shape == size]
            yield some[same], torch.cat([pixels[i] for i in same])


def _text_batches(
    model: Model,
    dataset: Dataset,
    rows: NDArray[np.int64],
    starts: NDArray[np.int64],
    batch_size: int,
) -> Iterator[tuple[NDArray[np.int64], Any]]:
    """Yield the ids and masks of some texts; those of similar length share a batch."""
    records = np.searchsorted(starts, rows, side="right") - 1
    # an empty record starts where the next one does, which is what `side="right"` finds
    texts = [dataset[r].texts[t] for r, t in zip(records, rows - starts[records], strict=True)]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(order), batch_size):
        some = order[start : start + batch_size]
        yield rows[some], model.processor.texts([texts[i] for i in some])


def _text_keys(dataset: Dataset) -> tuple[Keys, NDArray[np.int64]]:
    """Return the key of every text of every record, and where each record's texts begin."""
    counts, keys = [0], bytearray()
    for record in dataset:
        counts.append(len(record.texts))
        for text in record.texts:
            keys += digest(text.encode("utf-8", "surrogatepass"))
    return np.frombuffer(keys, KEY), np.cumsum(counts)[:-1]


def _identify(model: Model, tower: Tower, bf16: bool) -> tuple[str, int]:
    """Return a digest of all that decides a tower's features but its input, and their width.

    Raises:
        UsageError: A parameter that the tower reads is trained.
    """
    names, width = tower_weights(model, tower)
    trained = [name for name, p in model.module.named_parameters() if p.requires_grad]
    trained = [name for name in names if name in trained]
    if trained:
        more = f" and {len(trained) - 5} more" if len(trained) > 5 else ""
        raise UsageError(
            f"the {tower} tower is not frozen, so its features cannot be kept: training changes "
            f"{', '.join(trained[:5])}{more}",
            f"freeze them, or no cache of the {tower} tower",
        )
    tensors = model.module.state_dict()
    told = {
        "format": FORMAT,
        "family": model.family.name,
        "config": to_dict(model.config),
        "settings": model.processor.settings(),
        "dtype": f"{model.dtype}, bf16={bf16}",
        "weights": tensor_digest({name: tensors[name] for name in names}),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest(), width


def _ahead(function: Callable[[T], R], items: Sequence[T], count: int) -> Iterator[R]:
    """Yield results in order while threads work on those of the next `count` items."""
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > count:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
