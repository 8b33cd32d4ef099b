"""Checkpoints from one layout to another."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import torch

from seesay.checkpoints import native
from seesay.checkpoints.load import read
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

    Args:
        source: Anything `seesay.load` takes.
        target: The folder to make. Where the layout is one file, a name ending in .pt is that file.
        layout: "native", or one of the family's published layouts.
        revision: The hub commit of the source.
        offline: Never reach for the network.

    Returns:
        The folder or file that was written.

    Raises:
        UsageError: The family has no such layout, or the target exists.
        CheckpointError: The source is damaged, or the layout cannot say what it says.
        StorageError: The target cannot be written; nothing half-written stays behind.
    """
    loaded = read(source, revision=revision, offline=offline)
    target = Path(target)
    if layout == "native":
        native.save(
            target,
            loaded.family,
            loaded.config,
            loaded.processor,
            loaded.module,
            name=loaded.variant,
        )
        return target
    layouts = {known.name: known for known in loaded.family.known_layouts()}
    if layout not in layouts:
        raise UsageError(
            f"{loaded.family.name} has no layout {layout!r}.{nearest(layout, layouts)}",
            f"native, {', '.join(layouts)}",
        )
    published = layouts[layout]

    def fill(folder: Path) -> None:
        name = published.companions(loaded.config, loaded.processor, folder)
        theirs = published.keymap(loaded.config).inverse(loaded.module.state_dict())
        if name.endswith(".safetensors"):
            native.write_safetensors(folder / name, theirs)
        else:
            torch.save({key: value.clone() for key, value in theirs.items()}, folder / name)

    if target.suffix != ".pt":
        native.write_folder(target, fill, may_replace=lambda _: False)
        return target
    return _one_file(target, fill)


def _one_file(target: Path, fill: native.Fill) -> Path:
    """Keep the weights of a layout that has nothing beside them."""
    if target.exists():
        raise UsageError(f"{target} exists", "give a new name")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".convert-") as temporary:
            fill(Path(temporary))
            made = list(Path(temporary).iterdir())
            if len(made) != 1:
                raise CheckpointError("this layout is a folder, not a file", "give a folder")
            shutil.move(made[0], target)
    except OSError as error:
        raise StorageError(f"{target} cannot be written ({error})") from None
    return target
