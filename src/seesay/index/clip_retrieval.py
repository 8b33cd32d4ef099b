"""Collections in the folder layout of clip-retrieval: numpy parts and parquet parts.

    img_emb/img_emb_0.npy            float16 or float32 [n, E]
    metadata/metadata_0.parquet      column image_path, row for row the same pictures

Parts are numbered, and their numbers count, not the order of their names.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seesay.errors import IndexDamaged, InputError, MissingExtra, ModelMismatch, UsageError
from seesay.index import store
from seesay.index.collection import Collection
from seesay.index.items import Item
from seesay.index.publish import publish, storing
from seesay.index.scan import read
from seesay.index.update import pixels_of
from seesay.names import shown

if TYPE_CHECKING:
    from seesay.model import Model

PART = 1_000_000
"""Rows in a part that is written."""


def write_clip_retrieval(collection: Collection, folder: str | os.PathLike[str]) -> None:
    """Write a collection's vectors and paths in clip-retrieval's layout.

    Names that are no valid Unicode are written with backslash escapes: parquet holds text alone.

    Raises:
        UsageError: The folder exists and is not empty, or the collection does not exist.
        MissingExtra: pyarrow is not installed.
        StorageError: It cannot be written.
    """
    arrow, parquet = _pyarrow()
    if not collection.exists:
        raise UsageError(f"there is no collection at {shown(str(collection.path))}")
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists", "choose another place")
    vectors, paths = collection.vectors, collection.paths
    with storing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".seesay.", dir=target.parent) as parent:
            draft = Path(parent) / "draft"
            (draft / "img_emb").mkdir(parents=True)
            (draft / "metadata").mkdir()
            for part, start in enumerate(range(0, max(len(paths), 1), PART)):
                rows = slice(start, start + PART)
                np.save(draft / "img_emb" / f"img_emb_{part}.npy", vectors[rows])
                text = [p.encode("utf-8", "surrogateescape") for p in paths[rows]]
                names = [t.decode("utf-8", "backslashreplace") for t in text]
                table = arrow.table({"image_path": arrow.array(names, arrow.string())})
                parquet.write_table(table, draft / "metadata" / f"metadata_{part}.parquet")
            draft.rename(target)


def read_clip_retrieval(
    folder: str | os.PathLike[str], target: str | os.PathLike[str], model: Model
) -> Collection:
    """Make a collection from a folder that clip-retrieval wrote.

    Args:
        folder: With `img_emb` and `metadata`.
        target: Where the collection shall be.
        model: The one that made the vectors. Their width is all that can be checked.

    Returns:
        The new collection. Pictures that are on this machine are read to know their contents, and
        are taken for what was encoded then; the others stay in it until their folder is added.

    Raises:
        IndexDamaged: The parts do not fit each other, or are something else.
        ModelMismatch: The vectors have another width than the model's.
        UsageError: There is something at `target`.
    """
    vectors, paths = _read(Path(folder))
    width = model.embed_texts(["a"]).shape[1]
    if vectors.shape[1] != width:
        raise ModelMismatch(
            f"the vectors of {folder} have {vectors.shape[1]} dimensions, those of {model.name} "
            f"{width}",
            "name the model they were made with: --model",
        )
    length = np.linalg.norm(vectors.astype(np.float32), axis=1, keepdims=True)
    if not (np.isfinite(length).all() and (length > 0).all()):
        raise IndexDamaged(f"{folder} has vectors that are not finite, or zero")
    unit = (vectors / length).astype("<f2")
    rows = {os.path.abspath(path): row for row, path in enumerate(paths)}
    order = sorted(rows, key=os.fsencode)
    items = [_item(path) for path in order]
    collection = Collection.create(target, model)
    assert collection.model is not None
    pieces = (unit[[rows[p] for p in order[i : i + 8192]]] for i in range(0, len(order), 8192))
    state = store.State(collection.model)
    publish(collection.path, 2, state, items, [], width, pieces)
    collection.refresh()
    return collection


def _item(path: str) -> Item:
    """Describe a picture as it is now; one that is not here gets a digest no contents have."""
    try:
        data, contents = read(path)
    except InputError:
        return Item(path, hashlib.sha256(b"not here: " + os.fsencode(path)).hexdigest(), 0, 0)
    return Item(path, contents.sha256, contents.size, contents.mtime_ns, pixels_of(data))


def _read(folder: Path) -> tuple[NDArray[Any], list[str]]:
    """Read all parts, in the order of their numbers."""
    _, parquet = _pyarrow()
    embeddings = dict(_parts(folder / "img_emb", r"img_emb_(\d+)\.npy"))
    metadata = dict(_parts(folder / "metadata", r"metadata_(\d+)\.parquet"))
    if not embeddings or embeddings.keys() != metadata.keys():
        raise IndexDamaged(
            f"{folder} has vector parts {sorted(embeddings)} and metadata parts {sorted(metadata)}",
            "it should hold img_emb/img_emb_0.npy and metadata/metadata_0.parquet, and so on",
        )
    vectors: list[NDArray[Any]] = []
    paths: list[str] = []
    for number in sorted(embeddings):
        try:
            part = np.load(embeddings[number], mmap_mode="r", allow_pickle=False)
            names = parquet.read_table(metadata[number], columns=["image_path"])
            texts = [str(name) for name in names.column("image_path").to_pylist()]
        except (ValueError, OSError, KeyError, EOFError) as error:
            raise IndexDamaged(f"part {number} of {folder} cannot be read: {error}") from None
        if part.ndim != 2 or part.dtype.kind != "f" or len(part) != len(texts):
            raise IndexDamaged(
                f"part {number} of {shown(str(folder))} has {part.dtype} vectors {part.shape} "
                f"for {len(texts)} pictures"
            )
        vectors.append(part)
        paths += texts
    if len({part.shape[1] for part in vectors}) > 1:
        raise IndexDamaged(f"the parts of {folder} have vectors of different widths")
    return np.concatenate(vectors), paths


def _parts(folder: Path, pattern: str) -> Iterator[tuple[int, Path]]:
    if folder.is_dir():
        for path in folder.iterdir():
            if match := re.fullmatch(pattern, path.name):
                yield int(match[1]), path


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("pyarrow", "index", "clip-retrieval's layout") from None
    return pyarrow, pyarrow.parquet
