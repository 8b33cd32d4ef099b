"""Images of any form to pixels, decoded while the network works on those before them.

Every task that looks at images goes through here: `pixel_chunks` decodes, `serve` also encodes each
image once, however many requests follow each other on it, and batches requests that go together.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seesay.device import without_gradient
from seesay.errors import InputError, UsageError
from seesay.processing.image import open_picture
from seesay.types import ImageInput

if TYPE_CHECKING:
    from seesay.model import Model

Request = TypeVar("Request")
Output = TypeVar("Output")
Item = TypeVar("Item")
Sized = tuple[Tensor, tuple[int, int]]
"""What is kept of one image, and width and height of its upright original."""


class PixelChunk(NamedTuple):
    """Some consecutive images as pixels.

    Attributes:
        start: Where in the input they start.
        size: How many they are.
        batches: Pixels [n, 3, h, w] of one size each, and which of the chunk they are, from 0.
        failures: What could not be read: position in the whole input to the error.
        originals: Width and height of each upright original, however small it was decoded; None
            for those that could not be read.
    """

    start: int
    size: int
    batches: list[tuple[list[int], Tensor]]
    failures: dict[int, InputError]
    originals: list[tuple[int, int] | None]


class Seen(NamedTuple):
    """What was seen of the images of some requests.

    Attributes:
        features: [G, N, ...]: one row for each of G groups of requests, N images in it.
        sizes: Width and height of the upright originals, [G][N].
    """

    features: Tensor
    sizes: list[list[tuple[int, int]]]


def pixel_chunks(
    model: Model, images: Sequence[ImageInput], batch_size: int
) -> Iterator[PixelChunk]:
    """Decode images; the next chunk while the caller works on this one.

    Yields:
        Consecutive chunks of at most `batch_size` images; never raises for a bad image.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size={batch_size} is not a number of images")
    at_least = 0
    if model.decode == "fast":
        spec = model.processor.image
        at_least = spec.shortest_edge or min(spec.size)

    def prepare(i: int) -> Sized | InputError:
        try:
            item = images[i]
            label = None if isinstance(item, (str, os.PathLike)) else f"image {i}"
            picture = open_picture(item, name=label, at_least=at_least)
            return model.processor.images([picture]), picture.size
        except InputError as error:
            return error

    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(max_workers=workers) as pool:
        pending: deque[Future[Sized | InputError]] = deque()
        ahead = iter(range(len(images)))
        for start in range(0, len(images), batch_size):
            for i in itertools.islice(ahead, 2 * batch_size + workers - len(pending)):
                pending.append(pool.submit(prepare, i))
            count = min(batch_size, len(images) - start)
            decoded = [pending.popleft().result() for _ in range(count)]
            # by size: some models keep the proportions of their pictures
            sizes: dict[torch.Size, list[int]] = {}
            failures: dict[int, InputError] = {}
            originals: list[tuple[int, int] | None] = [None] * count
            for i, found in enumerate(decoded):
                if isinstance(found, InputError):
                    failures[start + i] = found
                else:
                    sizes.setdefault(found[0].shape, []).append(i)
                    originals[i] = found[1]
            batches = [
                (rows, torch.cat([decoded[i][0] for i in rows]))  # type: ignore[index]
                for rows in sizes.values()
            ]
            yield PixelChunk(start, count, batches, failures, originals)


def serve(
    model: Model,
    requests: Sequence[Request],
    respond: Callable[[list[list[Request]], Seen], Sequence[Output]],
    *,
    see: Callable[[Tensor], Tensor],
    batch_size: int,
    images: Callable[[Request], Sequence[ImageInput]] | None = None,
    alike: Callable[[Request], Hashable] = lambda _: None,
) -> Iterator[Output | InputError]:
    """Serve requests about images, in batches, in order.

    Args:
        model: Whose processor makes the pixels.
        requests: Requests that follow each other on the same images share their encoding.
        respond: Called with requests by image, equally many of each, and what was seen of the
            images; returns the outputs one after another. Runs without gradients.
        see: Pixels [B, 3, h, w] to what is kept of each image, [B, ...].
        batch_size: How many images are encoded together, and requests answered, at most.
        images: The images of a request; its `image` when None.
        alike: Only requests for which this is equal are answered together.

    Yields:
        An output, or the error of the first bad image, for each request.
    """
    groups = deque(_groups(requests, images or (lambda request: (request.image,))))  # type: ignore[attr-defined]
    items = [item for looked_at, _ in groups for item in looked_at]
    held: deque[Sized | InputError] = deque()
    for chunk in pixel_chunks(model, items, batch_size):
        found: list[Any] = [chunk.failures.get(chunk.start + i) for i in range(chunk.size)]
        with without_gradient(model.module):
            for rows, pixels in chunk.batches:
                seen = see(pixels.to(model.device, model.dtype, memory_format=torch.channels_last))
                for row, one in zip(rows, seen, strict=True):
                    found[row] = one, chunk.originals[row]
        held.extend(found)
        ready = []
        while groups and len(held) >= len(groups[0][0]):
            looked_at, asked = groups.popleft()
            ready.append((asked, _together([held.popleft() for _ in looked_at])))
        yield from _answers(model, ready, respond, alike, batch_size)


def _groups(
    requests: Sequence[Request], images: Callable[[Request], Sequence[ImageInput]]
) -> Iterator[tuple[Sequence[ImageInput], list[Request]]]:
    """Requests that follow each other on the same images, and these images."""
    pairs = ((images(request), request) for request in requests)
    for _, group in itertools.groupby(pairs, key=lambda pair: [identity(i) for i in pair[0]]):
        listed = list(group)
        yield listed[0][0], [request for _, request in listed]


def _together(seen: Sequence[Sized | InputError]) -> Seen | InputError:
    """What was seen of the images of one group, or the first error."""
    for one in seen:
        if isinstance(one, InputError):
            return one
    known = [one for one in seen if not isinstance(one, InputError)]
    if len({features.shape for features, _ in known}) > 1:
        return InputError("images that are looked at together become pixels of different sizes")
    return Seen(torch.stack([features for features, _ in known])[None], [[s for _, s in known]])


def _answers(
    model: Model,
    groups: Sequence[tuple[list[Request], Seen | InputError]],
    respond: Callable[[list[list[Request]], Seen], Sequence[Output]],
    alike: Callable[[Request], Hashable],
    batch_size: int,
) -> Iterator[Output | InputError]:
    """The outputs of requests whose images have been encoded, in order."""
    results: dict[int, Output | InputError] = {}
    batches: dict[Hashable, list[tuple[int, list[Request], Seen]]] = {}
    start = 0
    for requests, seen in groups:
        for _, run in itertools.groupby(requests, key=alike):
            for part in _slices(list(run), batch_size):
                if isinstance(seen, InputError):
                    results |= {start + i: seen for i in range(len(part))}
                else:
                    key = (alike(part[0]), len(part), seen.features.shape)
                    batches.setdefault(key, []).append((start, part, seen))
                start += len(part)
    for parts in batches.values():
        count = len(parts[0][1])
        for some in _slices(parts, max(1, batch_size // count)):
            features = torch.cat([seen.features for _, _, seen in some])
            sizes = [row for _, _, seen in some for row in seen.sizes]
            with without_gradient(model.module):
                outputs = respond([part for _, part, _ in some], Seen(features, sizes))
            positions = [first + i for first, part, _ in some for i in range(len(part))]
            results |= dict(zip(positions, outputs, strict=True))
    for i in range(start):
        yield results[i]


def _slices(items: list[Item], size: int) -> list[list[Item]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def identity(image: ImageInput) -> object:
    """Arrays cannot be compared cheaply: the same object counts as the same image."""
    if isinstance(image, os.PathLike):
        return os.fspath(image)
    return image if isinstance(image, (str, bytes)) else id(image)


def as_list(images: Iterable[ImageInput] | ImageInput) -> list[ImageInput]:
    """One image or many, as a list; an array of four dimensions is many."""
    if isinstance(images, (str, bytes, os.PathLike, Image.Image)):
        return [images]
    if isinstance(images, np.ndarray):
        return list(images) if images.ndim == 4 else [images]
    if isinstance(images, Iterable) and not isinstance(images, (bytearray, memoryview, Tensor)):
        return list(images)
    return [images]  # type: ignore[list-item]
