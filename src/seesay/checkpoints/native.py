"""Our own checkpoint folder: seesay.json, model.safetensors, and the tokenizer's files.

seesay.json names the family, the configuration, the processor's settings, and the size and SHA-256
of every other file. Reading checks them, and a digest of seesay.json itself, so that bit rot is
found. Writing goes to a temporary folder on the same disk, is flushed, and then renamed: a reader
sees all of it or nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from seesay import __version__, registry
from seesay.checkpoints.empty import build_empty
from seesay.checkpoints.files import flush, read_json, sha256, write_json
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
        name: What the model was called when it was saved.
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
    tensors = module.state_dict()
    _, expected = build_empty(family, config, folder)
    if tensors.keys() != expected.keys():
        raise UsageError(
            "this model was packed for inference and cannot be saved", "load it without optimize"
        )
    manifest = {
        "format": FORMAT,
        "seesay": __version__,
        "family": family.name,
        "name": name,
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

    write_folder(folder, fill, may_replace=lambda old: (old / MANIFEST).is_file())


def read_manifest(folder: Path) -> Native:
    """Read seesay.json and check every file it lists.

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
        for name, wanted in data["files"].items():
            check_file(folder / Path(name).name, wanted["size"], wanted["sha256"])
        if WEIGHTS not in data["files"]:
            raise CheckpointError(f"{path} lists no {WEIGHTS}")
        family = registry.family(data["family"])
        config: Any = from_dict(family.config_class(), data["config"])
        return Native(family, data.get("name"), config, data["settings"])
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged ({error!r})", "fetch it again") from None
    except UsageError as error:
        raise CheckpointError(f"{path}: {error.what}", "pip install --upgrade seesay") from None


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
    if not path.is_file():
        raise CheckpointError(f"{path} is missing", "copy the whole folder")
    if path.stat().st_size != size:
        raise CheckpointError(
            f"{path} has {path.stat().st_size} bytes, {size} were written", "copy it again"
        )
    if sha256(path) != digest:
        raise CheckpointError(f"{path} is damaged: its SHA-256 has changed", "copy it again")


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors in the form that transformers reads too."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(plain, path, metadata={"format": "pt"})


def write_folder(folder: Path, fill: Fill, *, may_replace: Callable[[Path], bool]) -> None:
    """Make a folder by filling a temporary one beside it and renaming that.

    Args:
        folder: Where it shall be.
        fill: Writes the files into the folder it is given.
        may_replace: Whether an existing, non-empty folder may be replaced.

    Raises:
        UsageError: Something else is there.
        StorageError: It cannot be written.
    """
    folder = Path(os.path.abspath(folder))
    if folder.exists() and not (
        folder.is_dir() and (may_replace(folder) or not any(folder.iterdir()))
    ):
        raise UsageError(f"{folder} exists and holds something else", "give a new folder")
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name[:80]}-", dir=folder.parent))
        temporary.chmod(0o755)
        fill(temporary)
        for path in (*temporary.iterdir(), temporary):
            flush(path)
        if folder.exists():
            old = temporary.with_name(temporary.name + ".old")
            folder.rename(old)
            temporary.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.rename(folder)
        flush(folder.parent)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{folder} cannot be written ({error})", "is the disk full?") from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
