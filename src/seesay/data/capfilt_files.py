"""The files CapFilt leaves: listings that `open_dataset` reads, and the figures.

All are written under other names, flushed, and renamed when every one is whole. They follow from
the journal alone, so that a killed run and one that was not leave the same bytes.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from seesay.data.capfilt_journal import Judged, Seen, storing
from seesay.data.capfilt_models import Judge
from seesay.data.capfilt_statistics import Statistics, Tally
from seesay.data.record import Dataset
from seesay.errors import InputError
from seesay.processing.image import FORMATS

KEPT, REJECTED, LIST = "captions.jsonl", "rejected.jsonl", "captions.json"
FIGURES = "statistics.json"


class Pictures:
    """A dataset by its pictures, numbered as they first come."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        numbers = dataset.image_numbers
        self._rows = np.argsort(numbers, kind="stable")
        self._starts = np.searchsorted(numbers[self._rows], np.arange(numbers.max(initial=-1) + 2))

    def __len__(self) -> int:
        return len(self._starts) - 1

    def row(self, number: int) -> int:
        """Return the first record of a picture."""
        return int(self._rows[self._starts[number]])

    def where(self, number: int) -> str:
        """Return what messages call a picture."""
        return self.dataset[self.row(number)].where

    def texts(self, number: int) -> list[str]:
        """Return the captions of all records of a picture."""
        rows = self._rows[self._starts[number] : self._starts[number + 1]]
        return [text for row in rows for text in self.dataset[int(row)].texts]


class Files:
    """Writes what was found out about a dataset into a folder.

    Args:
        out: The folder.
        judge: Chooses the captions.
        blip_json: Also write a JSON list.
    """

    def __init__(self, out: Path, judge: Judge, *, blip_json: bool) -> None:
        self._out = out
        self._judge = judge
        self._names = (KEPT, REJECTED, *([LIST] if blip_json else []), FIGURES)
        self._files: dict[str, BinaryIO] = {}
        bins = judge.measure == "probability"
        self._tallies = {source: Tally(bins) for source in ("web", "synthetic")}
        self._skipped: list[str] = []
        self._kept_pictures = 0
        self._copied = False

    def publish(
        self,
        pictures: Pictures,
        found: Iterable[Seen],
        human: Pictures | None,
        settings: Mapping[str, Any],
    ) -> Statistics:
        """Write all files; those of an earlier run stay until the new ones are whole.

        Args:
            pictures: The dataset.
            found: What became of its pictures, by number.
            human: Pictures whose captions are added as they are.
            settings: For the statistics.

        Raises:
            StorageError: Something could not be written.
            InputError: A picture that has to be copied has gone since it was looked at.
        """
        drafts = {name: self._out / f".{name}" for name in self._names}
        try:
            with storing(self._out), ExitStack() as stack:
                for name, draft in drafts.items():
                    self._files[name] = stack.enter_context(draft.open("wb"))
                looked_at = self._write_judged(pictures, found)
                if human is not None:
                    self._write_human(human)
                statistics = self._statistics(looked_at, settings)
                if LIST in self._files:
                    self._files[LIST].write(b"\n]\n" if statistics.captions else b"[]\n")
                text = json.dumps(dataclasses.asdict(statistics), indent=1) + "\n"
                self._files[FIGURES].write(text.encode("ascii"))
                for file in self._files.values():
                    file.flush()
                    os.fsync(file.fileno())
                if self._copied:
                    os.sync()  # all pictures at once
                for name, draft in drafts.items():
                    draft.rename(self._out / name)
                if LIST not in drafts:
                    (self._out / LIST).unlink(missing_ok=True)
        except BaseException:
            for draft in drafts.values():
                draft.unlink(missing_ok=True)
            raise
        return statistics

    def _write_judged(self, pictures: Pictures, found: Iterable[Seen]) -> int:
        """Write what was judged; return how many pictures there were."""
        number = -1
        for number, seen in enumerate(found):
            if seen.skipped is not None:
                self._skipped.append(seen.skipped)
                continue
            judged = [c for c in seen.captions if c.score is not None]
            for caption in seen.captions:
                self._tallies[caption.source].left_out += caption.score is None
            choices = self._judge.choose([c.score for c in judged if c.score is not None])
            self._kept_pictures += any(choices)
            if not judged:
                continue
            image = self._name(pictures, number, "web")
            where = pictures.where(number)
            for caption, kept in zip(judged, choices, strict=True):
                self._tallies[caption.source].add(caption, kept, where)
                self._line(image, caption, kept)
        return number + 1

    def _write_human(self, human: Pictures) -> None:
        tally = self._tallies["human"] = Tally(False)
        for number in range(len(human)):
            texts = human.texts(number)
            try:
                image = self._name(human, number, "human")
            except InputError as error:
                self._skipped.append(error.what)
                continue
            for text in texts:
                caption = Judged("human", text, None)
                tally.add(caption, True, human.where(number))
                self._line(image, caption, True)

    def _line(self, image: str, caption: Judged, kept: bool) -> None:
        pair = {"image": image, "caption": caption.text}
        told = {"source": caption.source, self._judge.measure: caption.score, "kept": kept}
        self._files[KEPT if kept else REJECTED].write(_json(pair | told) + b"\n")
        if kept and LIST in self._files:
            file = self._files[LIST]
            file.write((b",\n" if file.tell() else b"[\n") + _json(pair))

    def _name(self, pictures: Pictures, number: int, source: str) -> str:
        """What listings call a picture; one that is no file of its own is copied here."""
        row = pictures.row(number)
        image = pictures.dataset[row].image
        if isinstance(image, str):
            return image
        data = pictures.dataset.image_bytes(row)
        place = f"{number // 1000:04}/{number:07}.{_kind(data)}"
        name = f"pictures/{source}/{place}"
        path = self._out / name
        if not (path.is_file() and path.stat().st_size == len(data)):
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_suffix(".new")
            draft.write_bytes(data)
            draft.rename(path)
            self._copied = True
        return name

    def _statistics(self, pictures: int, settings: Mapping[str, Any]) -> Statistics:
        sources = {source: tally.share() for source, tally in self._tallies.items()}
        return Statistics(
            settings=dict(settings),
            measure=self._judge.measure,
            pictures=pictures,
            kept_pictures=self._kept_pictures,
            skipped=tuple(self._skipped),
            sources=sources,
            captions=sum(share.kept for share in sources.values()),
            examples=tuple(e for tally in self._tallies.values() for e in tally.examples),
        )


def _json(told: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(told, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a file name with bytes that are no UTF-8
        return json.dumps(told).encode()


def _kind(data: bytes) -> str:
    """The ending for a file of these bytes, "jpeg" say."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return str(image.format).lower()
    except Exception:  # an annotator's picture that nothing opens: training will name it
        return "jpeg"
