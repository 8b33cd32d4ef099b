"""What training leaves in a pickle beside the weights: settings, paths, scores.

torch's weights-only reader refuses a file for them. Here each of their classes gets a stand-in that
is nothing but an empty dictionary, so that the file can be read on; the classes themselves are
neither imported nor called. Names of Python's own library that are not harmless, and of torch, get
none: a file that asks for them wants to run something, and is refused.
"""

from __future__ import annotations

import sys
import zipfile
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

_HARMLESS = {
    "argparse.Namespace",
    "collections.defaultdict",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    "typing.Any",
    *(f"builtins.{kind}" for kind in ("bool", "dict", "float", "int", "list", "str", "tuple")),
}
"""Names of Python's own library that settings are made of."""


class _Scalar:
    """Stands in for what is given its state as a tuple: numpy's kinds of numbers."""

    def __new__(cls, *_: Any) -> _Scalar:
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


_OLD = (*_HARMLESS, "yacs.config.CfgNode")
"""What has a stand-in in files older than torch 1.6, which do not tell what they ask for."""
_MOST = 256
"""How many classes a file may ask for: torch's reader takes the square of it, and files of training
ask for a few."""
_SCALARS = ("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")


def stand_ins(path: Path) -> list[Any]:
    """Return stand-ins for the classes a file asks for, for `torch.serialization.safe_globals`.

    Raises:
        UnpicklingError: The file is not written as torch writes, or asks for more classes than any.
    """
    asked: Iterable[str] = _OLD
    if zipfile.is_zipfile(path):
        asked = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    names = list(asked)
    if len(names) > _MOST:
        raise UnpicklingError(f"{len(names)} classes")
    return [(_stand_in(name), name) for name in names if _may_be_ignored(name)]


def _may_be_ignored(name: str) -> bool:
    """Whether it is a class of a package, of the script that trained, or known to be harmless."""
    root = name.split(".")[0]
    foreign = root not in sys.stdlib_module_names and root not in ("torch", "numpy")
    return foreign or name in _HARMLESS or name in _SCALARS


def _stand_in(name: str) -> type:
    if name in _SCALARS:
        return _Scalar
    return type("Ignored", (), {"__new__": lambda cls, *_, **__: OrderedDict()})
