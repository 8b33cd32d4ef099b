"""Writing the states of a collection, so that whenever the writer dies the old one stays."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seesay.errors import StorageError
from seesay.index.items import Item, relative
from seesay.index.store import FORMAT, State, base_of


def begin(place: Path, state: State) -> None:
    """Make an index without pictures, beside its place and then renamed: never half of one.

    Raises:
        StorageError: It cannot be written, or there is something at its place.
    """
    with storing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{place.name[:100]}.", dir=place.parent))
        try:
            umask = os.umask(0)
            os.umask(umask)
            draft.chmod(0o777 & ~umask)
            publish(draft, 1, state, [], [], 0, [])
            draft.rename(place)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise


def publish(
    folder: Path,
    number: int,
    state: State,
    items: Sequence[Item],
    failed: Sequence[Item],
    width: int,
    rows: Iterable[NDArray[np.float16]],
) -> None:
    """Write a generation and make it the current one. Call it with the lock held.

    Args:
        folder: The index.
        number: Of the new generation.
        state: Model and roots.
        items: The pictures, sorted by path.
        failed: The files without a vector.
        width: Of the vectors.
        rows: Their vectors [n, E] in order, in pieces.

    Raises:
        StorageError: Something could not be written; the old generation stays the current one.
    """
    base = base_of(folder)
    generations = folder / "generations"
    draft, place = generations / "draft", generations / f"{number:06d}"
    with storing(folder):
        generations.mkdir(exist_ok=True)
        for leftover in (draft, place):  # of a writer that died; CURRENT never named them
            if leftover.exists():
                shutil.rmtree(leftover)
        draft.mkdir()
        try:
            seals = {
                "vectors.f16": _write(draft / "vectors.f16", (r.data.cast("B") for r in rows)),
                "items.jsonl": _write(draft / "items.jsonl", (i.to_line(base) for i in items)),
                "failed.jsonl": _write(draft / "failed.jsonl", (i.to_line(base) for i in failed)),
            }
            manifest = {
                "format": FORMAT,
                "generation": number,
                "model": asdict(state.model),
                "decoder": state.decoder,
                "roots": [
                    {"path": relative(root.path, base), "recursive": root.recursive}
                    for root in state.roots
                ],
                "count": len(items),
                "failed": len(failed),
                "width": width,
                "dtype": "float16",
                "files": seals,
            }
            text = json.dumps(manifest, indent=1).encode("ascii") + b"\n"
            _write(draft / "manifest.json", [text])
            _sync_folder(draft)
            draft.rename(place)
            _sync_folder(generations)
            pointer = f"seesay-index {FORMAT} {number:06d} {hashlib.sha256(text).hexdigest()}\n"
            replace(folder / "CURRENT", pointer.encode("ascii"))
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    for old in generations.iterdir():
        if old != place:
            # readers that opened it keep their mappings: the disk frees it with the last of them
            shutil.rmtree(old, ignore_errors=True)


def replace(path: Path, content: bytes) -> None:
    """Write a small file in one step: it has the old content or the new one."""
    temporary = path.with_name(path.name + ".new")
    try:
        _write(temporary, [content])
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _write(path: Path, pieces: Iterable[bytes | memoryview]) -> dict[str, Any]:
    """Write a file, flush it to the disk, and return its size and digest."""
    digest, size = hashlib.sha256(), 0
    with open(path, "wb") as file:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
            size += len(piece)
        file.flush()
        os.fsync(file.fileno())
    return {"size": size, "sha256": digest.hexdigest()}


def _sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename in it survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def storing(folder: Path) -> Iterator[None]:
    """Turn what the file system refuses into one error that names it."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written: {error.strerror or error}",
            "free some space or choose another place: what was there before is intact",
        ) from None
