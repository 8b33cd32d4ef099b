"""Our own checkpoint folder: seesay.json, model.safetensors, and the tokenizer's files.

seesay.json names the family, the configuration, the processor's settings, and the size and SHA-256
of every other file. Reading checks them, and a digest of seesay.json itself, so that bit rot is
found. Writing goes to a temporary folder on the same disk, is flushed, and then renamed: a reader
sees all of it or nothing.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from torch import nn

from seesay import __version__, registry
from seesay.checkpoints.empty import build_empty
from seesay.checkpoints.files import flush, read_json, sha256, write_json, write_safetensors
from seesay.config import from_dict, to_dict
from seesay.errors import CheckpointError, StorageError, UsageError

if TYPE_CHECKING:
    from seesay.family import Family
    from seesay.protocols import Processor

MANIFEST, WEIGHTS = "seesay.json", "model.safetensors"
FORMAT = 1

Fill = Callable[[Path], None]
"""Writes the files of a checkpoint into the folder it is given."""


@dataclass(frozen=True)
class Native:
    """What a manifest says.

    Attributes:
        family: The declared family.
        name: The name of the released size it was loaded as, or None.
        config: Its configuration.
        settings: Its processor's settings.
    """

    family: Family
    name: str | None
    config: Any
    settings: dict[str, Any]


def save(
    folder: Path,
    family: Family,
    config: Any,
    processor: Processor,
    module: nn.Module,
    *,
    name: str | None = None,
) -> None:
    """Write a native checkpoint.

    Raises:
        UsageError: The module was packed for inference and has no plain weights any more, or the
            folder holds something else.
        StorageError: The folder cannot be written; what was there before is still there.
    """
    write_folder(
        folder,
        filling(family, config, processor, module, name=name),
        may_replace=lambda old: (old / MANIFEST).is_file(),
    )


def filling(
    family: Family, config: Any, processor: Processor, module: nn.Module, *, name: str | None
) -> Fill:
    """Return what writes a native checkpoint's files into a folder.

    Args:
        family: The declared family.
        config: The configuration.
        processor: The processor.
        module: The weights.
        name: The released size, by its name or hub id; any other name is not recorded.

    Raises:
        UsageError: The module was packed for inference and has no plain weights any more.
    """
    if hasattr(module, "peft_config"):
        raise UsageError("an adapter that is not merged lies beside the weights", "merge=True")
    tensors = module.state_dict()
    _, expected = build_empty(family, config, Path(WEIGHTS), len(tensors))
    if tensors.keys() != expected.keys():
        raise UsageError(
            "this model was packed for inference and cannot be saved", "load it without optimize"
        )
    names = {told: key for key, v in family.variants.items() for told in (key, v.hub) if told}
    manifest = {
        "format": FORMAT,
        "seesay": __version__,
        "family": family.name,
        "name": names.get(name or ""),
        "config": to_dict(config),
        "settings": processor.settings(),
    }

    def fill(temporary: Path) -> None:
        write_safetensors(temporary / WEIGHTS, tensors)
        processor.save(temporary)
        files = {
            path.name: {"size": path.stat().st_size, "sha256": sha256(path)}
            for path in sorted(temporary.iterdir())
        }
        write_json(temporary / MANIFEST, sealed(manifest | {"files": files}))

    return fill


@contextmanager
def opened(folder: Path) -> Iterator[Native]:
    """Read seesay.json and check every file it lists: the weights while the caller reads them.

    Only after leaving are the weights known to be sound.

    Raises:
        CheckpointError: A file is missing, of another size, or not what was written.
    """
    path = folder / MANIFEST
    data = read_json(path)
    if "digest" in data and data != sealed(data):
        raise CheckpointError(f"{path} is damaged: its digest has changed", "copy it again")
    if not isinstance(data.get("format"), int) or data["format"] > FORMAT:
        raise CheckpointError(
            f"{path} is of format {data.get('format')!r}, this seesay reads up to {FORMAT}",
            "pip install --upgrade seesay",
        )
    try:
        files = {
            name: (folder / Path(name).name, wanted["size"], wanted["sha256"])
            for name, wanted in data["files"].items()
        }
        if WEIGHTS not in files:
            raise CheckpointError(f"{path} lists no {WEIGHTS}")
        weights = files.pop(WEIGHTS)
        check_size(*weights[:2])
        for file in files.values():
            check_file(*file)
        family = registry.family(data["family"])
        config: Any = from_dict(family.config_class(), data["config"])
        found = Native(family, data.get("name"), config, data["settings"])
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged ({error!r})", "fetch it again") from None
    except UsageError as error:
        raise CheckpointError(f"{path}: {error.what}", "pip install --upgrade seesay") from None
    with ThreadPoolExecutor(max_workers=1) as pool:
        verdict = pool.submit(check_file, *weights)
        yield found
        verdict.result()


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest with the digest of all its other fields."""
    told = {key: value for key, value in manifest.items() if key != "digest"}
    text = json.dumps(told, sort_keys=True)
    return told | {"digest": hashlib.sha256(text.encode()).hexdigest()}


def check_file(path: Path, size: int, digest: str) -> None:
    """Compare a file with what its manifest says.

    Raises:
        CheckpointError: It is missing, of another size, or has changed.
    """
    check_size(path, size)
    try:
        found = sha256(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from None
    if found != digest:
        raise CheckpointError(f"{path} is damaged: its SHA-256 has changed", "copy it again")


def check_size(path: Path, size: int) -> None:
    """Compare a file's size with what its manifest says.

    Raises:
        CheckpointError: It is missing, or of another size.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing", "copy the whole folder")
    if path.stat().st_size != size:
        raise CheckpointError(
            f"{path} has {path.stat().st_size} bytes, {size} were written", "copy it again"
        )


def write_folder(folder: Path, fill: Fill, *, may_replace: Callable[[Path], bool]) -> None:
    """Make a folder by filling a temporary one beside it and renaming that.

    Replacing takes two renames: the old folder is put aside, then the new one takes its place. A
    crash between the two leaves nothing under the name; both lie beside it then, complete, under
    names that begin with a dot, the old one's ending in ".old". A link is followed, and stays.

    Args:
        folder: Where it shall be.
        fill: Writes the files into the folder it is given.
        may_replace: Whether an existing, non-empty folder may be replaced.

    Raises:
        UsageError: Something else is there.
        StorageError: It cannot be written.
    """
    folder = folder.resolve()
    if folder.exists() and not (
        folder.is_dir() and (may_replace(folder) or not any(folder.iterdir()))
    ):
        raise UsageError(f"{folder} exists and holds something else", "give a new folder")
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = folder.with_name(f".{folder.name[:80]}-{secrets.token_hex(4)}")
        temporary.mkdir()
        fill(temporary)
        for path in (*temporary.iterdir(), temporary):
            flush(path)
        if folder.exists():
            old = temporary.with_name(temporary.name + ".old")
            folder.rename(old)
            try:
                temporary.rename(folder)
            except BaseException:
                old.rename(folder)
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.rename(folder)
        flush(folder.parent)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{folder} cannot be written ({error})", "is the disk full?") from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
