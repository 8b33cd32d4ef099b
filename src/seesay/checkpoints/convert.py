"""Checkpoints from one layout to another."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from seesay import registry
from seesay.checkpoints import native
from seesay.checkpoints.files import SUFFIXES, flush, write_safetensors
from seesay.checkpoints.load import Loaded, read
from seesay.config import to_dict
from seesay.errors import CheckpointError, StorageError, UsageError, nearest


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    layout: str,
    *,
    revision: str | None = None,
    offline: bool | None = None,
) -> Path:
    """Write a checkpoint in another layout, tensors bit for bit as they were stored.

    What was written is read back before it gets its name: a layout that cannot hold all that the
    source says is refused.

    Args:
        source: Anything `seesay.load` takes.
        target: The folder to make. Where the layout is one file, a name with the ending of a weight
            file (.pt, .safetensors ...) is that file.
        layout: One of `layout_names`.
        revision: The hub commit of the source.
        offline: Never reach for the network.

    Returns:
        The folder or file that was written.

    Raises:
        UsageError: There is no such layout, it is not one file, or the target exists.
        CheckpointError: The source is damaged, or the layout cannot say what it says.
        StorageError: The target cannot be written; nothing half-written stays behind.
    """
    target, known = Path(target), layout_names()
    if layout not in known:
        raise UsageError(
            f"there is no layout {layout!r}.{nearest(layout, known)}", f"known: {', '.join(known)}"
        )
    file = target.name if target.suffix in SUFFIXES else None
    if target.exists() and (file or not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists and holds something else", "give a new name")
    loaded = read(source, revision=revision, offline=offline)
    write = _writing(loaded, layout, file)

    def fill(folder: Path) -> None:
        write(folder)
        _check_held(loaded, folder / file if file else folder, layout)

    if file is None:
        native.write_folder(target, fill, may_replace=lambda _: False)
    else:
        _write_file(target, fill)
    return target


def layout_names() -> list[str]:
    """Return every layout that some family can be written in."""
    published = (known for family in registry.families() for known in family.known_layouts())
    return list(dict.fromkeys(["native", *(known.name for known in published)]))


def _writing(loaded: Loaded, layout: str, file: str | None) -> native.Fill:
    """Return what writes a checkpoint's files into a folder.

    Args:
        loaded: The checkpoint.
        layout: Its new layout.
        file: The name of the weights when nothing may lie beside them.
    """
    family, config, processor = loaded.family, loaded.config, loaded.processor
    folder_wanted = UsageError(
        f"{file}: the layout {layout} is a folder, not a file", "give the name of a folder"
    )
    if layout == "native":
        if file:
            raise folder_wanted
        return native.filling(family, config, processor, loaded.module, name=loaded.variant)
    layouts = {known.name: known for known in family.known_layouts()}
    if layout not in layouts:
        raise UsageError(
            f"{family.name} has no layout {layout!r}", f"known: {', '.join(['native', *layouts])}"
        )

    def write(folder: Path) -> None:
        name = layouts[layout].companions(config, processor, folder)
        if file and any(folder.iterdir()):
            raise folder_wanted
        path = folder / (file or name)
        theirs = layouts[layout].keymap(config).inverse(loaded.module.state_dict())
        if path.suffix == ".safetensors":
            write_safetensors(path, theirs)
        else:
            state = {key: value.clone() for key, value in theirs.items()}
            wrapped = layouts[layout].wrapped
            torch.save({wrapped: state} if wrapped else state, path)

    return write


def _check_held(loaded: Loaded, written: Path, layout: str) -> None:
    """Read back what was written.

    Raises:
        CheckpointError: The layout could not hold everything.
    """
    try:
        back = read(written, layout=layout)
    except CheckpointError as error:
        raise CheckpointError(f"the layout {layout} cannot hold it: {error.what}") from None
    mine, theirs = _told(loaded), _told(back)
    lost = [f"{key} = {mine.get(key)}" for key in mine | theirs if mine.get(key) != theirs.get(key)]
    if lost:
        raise CheckpointError(
            f"the layout {layout} cannot hold {', '.join(lost)}", "native holds everything"
        )
    if back.fingerprint != loaded.fingerprint:
        raise CheckpointError(f"{loaded.source} does not come back the same from {layout}")


def _told(loaded: Loaded) -> dict[str, Any]:
    """Configuration and settings, by dotted names."""

    def flat(prefix: str, data: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in data.items():
            name = f"{prefix}{key}"
            found |= flat(f"{name}.", value) if isinstance(value, dict) else {name: value}
        return found

    said = {"config": to_dict(loaded.config), "settings": loaded.settings}
    return flat("", json.loads(json.dumps(said)))


def _write_file(target: Path, fill: native.Fill) -> None:
    """Write one file under a temporary name, flush it and rename it."""
    target = target.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".convert-") as temporary:
            fill(Path(temporary))
            made = Path(temporary) / target.name
            flush(made)
            made.rename(target)
        flush(target.parent)
    except OSError as error:
        raise StorageError(f"{target} cannot be written ({error})") from None
