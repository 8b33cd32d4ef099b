"""Batches of tensors by step, decoded ahead by threads (Pillow lets go of the interpreter's lock).

A step's batch depends on the seed and the step alone: not on the number of threads, nor on where
the run was resumed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from seesay.data.augment import AUGMENTATIONS, Augmentation
from seesay.data.order import Order
from seesay.data.record import Dataset, Record
from seesay.errors import InputError, UsageError, nearest
from seesay.processing.image import normalise
from seesay.types import Picture

if TYPE_CHECKING:
    from seesay.protocols import Processor

TEMPLATES = ("a photo of a {}.",)
"""What a picture that has a class and no caption is described with."""

_IMAGE, _TEXT, _VIEWS = 0, 1, 2
"""Which stream of random numbers of a sample: adding views leaves its crop as it was."""


@dataclass(frozen=True)
class Batch:
    """What one step sees, of one process.

    Attributes:
        pixels: [b, 3, h, w] float32, None when the loader makes no pictures.
        ids: [b, L], padded to the longest of the batch; None when it makes no texts.
        mask: [b, L], True where a token counts; None likewise.
        labels: int64 [b], -1 where there is none.
        image_ids: int64 [b], equal for records of the same picture, across all processes.
        rows: The records' numbers in the dataset.
        captions: Which of its captions each record says, -1 where it says none.
        texts: What each record says, as words.
        views: [b, n, 3, h, w] further augmented views of each picture, None when none are made.
    """

    pixels: Tensor | None
    ids: Tensor | None
    mask: Tensor | None
    labels: Tensor
    image_ids: Tensor
    rows: list[int]
    captions: list[int]
    texts: list[str]
    views: Tensor | None = None


@dataclass(frozen=True)
class _Decoded:
    """One picture as bytes or pixels, and its views as bytes."""

    image: np.ndarray[Any, Any] | Tensor
    views: np.ndarray[Any, Any] | None


class Loader:
    """Call it with a step to get that step's `Batch`; the next ones are decoded meanwhile.

    Args:
        dataset: The records.
        order: Which of them each step sees.
        processor: Pictures and strings to tensors.
        augment: A key of `AUGMENTATIONS`, or an augmentation; None for the pixels of use.
        seed: Of crops and of the choice among captions.
        workers: Threads; 0 decodes when asked, None takes one per core, at most 8.
        text: Which caption of a record: "random", "first", or "none" to make no texts.
        images: False makes no pixels, for who has features cached.
        views: How many further views of each picture.
        view_augment: What the views are made by.
        decode: "fast" decodes JPEGs at 1/2, 1/4 or 1/8 where the crop allows it.
        on_missing: "error" raises for a picture that cannot be read; "skip" leaves it out of its
            batch, which is then smaller, and counts it in `skipped`.
        templates: For records with a class and no caption.
        silent: Keep records with neither; their text is empty. Else they count as unreadable.
        prefetch: How many steps ahead.

    Attributes:
        skipped: Why records were left out, by their number; each counted once.

    Raises:
        UsageError: No augmentation is called this.
        InputError: A record has nothing to say, and `on_missing` is "error"; or none has.
    """

    def __init__(
        self,
        dataset: Dataset,
        order: Order,
        processor: Processor,
        *,
        augment: str | Augmentation | None = "none",
        seed: int = 0,
        workers: int | None = None,
        text: Literal["random", "first", "none"] = "random",
        images: bool = True,
        views: int = 0,
        view_augment: str = "slip_view",
        decode: Literal["exact", "fast"] = "exact",
        on_missing: Literal["error", "skip"] = "error",
        templates: Sequence[str] = TEMPLATES,
        silent: bool = False,
        prefetch: int = 2,
    ) -> None:
        if order.count != len(dataset):
            raise UsageError(f"an order of {order.count} for {len(dataset)} records")
        self.dataset = dataset
        self.order = order
        self.processor = processor
        self.augment = find_augmentation(augment)
        self.view_augment = find_augmentation(view_augment)
        self.seed = seed
        self.text = text
        self.images = images
        self.views = views
        self.decode = decode
        self.on_missing = on_missing
        self.templates = templates
        self.silent = silent
        self.prefetch = prefetch
        self.skipped: dict[int, str] = {}
        self._refuse_mute()
        workers = min(8, os.cpu_count() or 1) if workers is None else workers
        self._pool = ThreadPoolExecutor(workers, "seesay-data") if workers and images else None
        self._pending: dict[int, list[Future[_Decoded | InputError]]] = {}

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop decoding ahead."""
        self._forget(set())
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __call__(self, step: int) -> Batch:
        """Return the batch of a step.

        Raises:
            InputError: A record's picture cannot be read and `on_missing` is "error"; names it.
        """
        rows = self.order.batch(step)
        epoch = self.order.epoch(step)
        decoded = self._decoded(step, rows)
        kept: list[int] = []
        texts: list[str] = []
        captions: list[int] = []
        pictures: list[_Decoded] = []
        for row, found in zip(rows, decoded, strict=True):
            try:
                if isinstance(found, InputError):
                    raise found
                caption, text = self._text(row, epoch)
            except InputError as error:
                if self.on_missing == "error":
                    raise
                self.skipped.setdefault(row, error.what)
                continue
            kept.append(row)
            captions.append(caption)
            texts.append(text)
            if found is not None:
                pictures.append(found)
        ids, mask = self._tokens(texts) if self.text != "none" else (None, None)
        return Batch(
            pixels=self._pixels(pictures) if self.images else None,
            ids=ids,
            mask=mask,
            labels=torch.from_numpy(self.dataset.labels[kept]),
            image_ids=torch.from_numpy(self.dataset.image_numbers[kept]),
            rows=kept,
            captions=captions,
            texts=texts,
            views=self._views(pictures) if self.images and self.views else None,
        )

    # -- pictures --------------------------------------------------------------------------------

    def _decoded(self, step: int, rows: list[int]) -> Sequence[_Decoded | InputError | None]:
        if not self.images:
            return [None] * len(rows)
        if self._pool is None:
            return [self._decode(row, self.order.epoch(step)) for row in rows]
        wanted = range(step, step + 1 + self.prefetch)
        self._forget(set(wanted))
        for ahead in wanted:
            if ahead not in self._pending:
                epoch = self.order.epoch(ahead)
                self._pending[ahead] = [
                    self._pool.submit(self._decode, row, epoch) for row in self.order.batch(ahead)
                ]
        return [future.result() for future in self._pending.pop(step)]

    def _forget(self, wanted: set[int]) -> None:
        """Drop the steps that nobody will ask for, as after a jump."""
        for step in set(self._pending) - wanted:
            for future in self._pending.pop(step):
                future.cancel()

    def _decode(self, row: int, epoch: int) -> _Decoded | InputError:
        """One picture, augmented; runs in a thread."""
        spec = self.processor.image
        view_streams = range(_VIEWS, _VIEWS + self.views)

        def rng(stream: int) -> np.random.Generator:
            return np.random.default_rng([self.seed, epoch, row, stream])

        def at_least(size: tuple[int, int]) -> int:
            sides = [spec.shortest_edge or min(spec.size)]
            if self.augment is not None:
                sides = [self.augment.at_least(size, spec, rng(_IMAGE))]
            if self.view_augment is not None:
                sides += [self.view_augment.at_least(size, spec, rng(s)) for s in view_streams]
            return max(sides)

        try:
            picture = self.dataset.picture(row, at_least if self.decode == "fast" else 0)
        except InputError as error:
            return error
        views = None
        if self.views:
            views = np.stack([self._view(picture, rng(stream)) for stream in view_streams])
        if self.augment is None:
            return _Decoded(self.processor.images([picture])[0], views)
        return _Decoded(self.augment.values(picture, spec, rng(_IMAGE)), views)

    def _view(self, picture: Picture, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        assert self.view_augment is not None
        return self.view_augment.values(picture, self.processor.image, rng)

    def _pixels(self, pictures: list[_Decoded]) -> Tensor:
        spec = self.processor.image
        images = [picture.image for picture in pictures]
        if not images:
            return torch.empty(0, 3, *spec.size)
        if isinstance(images[0], Tensor):
            if len({tuple(image.shape) for image in images}) > 1:
                raise UsageError(
                    "this model keeps the proportions of pictures, so they make no batch",
                    "an augmentation makes squares: --set data.augment=clip",
                )
            return torch.stack(images)  # type: ignore[arg-type]
        return normalise(np.stack(images), spec)

    def _views(self, pictures: list[_Decoded]) -> Tensor:
        spec = self.processor.image
        views = [picture.views for picture in pictures if picture.views is not None]
        if not views:
            return torch.empty(0, self.views, 3, *spec.size)
        flat = normalise(np.concatenate(views), spec)
        return flat.reshape(len(views), self.views, *flat.shape[1:])

    # -- texts -----------------------------------------------------------------------------------

    def _refuse_mute(self) -> None:
        """Raise, before the first step, for the first record that will have nothing to say."""
        if self.text == "none":
            return
        data, named = self.dataset, len(self.dataset.classes or ())
        told = (row for row in range(len(data)) if not data.text_count(row))
        mute = [row for row in told if not (0 <= data.labels[row] < named)]
        if self.silent:
            mute = [row for row in mute if data.labels[row] >= 0]
        if mute and (self.on_missing == "error" or len(mute) == len(data)):
            record_texts(data[mute[0]], data.classes, self.templates)

    def _tokens(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        if (
            not texts
        ):  # a share of the last rows, or all of it skipped: one column, as networks want
            return torch.zeros(0, 1, dtype=torch.long), torch.zeros(0, 1, dtype=torch.bool)
        ids, mask = self.processor.texts(texts)
        return ids, mask

    def _text(self, row: int, epoch: int) -> tuple[int, str]:
        """Which caption of a record is said, and what it says."""
        if self.text == "none":
            return -1, ""
        record = self.dataset[row]
        if self.silent and not record.texts and record.label is None:
            return -1, ""
        choices = record_texts(record, self.dataset.classes, self.templates)
        chosen = 0
        if self.text == "random" and len(choices) > 1:
            rng = np.random.default_rng([self.seed, epoch, row, _TEXT])
            chosen = int(rng.integers(len(choices)))
        return chosen, choices[chosen]


def record_texts(
    record: Record, classes: Sequence[str] | None, templates: Sequence[str] = TEMPLATES
) -> Sequence[str]:
    """Return a record's captions, or its class in every template when it has none.

    Raises:
        InputError: It has neither.
    """
    if record.texts:
        return record.texts
    if record.label is None:
        raise InputError(f"{record.where}: has no caption")
    if classes is None or record.label >= len(classes):
        raise InputError(
            f"{record.where}: label {record.label} has no name",
            "write the names of the classes into classes.txt, one a line",
        )
    return [template.format(classes[record.label]) for template in templates]


def text_lengths(
    dataset: Dataset, processor: Processor, templates: Sequence[str] = TEMPLATES
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the tokens of the longest caption of each record: what `Order(lengths=)` sorts by."""
    lengths = np.zeros(len(dataset), dtype=np.int64)
    for start in range(0, len(dataset), 1024):
        rows = range(start, min(start + 1024, len(dataset)))
        texts: list[str] = []
        owners: list[int] = []
        for row in rows:
            record = dataset[row]
            with suppress(InputError):  # who has nothing to say has no length
                found = record_texts(record, dataset.classes, templates)
                texts += found
                owners += [row] * len(found)
        if texts:
            counts = processor.texts(texts).mask.sum(1).numpy()
            np.maximum.at(lengths, owners, counts)
    return lengths


def find_augmentation(name: str | Augmentation | None) -> Augmentation | None:
    """Return the augmentation of a name.

    Raises:
        UsageError: None is called this.
    """
    if not isinstance(name, str):
        return name
    if name not in AUGMENTATIONS:
        known = ", ".join(AUGMENTATIONS)
        raise UsageError(
            f"there is no augmentation {name!r}.{nearest(name, AUGMENTATIONS)}", f"known: {known}"
        )
    return AUGMENTATIONS[name]
