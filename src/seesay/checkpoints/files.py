"""Weight files to tensors. Nothing in a file is ever executed.

safetensors files are mapped, not read. Pickles go through torch's weights-only reader, TorchScript
archives through `archive.py`. Whatever goes wrong becomes one `CheckpointError` naming the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import threading
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from seesay.checkpoints.archive import is_torchscript, read_torchscript
from seesay.checkpoints.leftovers import stand_ins
from seesay.errors import CheckpointError

PICKLES = (".pt", ".pth", ".bin", ".ckpt")
SUFFIXES = (".safetensors", *PICKLES)

_reading = threading.Lock()
"""Held while a pickle is read: what torch's reader lets through is said for all threads."""


@dataclass(frozen=True)
class Source:
    """A checkpoint on disk: what the user named, and which of its files hold the weights.

    Attributes:
        path: The folder or file the user named.
        weights: The weight files, all of them; several when the checkpoint is sharded.
        usual: The processor settings of the released size that was asked for by name, for files
            that do not tell theirs; None when it was not.
    """

    path: Path
    weights: tuple[Path, ...] = ()
    usual: Mapping[str, Any] | None = None

    @property
    def folder(self) -> Path:
        """Where configuration and tokenizer lie."""
        return self.path if self.path.is_dir() else self.path.parent

    def json(self, name: str) -> dict[str, Any] | None:
        """Return the JSON object of this name beside the weights, or None when there is none.

        Raises:
            CheckpointError: The file is not a JSON object.
        """
        path = self.folder / name
        return read_json(path) if path.is_file() else None

    def using(self, names: Sequence[str]) -> Source | None:
        """Narrow a folder down to the first of these weight files it holds.

        A name may be a glob that matches one file; the name of a shard index stands for the
        shards it lists. A source that is one file stays as it is.

        Raises:
            CheckpointError: A shard is missing, or a glob matches several files.
        """
        if not self.path.is_dir():
            return replace(self, weights=(self.path,))
        for name in names:
            found = sorted(self.path.glob(name))
            if not found:
                continue
            if len(found) > 1:
                listed = ", ".join(path.name for path in found)
                raise CheckpointError(
                    f"{self.path} holds several weight files: {listed}", "name the one you mean"
                )
            if name.endswith(".index.json"):
                return replace(self, weights=tuple(_shards(found[0])))
            return replace(self, weights=(found[0],))
        return None

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors of all weight files, mapped where the format allows it."""
        merged: dict[str, Tensor] = {}
        for path in self.weights:
            tensors = read_tensors(path)
            twice = merged.keys() & tensors.keys()
            if twice:
                raise CheckpointError(f"{path}: {sorted(twice)[0]} is in another shard too")
            merged |= tensors
        return merged

    @cached_property
    def scripted(self) -> bool:
        """Whether the weights are a TorchScript archive."""
        return len(self.weights) == 1 and is_torchscript(self.weights[0])


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        CheckpointError: The file cannot be read or is not a JSON object.
    """
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON ({error})", "fetch it again") from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} is JSON, but not an object")
    return data


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON object for people to read."""
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of one weight file.

    Raises:
        CheckpointError: The file is empty, truncated, damaged, of a foreign format, or carries
            code.
    """
    try:
        if path.stat().st_size == 0:
            raise CheckpointError(f"{path} is empty", "fetch it again")
        with path.open("rb") as file:
            if file.read(24).startswith(b"version https://git-lfs"):
                raise CheckpointError(
                    f"{path} is a Git LFS pointer, not the weights", "git lfs pull"
                )
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from None
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in PICKLES:
        return _read_pickle(path)
    raise CheckpointError(
        f"{path} is of no known weight format", f"known endings: {', '.join(SUFFIXES)}"
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError, MemoryError) as error:
        raise CheckpointError(
            f"{path} is damaged or not a safetensors file ({error})", "fetch it again"
        ) from None


def _read_pickle(path: Path) -> dict[str, Tensor]:
    if is_torchscript(path):
        return read_torchscript(path)
    zipped = zipfile.is_zipfile(path)
    if zipped:
        _verify_zip(path)
    try:
        with _reading, torch.serialization.safe_globals(stand_ins(path)):
            data = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        told = asked[1] if asked else str(error).splitlines()[0][:200]
        raise CheckpointError(
            f"{path} holds more than tensors ({told}), and code in a checkpoint is never run",
            "ask its author for a safetensors file or a plain state dict",
        ) from None
    except Exception as error:  # a damaged pickle makes the reader raise almost anything
        raise CheckpointError(
            f"{path} is damaged or not a torch file ({type(error).__name__}: {error})",
            "fetch it again",
        ) from None
    return _state_dict(path, data)


def _state_dict(path: Path, data: Any) -> dict[str, Tensor]:
    """Take the tensors out of what trainers save around them."""
    for key in ("state_dict", "model"):
        if isinstance(data, Mapping) and isinstance(data.get(key), Mapping):
            data = data[key]
    if not isinstance(data, Mapping) or not data:
        raise CheckpointError(f"{path} holds {type(data).__name__}, not a state dict")
    tensors, most = {}, path.stat().st_size
    for name, value in data.items():
        if isinstance(value, (int, float)) and isinstance(name, str):
            value = torch.tensor(value)
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{path}: {name!r} is {type(value).__name__}, not a tensor")
        if value.layout != torch.strided or value.is_meta:
            raise CheckpointError(f"{path}: {name!r} is a tensor of another kind than weights are")
        # one number may stand for many, and memory that was never written for any
        if value.element_size() * value.numel() > most:
            raise CheckpointError(
                f"{path}: {name!r} of shape {list(value.shape)} takes more than the whole file",
                "fetch it again",
            )
        tensors[name] = value
    if all(name.startswith("module.") for name in tensors):  # saved from a parallel wrapper
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def _verify_zip(path: Path) -> None:
    """Check the checksums in a torch zip; the mapped reader would not."""
    try:
        with zipfile.ZipFile(path) as archive:
            packed = [info for info in archive.infolist() if info.compress_type]
            damaged = None if packed else archive.testzip()
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError) as error:
        raise CheckpointError(f"{path} is damaged ({error})", "fetch it again") from None
    if packed:
        raise CheckpointError(f"{path} is a compressed archive, which torch never writes")
    if damaged:
        raise CheckpointError(f"{path} is damaged at {damaged}", "fetch it again")


def _shards(index: Path) -> list[Path]:
    """Return the shards an index lists, after checking that they lie beside it."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index} has no weight_map", "fetch it again")
    names = sorted(set(map(str, weight_map.values())))
    for name in names:
        if Path(name).name != name:
            raise CheckpointError(f"{index} points outside its folder: {name!r}")
        if not (index.parent / name).is_file():
            raise CheckpointError(
                f"{index.parent} lacks the shard {name} that {index.name} lists", "fetch it"
            )
    return [index.parent / name for name in names]


def sha256(path: Path) -> str:
    """Return the hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_safetensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors, and what is said of them, in the form that transformers reads too."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    path.touch()
    mode = path.stat().st_mode  # what others may do with a new file; safetensors' is ours alone
    save_file(plain, path, metadata={"format": "pt", **(metadata or {})})
    path.chmod(mode)


def tensor_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return a hex digest of names, shapes, types and every bit of the values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}{list(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def flush(path: Path) -> None:
    """Force a file or folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
