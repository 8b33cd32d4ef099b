"""Searchable collections of pictures: `Collection` is the door, the rest is behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seesay.index.clip_retrieval import read_clip_retrieval, write_clip_retrieval
    from seesay.index.collection import Collection
    from seesay.index.duplicates import DuplicateGroup
    from seesay.index.items import Hit
    from seesay.index.update import Failure, Progress, Report

__all__ = [
    "Collection",
    "DuplicateGroup",
    "Failure",
    "Hit",
    "Progress",
    "Report",
    "read_clip_retrieval",
    "write_clip_retrieval",
]

_LAZY = {
    "Collection": "collection",
    "DuplicateGroup": "duplicates",
    "Failure": "update",
    "Hit": "items",
    "Progress": "update",
    "Report": "update",
    "read_clip_retrieval": "clip_retrieval",
    "write_clip_retrieval": "clip_retrieval",
}


def __getattr__(name: str) -> Any:
    # walking a folder, as every command does, must not cost an import of torch
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"seesay.index.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'seesay.index' has no attribute {name!r}")
