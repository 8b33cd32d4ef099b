"""CapFilt: captions for pictures from the web, and what of all captions is worth training on.

A captioner writes captions for every picture. A filter, which looks at picture and text together,
then judges them and those the picture came with; or a dual encoder ranks them. The user's page is
docs/capfilt.md.

Paper: arXiv 2201.12086, section 3.3 (filter); arXiv 2301.12597, section 3.4 (rank).
Reference: none. What the authors published are filtered captions, and no code that makes them.
"""

from __future__ import annotations

import dataclasses
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from seesay.data.capfilt_files import Files, Pictures
from seesay.data.capfilt_journal import Journal, Judged, Origin, Seen
from seesay.data.capfilt_models import Captioner, Filter, Judge, Ranker, encode
from seesay.data.capfilt_statistics import Statistics
from seesay.data.record import Dataset
from seesay.data.source import open_dataset
from seesay.errors import InputError, UsageError

if TYPE_CHECKING:
    from seesay.generation.options import Options
    from seesay.model import Model
    from seesay.protocols import Processor


def capfilt(
    dataset: Dataset | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    captioner: Model,
    filter: Model | None = None,
    threshold: float = 0.5,
    rank: Model | None = None,
    keep: int = 2,
    candidates: int | None = None,
    prompt: str | None = None,
    human: Dataset | str | os.PathLike[str] | None = None,
    blip_json: bool = False,
    limit: int | None = None,
    seed: int = 0,
    batch_size: int = 8,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Statistics:
    """Bootstrap the captions of a dataset: write new ones, and keep those that tell of the picture.

    Call it again after it was killed, and it goes on; call it with another threshold, and no model
    is asked again.

    Args:
        dataset: Pictures with the captions they were found with, or without any.
        out: The folder for captions.jsonl, rejected.jsonl and statistics.json.
        captioner: Writes captions.
        filter: Judges pairs by image-text matching; the captioner when None.
        threshold: A caption is kept when the filter's probability is above it.
        rank: In place of a filter: a dual encoder, by whose cosines captions are ranked.
        keep: How many of a picture's captions are kept when they are ranked.
        candidates: How many captions are written for a picture; None for 1, or 10 to be ranked.
        prompt: How captions begin, without being part of them; None for what the captioner was
            trained with.
        human: Pictures with captions that are added as they are.
        blip_json: Also write captions.json, a list as BLIP's training reads it.
        limit: Only the first so many pictures.
        seed: Of the draws, which depend on it and on the number of the picture alone.
        batch_size: How many pictures go through the models together.
        progress: Called with how many further pictures are done, and how many of them were skipped.
        **options: Fields of `seesay.generation.Options`; tokens are drawn, as the
            captioner's family draws them, unless they say otherwise.

    Raises:
        UsageError: A model cannot do its part, or `out` was begun with other data or settings.
        InputError: There is no data at the path.
        StorageError: The disk is full, say; what was found out until then is kept.
    """
    if filter is not None and rank is not None:
        raise UsageError("captions are filtered or ranked, not both", "leave one of the two out")
    for name, number in (("candidates", candidates), ("limit", limit), ("batch_size", batch_size)):
        if number is not None and number < 1:
            raise UsageError(f"{name}={number} is none", "give 1 or more")
    if "num_return_sequences" in options:
        raise UsageError("candidates says how many captions there are", "drop num_return_sequences")
    many = candidates or (1 if rank is None else 10)
    writer = Captioner(captioner, prompt, options, many, seed)
    judge: Judge
    judge = Filter(filter or captioner, threshold) if rank is None else Ranker(rank, keep)
    pictures = Pictures(_opened(dataset))
    added = None if human is None else Pictures(_opened(human))
    count = min(limit or len(pictures), len(pictures))
    depends = {
        "data": pictures.dataset.digest,
        "captioner": captioner.fingerprint,
        judge.role: judge.model.fingerprint,
        "prompt": writer.prompt,
        "options": dataclasses.asdict(writer.options),
    }
    with Journal(Path(out) / "journal.capfilt", depends) as journal:
        done = min(journal.done, count)
        if progress is not None and done:
            progress(done, 0)
        for batch in _sights(pictures, range(done, count), writer, judge, batch_size):
            seen = _described(pictures, batch, writer, judge)
            journal.append(seen)
            if progress is not None:
                progress(len(seen), sum(one.skipped is not None for one in seen))
        files = Files(Path(out), judge, blip_json=blip_json)
        told = {
            "captioner": captioner.name,
            judge.role: judge.model.name,
            **({"threshold": threshold} if rank is None else {"keep": keep}),
            "candidates": many,
            "prompt": writer.prompt,
            "options": _departing(writer.options),
        }
        return files.publish(pictures, islice(journal, count), added, told)


class _Sight(NamedTuple):
    """A picture: its number, and its pixels [1, 3, h, w] for captioner and judge, or the error."""

    number: int
    pixels: tuple[Tensor, Tensor] | InputError


def _departing(options: Options) -> dict[str, Any]:
    """The options that are not as they are by default."""
    fields = ((field.name, field.default) for field in dataclasses.fields(options))
    return {
        name: getattr(options, name) for name, usual in fields if getattr(options, name) != usual
    }


def _opened(dataset: Dataset | str | os.PathLike[str]) -> Dataset:
    return dataset if isinstance(dataset, Dataset) else open_dataset(dataset)


def _sights(
    pictures: Pictures, numbers: Sequence[int], writer: Captioner, judge: Judge, batch_size: int
) -> Iterator[list[_Sight]]:
    """Decode pictures; the next two batches while the caller works on one."""
    processors = (writer.model.processor, judge.model.processor)
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers, "seesay-capfilt") as pool:
        pending: deque[Future[_Sight]] = deque()
        ahead = iter(numbers)
        try:
            while True:
                for number in islice(ahead, 3 * batch_size - len(pending)):
                    pending.append(pool.submit(_sight, pictures, number, processors))
                batch = [pending.popleft().result() for _ in range(min(batch_size, len(pending)))]
                if not batch:
                    return
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)


def _sight(pictures: Pictures, number: int, processors: tuple[Processor, Processor]) -> _Sight:
    """Decode one picture; runs in a thread."""
    writer, judge = processors
    try:
        picture = pictures.dataset.picture(pictures.row(number))
        pixels = writer.images([picture])
        # who makes pixels alike need not make them twice
        alike = type(writer) is type(judge) and writer.image == judge.image
        return _Sight(number, (pixels, pixels if alike else judge.images([picture])))
    except InputError as error:
        return _Sight(number, error)


def _described(
    pictures: Pictures, batch: Sequence[_Sight], writer: Captioner, judge: Judge
) -> list[Seen]:
    """Return the captions of a batch of pictures, judged."""
    found: dict[int, Seen] = {}
    alike: dict[tuple[torch.Size, torch.Size], list[_Sight]] = {}
    for sight in batch:
        if isinstance(sight.pixels, InputError):
            found[sight.number] = Seen((), sight.pixels.what)
        else:
            first, second = sight.pixels
            alike.setdefault((first.shape, second.shape), []).append(sight)
    for sights in alike.values():
        numbers = [sight.number for sight in sights]
        firsts, seconds = zip(*(sight.pixels for sight in sights), strict=True)
        tokens = encode(writer.model, torch.cat(firsts))
        written = writer.write(tokens, numbers)
        shared = isinstance(judge, Filter) and judge.model is writer.model
        seen = tokens if shared else judge.see(torch.cat(seconds))
        captions = [
            _worth_judging(pictures.texts(number), texts)
            for number, texts in zip(numbers, written, strict=True)
        ]
        scores = judge.score(seen, [[text for _, text, new in some if new] for some in captions])
        for number, some, given in zip(numbers, captions, scores, strict=True):
            left = iter(given)
            judged = (Judged(who, text, next(left) if new else None) for who, text, new in some)
            found[number] = Seen(tuple(judged))
    return [found[sight.number] for sight in batch]


def _worth_judging(web: Sequence[str], synthetic: Sequence[str]) -> list[tuple[Origin, str, bool]]:
    """All captions of a picture, and which are to be judged: text, and no text twice."""
    known: set[str] = set()
    found: list[tuple[Origin, str, bool]] = []
    sources: tuple[tuple[Origin, Sequence[str]], ...] = (("web", web), ("synthetic", synthetic))
    for source, texts in sources:
        for text in texts:
            new = bool(text) and text not in known and _is_unicode(text)
            known.add(text)
            found.append((source, text, new))
    return found


def _is_unicode(text: str) -> bool:
    """Whether a caption has no undecodable bytes."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)
