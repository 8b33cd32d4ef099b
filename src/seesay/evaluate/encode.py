"""Vectors of a dataset's pictures and captions, from a model that may be in training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from seesay.errors import CheckpointError, InputError
from seesay.evaluate.captioned import Skipped

if TYPE_CHECKING:
    from seesay.data.record import Dataset
    from seesay.model import Model
    from seesay.types import ImageInput

TEXTS = 4096
"""Captions encoded between two reports of progress."""


class Counter(Protocol):
    """What is told how far it is."""

    def advance(self, count: int = 1, skipped: int = 0) -> None:
        """Count items that are finished; `skipped` of them failed."""
        ...


Progress = Callable[[str, int], AbstractContextManager[Counter]]
"""Called with what is done and how many items it has; `seesay.cli.output.Progress` is one."""


class Silent:
    """Progress that nobody watches."""

    def __init__(self, _what: str, _total: int) -> None:
        pass

    def __enter__(self) -> Silent:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def advance(self, count: int = 1, skipped: int = 0) -> None:
        """Do nothing."""


@contextmanager
def at_rest(model: Model) -> Iterator[None]:
    """Put the module into eval mode, and leave modes and random numbers as they were found.

    Each submodule gets its own mode back: in training, frozen parts stay in eval mode.
    """
    modes = [(module, module.training) for module in model.module.modules()]
    devices = [torch.cuda.current_device()] if model.device.type == "cuda" else []
    model.module.eval()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        for module, training in modes:
            module.training = training


def image_vectors(
    model: Model,
    dataset: Dataset,
    rows: Sequence[int],
    skipped: Skipped,
    *,
    batch_size: int,
    progress: Progress,
) -> tuple[Tensor, Tensor]:
    """Encode the pictures of some rows.

    Returns:
        Unit vectors float32 [N, E], and which of them are there, bool [N]. A picture that cannot
        be read is noted in `skipped`.

    Raises:
        InputError: None of the pictures can be read.
        CheckpointError: The model gives something else than numbers.
    """
    parts = []
    there = torch.ones(len(rows), dtype=torch.bool)
    with progress("images", len(rows)) as counter:
        for chunk in model.stream_images(sources(dataset, rows), batch_size=batch_size):
            for i, failure in chunk.failures.items():
                there[i] = False
                skipped.add(dataset[rows[i]].where, "unreadable picture", failure.what)
            parts.append(chunk.vectors)
            counter.advance(len(chunk.vectors), len(chunk.failures))
    if not there.any():
        why = skipped.items[-1][2]
        raise InputError(f"none of the {len(rows)} pictures of {dataset.name} can be read: {why}")
    vectors = torch.cat(parts)
    _check(model, vectors[there], "pictures")
    return vectors, there


def text_vectors(
    model: Model, texts: Sequence[str], *, batch_size: int, progress: Progress
) -> Tensor:
    """Encode captions: unit vectors float32 [N, E].

    Raises:
        CheckpointError: The model gives something else than numbers.
    """
    parts = []
    with progress("captions", len(texts)) as counter:
        for start in range(0, len(texts), TEXTS):
            part = texts[start : start + TEXTS]
            parts.append(model.embed_texts(part, batch_size=batch_size))
            counter.advance(len(part))
    vectors = torch.cat(parts)
    _check(model, vectors, "captions")
    return vectors


def cut_off(model: Model, texts: Sequence[str]) -> int:
    """Count the texts that fill all the model's tokens, so that one word more changes nothing.

    One that ends exactly there is counted too.
    """
    count = 0
    for start in range(0, len(texts), 256):
        part = list(texts[start : start + 256])
        ids = model.processor.texts(part + [text + " a" for text in part]).ids
        count += int((ids[: len(part)] == ids[len(part) :]).all(1).sum())
    return count


def sources(dataset: Dataset, rows: Sequence[int]) -> Sequence[ImageInput]:
    """Return the pictures of some rows, each fetched when it is its turn."""
    return _Sources(dataset, rows)


class _Sources(Sequence["ImageInput"]):
    def __init__(self, dataset: Dataset, rows: Sequence[int]) -> None:
        self._dataset = dataset
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: int) -> ImageInput:  # type: ignore[override]
        return source(self._dataset, self._rows[i])


def source(dataset: Dataset, row: int) -> ImageInput:
    """Return the picture of a row: the path of its file, else its bytes.

    Raises:
        InputError: It lies in an archive that cannot be read.
    """
    image = dataset[row].image
    # a path is opened by the model, which then names the file in its messages
    return image if isinstance(image, str) else dataset.image_bytes(row)


def _check(model: Model, vectors: Tensor, what: str) -> None:
    bad = int((~vectors.isfinite().all(1)).sum())
    if bad:
        raise CheckpointError(
            f"{model.name} gives vectors that are not finite for {bad} of {len(vectors)} {what}",
            "its training diverged, or its weights are damaged",
        )
