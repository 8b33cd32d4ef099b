"""`Collection`: a folder of pictures made searchable, that remembers its model."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL
from numpy.typing import NDArray
from torch import Tensor

import seesay
from seesay.errors import InputError, ModelMismatch, SeesayError, UsageError
from seesay.index import duplicates, store
from seesay.index import rerank as reranking
from seesay.index.items import Hit
from seesay.index.journal import Journal
from seesay.index.lock import WriterLock
from seesay.index.publish import begin, publish
from seesay.index.query import encode, terms_of
from seesay.index.topk import Scanner
from seesay.index.update import Progress, Report, Update
from seesay.names import shown
from seesay.registry import DEFAULT_MODEL
from seesay.types import ImageInput

if TYPE_CHECKING:
    from seesay.model import Model

StrPath = str | os.PathLike[str]


class Collection:
    """Pictures and their vectors in a folder on the disk, searched by words and by pictures.

    A collection remembers which model made its vectors and loads it when it needs it. An open
    collection keeps showing the state it was opened at; `add` and `refresh` move on to the newest.

    Attributes:
        path: The folder it is kept in.
    """

    def __init__(
        self,
        path: StrPath,
        generation: store.Generation | None,
        *,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        self.path = Path(path)
        self._generation = generation
        self._device, self._dtype = device, dtype
        self._scanner: Scanner | None = None
        self._loaded: Model | None = None
        self._judge: tuple[Any, Any] = (None, None)  # what re-ranks, as it was told and loaded

    @classmethod
    def open(cls, path: StrPath, *, device: str = "auto", dtype: str = "auto") -> Collection:
        """Open a collection, after checking every byte of it.

        Where there is none yet it is empty, and the first `add` makes it.

        Args:
            path: The folder it is kept in.
            device: For the model, when the collection has to load it; see `seesay.load`.
            dtype: Likewise.

        Raises:
            IndexDamaged: Files are missing or altered, or this is something else.
            StorageError: A file may not be read.
        """
        exists = os.path.lexists(path)
        generation = store.open_current(Path(path)) if exists else None
        return cls(path, generation, device=device, dtype=dtype)

    @classmethod
    def create(
        cls,
        path: StrPath,
        model: Model | str = DEFAULT_MODEL,
        *,
        device: str = "auto",
        dtype: str = "auto",
    ) -> Collection:
        """Make an empty collection for the vectors of one model; options as `open`.

        Raises:
            UsageError: There is something at this path.
            StorageError: It cannot be written.
        """
        place = Path(path)
        if os.path.lexists(place) and not _is_empty_folder(place):
            raise UsageError(f"{shown(str(place))} exists", "open it, or choose another place")
        collection = cls(place, None, device=device, dtype=dtype)
        loaded = collection._load(model)
        begin(place, store.State(_reference(loaded)))
        collection.refresh()
        collection._loaded = loaded
        return collection

    def __len__(self) -> int:
        return 0 if self._generation is None else len(self._generation)

    def __repr__(self) -> str:
        return f"<seesay.Collection {shown(str(self.path))}: {len(self)} pictures>"

    @property
    def exists(self) -> bool:
        """Whether it is on the disk; one that was opened where none is begins with `add`."""
        return self._generation is not None

    @property
    def paths(self) -> list[str]:
        """The pictures' absolute paths, in the order of the rows of `vectors`."""
        return [] if self._generation is None else [i.path for i in self._generation.items()]

    @property
    def failed(self) -> dict[str, str]:
        """The files that could not be read as pictures, and why."""
        failed = [] if self._generation is None else self._generation.failed()
        return {item.path: item.reason or "" for item in failed}

    @property
    def vectors(self) -> NDArray[np.float16]:
        """The vectors, float16 [N, E], mapped from the disk and read-only."""
        if self._generation is None:
            return np.zeros((0, 0), np.float16)
        view = self._generation.vectors.view(np.ndarray)
        view.flags.writeable = False
        return view

    @property
    def model(self) -> store.ModelRef | None:
        """Name, fingerprint and revision of the model that made the vectors."""
        return None if self._generation is None else self._generation.state.model

    @property
    def folders(self) -> list[str]:
        """The folders that were added."""
        return [] if self._generation is None else [r.path for r in self._generation.state.roots]

    def refresh(self) -> None:
        """Move on to the newest state, if another process has changed the collection.

        Raises:
            IndexDamaged: That state is damaged.
        """
        if self._generation is None or store.read_pointer(self.path) != self._generation.pointer:
            self._generation, self._scanner = store.open_current(self.path), None

    # -- changing --------------------------------------------------------------------------------

    def add(
        self,
        pictures: StrPath | Sequence[StrPath] | None = None,
        model: Model | str | None = None,
        *,
        recursive: bool = True,
        rehash: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> Report:
        """Add folders or files, and bring what is known of them up to date.

        Only pictures with new contents are encoded; what is gone from the disk is removed. A run
        that was killed is continued by the next.

        Args:
            pictures: A folder, a file, or several; None for the folders added before.
            model: The one the collection is made with, when it is loaded already.
            recursive: Whether to enter folders.
            rehash: Compare contents even where size and time of change are the same.
            progress: Called often, with how far it is.

        Raises:
            UsageError: There is no such folder or file.
            ModelMismatch: The collection is made with another model.
            StorageError: The disk is full, or another process is writing; nothing is lost.
        """
        targets = self._targets(pictures)
        if not self.exists:
            self._begin(model)
        if model is not None:
            self._use(model)
        with WriterLock(self.path):
            self.refresh()
            old = self._current()
            journal = Journal(self.path, old.state.model.fingerprint)
            try:
                decoder = f"seesay {seesay.__version__}, pillow {PIL.__version__}"
                update = Update(
                    old, journal, lambda: self._use(None), decoder,
                    rehash=rehash, progress=progress,
                )  # fmt: skip
                outcome = update.run(targets, recursive)
                if outcome.differs or (outcome.failed and decoder != old.state.decoder):
                    # what is copied must be what was written, however long ago it was opened
                    store.open_current(self.path)
                    state = store.State(old.state.model, decoder, outcome.roots)
                    publish(
                        self.path, old.pointer.generation + 1, state, outcome.items, outcome.failed,
                        outcome.width, outcome.rows,
                    )  # fmt: skip
                journal.clear()
            finally:
                journal.close()
            self.refresh()
        return outcome.report

    def _begin(self, model: Model | str | None) -> None:
        """Make the collection that was opened before it existed."""
        try:
            made = Collection.create(
                self.path,
                model if model is not None else DEFAULT_MODEL,
                device=self._device,
                dtype=self._dtype,
            )
            self._loaded = made._loaded
        except SeesayError:
            if not store.is_index(self.path):  # else another process was first
                raise
        self.refresh()

    def _targets(self, pictures: StrPath | Sequence[StrPath] | None) -> list[str]:
        if pictures is None:
            # a folder that is not there may be on a disk that is not: keep what is known of it
            targets = [folder for folder in self.folders if os.path.isdir(folder)]
            if not targets:
                raise UsageError(f"{shown(str(self.path))} has no folders to look at", "name one")
            return targets
        given = [pictures] if isinstance(pictures, (str, os.PathLike)) else list(pictures)
        targets = [os.path.abspath(os.fspath(item)) for item in given]
        known = set(self.paths) | set(self.failed) if any(map(_is_missing, targets)) else set()
        for target in targets:
            if _is_missing(target) and target not in known:
                raise UsageError(f"there is no file or folder {shown(target)}")
        return targets

    # -- searching -------------------------------------------------------------------------------

    def search(
        self,
        query: str | ImageInput | None = None,
        k: int = 10,
        *,
        image: ImageInput | None = None,
        model: Model | str | None = None,
        rerank: Model | str | None = None,
        top: int = 100,
        errors: list[InputError] | None = None,
        judged: Callable[[int], None] | None = None,
    ) -> list[Hit]:
        """Find the pictures most like a query.

        Args:
            query: Words, terms with + and - (see `seesay.index.query`), or an image.
            k: How many at most.
            image: An image; with `query` both count alike.
            model: The one the collection is made with, when it is loaded already.
            rerank: A model that looks at picture and text together (see `tasks.match`), by whose
                judgement the first `top` are put in order; the query is words alone then.
            top: How many are judged, `k` at least.
            errors: When given, pictures that cannot be read for that are told here and left out.
            judged: Told after each picture that was judged how many there were.

        Returns:
            The best first; the same scores in the order of the paths.

        Raises:
            UsageError: The query is empty or cannot be read, or `rerank` cannot judge it.
            ItemsFailed: An image of the query cannot be read; or one that is judged, and there is
                no `errors`.
            ModelMismatch: The model is not the one the collection was made with.
        """
        if rerank is None:
            vector = self.encode(query, image=image, model=model)
            scores, rows = self.search_vectors(vector[None], k)
            return self.hits(scores[0], rows[0])
        text = reranking.text_of(terms_of(query, image))
        if top < 1:
            raise UsageError(f"top={top} is not a number of pictures")
        first = self.search(query, max(k, top), model=model)
        if rerank != self._judge[0]:
            loaded = self._load(rerank)
            self._judge = (rerank, reranking.check_judge(loaded))
        judge = self._judge[1]
        return reranking.rerank(first, text, judge, errors=errors, progress=judged)[:k]

    def encode(
        self,
        query: str | ImageInput | None = None,
        *,
        image: ImageInput | None = None,
        model: Model | str | None = None,
    ) -> Tensor:
        """Turn a query into the unit vector [E] that `search` looks for."""
        return encode(terms_of(query, image), self._use(model))

    def search_vectors(self, vectors: Tensor, k: int = 10) -> tuple[Tensor, Tensor]:
        """Find the rows most like vectors [Q, E]: scores [Q, k] and rows [Q, k], exactly."""
        if k < 1:
            raise UsageError(f"k={k} is not a number of results")
        stored = self._current().vectors
        if self._scanner is None:
            self._scanner = Scanner(stored)
        if len(stored) and vectors.shape[-1] != stored.shape[1]:
            raise UsageError(
                f"the query has {vectors.shape[-1]} dimensions, the collection {stored.shape[1]}"
            )
        return self._scanner.top(vectors, k)

    def hits(self, scores: Tensor, rows: Tensor) -> list[Hit]:
        """Name what `search_vectors` found for one query: scores [k] and rows [k]."""
        generation = self._current()
        found = []
        for rank, (score, row) in enumerate(zip(scores.tolist(), rows.tolist(), strict=True), 1):
            item = generation.item(row)
            found.append(Hit(rank, round(min(score, 1.0), 6), item.path, item.pixels))
        return found

    def duplicates(self, threshold: float = 0.97) -> list[duplicates.DuplicateGroup]:
        """Group pictures that look almost the same; see `seesay.index.duplicates`.

        Args:
            threshold: The least cosine similarity to the first of a group. What is the right one
                depends on the model.
        """
        if not 0 < threshold <= 1:
            raise UsageError(f"threshold={threshold} is not between 0 and 1")
        generation = self._current()
        return [
            duplicates.DuplicateGroup(
                tuple(generation.item(row).path for row, _ in group),
                tuple(round(score, 6) for _, score in group),
            )
            for group in duplicates.groups(generation.vectors, threshold)
        ]

    # -- the model -------------------------------------------------------------------------------

    def _current(self) -> store.Generation:
        if self._generation is None:
            raise UsageError(
                f"there is no collection at {shown(str(self.path))}", "add pictures to it first"
            )
        return self._generation

    def _use(self, model: Model | str | None) -> Model:
        """Return the model to work with, after making sure that it is the right one."""
        wanted = self._current().state.model
        if model is None:
            if self._loaded is None:
                loaded = self._load(wanted.name, wanted.revision)
                if loaded.fingerprint != wanted.fingerprint:
                    raise ModelMismatch(
                        f"{wanted.name} is not what it was when {shown(str(self.path))} was made",
                        "give the model of then with --model, or index again with --overwrite",
                    )
                self._loaded = loaded
            return self._loaded
        if self._loaded is not None and model == self._loaded.name:
            return self._loaded
        loaded = self._load(model)
        if loaded.fingerprint != wanted.fingerprint:
            raise ModelMismatch(
                f"{shown(str(self.path))} was made with {wanted.name}, not with {loaded.name}: "
                "their vectors cannot be compared",
                f"search with {wanted.name}, or make another index of it: "
                f"seesay index FOLDER --out INDEX --model {loaded.name}",
            )
        self._loaded = loaded
        return loaded

    def _load(self, model: Model | str, revision: str | None = None) -> Model:
        if not isinstance(model, str):
            return model
        from seesay.model import load

        return load(model, revision=revision, device=self._device, dtype=self._dtype, optimize=True)


def _reference(model: Any) -> store.ModelRef:
    # a local model is remembered by a path that holds wherever one searches from
    name = os.path.abspath(model.name) if os.path.exists(model.name) else model.name
    return store.ModelRef(name, model.fingerprint, model.revision)


def _is_missing(path: str) -> bool:
    return not os.path.lexists(path)


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
