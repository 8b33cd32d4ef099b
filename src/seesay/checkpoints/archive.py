"""Tensors out of a TorchScript archive, without running the program it carries.

Such an archive is a zip with a pickle of the module tree (`data.pkl`), one file per storage
(`data/0`, `data/1` ...) and the program's source (`code/`). torch would compile the program; here
only the pickle is read, by an unpickler that knows how to make a tensor and nothing else.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seesay.errors import CheckpointError

_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def is_torchscript(path: Path) -> bool:
    """Whether the file is a zip with a program in it."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.split("/", 1)[-1] == "constants.pkl" for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a TorchScript archive by their state dict names.

    Raises:
        CheckpointError: The archive is damaged, or its pickle asks for anything but tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            root = names[0].split("/", 1)[0]
            for info in archive.infolist():  # torch packs the program, and never the tensors
                if info.compress_type and info.filename.startswith(f"{root}/data"):
                    raise CheckpointError(f"{path}: {info.filename} is compressed")
            order = f"{root}/byteorder"
            if order in names and archive.read(order).strip() != b"little":
                raise CheckpointError(f"{path} was written on a big-endian machine")
            tensors: dict[str, Tensor] = {}
            _walk(_Unpickler(archive, root, path).load(), "", tensors)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged pickle makes the reader raise almost anything
        raise CheckpointError(
            f"{path} is damaged or not a TorchScript archive ({type(error).__name__}: {error})",
            "fetch it again",
        ) from None
    return tensors


class _Scripted:
    """Stands in for a scripted module: only its attributes matter."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


class _Unpickler(pickle.Unpickler):
    """Knows scripted modules, tensors, and lists of plain values; refuses everything else."""

    def __init__(self, archive: zipfile.ZipFile, root: str, path: Path) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self.archive, self.root, self.path = archive, root, path
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return type(name, (_Scripted,), {})
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
            ("collections", "OrderedDict"): OrderedDict,
            ("torch.jit._pickle", "restore_type_tag"): lambda value, _: value,
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch.jit._pickle" and name.startswith("build_") and name.endswith("list"):
            return list
        raise CheckpointError(
            f"{self.path} asks for {module}.{name}, and code in a checkpoint is never run",
            "ask its author for a safetensors file or a plain state dict",
        )

    def persistent_load(self, pid: Any) -> Tensor:
        kind, dtype, key, _device, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise CheckpointError(f"{self.path} holds a persistent {kind!r}, not a storage")
        if key not in self.storages:
            data = bytearray(self.archive.read(f"{self.root}/data/{key}"))
            if len(data) != count * dtype.itemsize:
                raise CheckpointError(f"{self.path}: storage {key} has {len(data)} bytes")
            empty = torch.empty(0, dtype=dtype)
            self.storages[key] = torch.frombuffer(data, dtype=dtype) if data else empty
        return self.storages[key]


def _rebuild(
    storage: Tensor, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Tensor:
    last = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    if offset < 0 or min(stride, default=0) < 0 or (0 not in shape and last >= len(storage)):
        raise ValueError("a tensor reaches past the end of its storage")
    return storage.as_strided(shape, stride, offset)


def _walk(node: Any, prefix: str, tensors: dict[str, Tensor]) -> None:
    """Collect tensors by the path of attributes that leads to them."""
    for name, value in vars(node).items():
        if isinstance(value, Tensor):
            tensors[prefix + name] = value
        elif isinstance(value, _Scripted):
            _walk(value, f"{prefix}{name}.", tensors)
