"""Frozen dataclasses to JSON and back; an unknown key is an error that names the nearest one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_type_hints

from seesay.errors import CheckpointError, nearest

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a dataclass instance as plain JSON data."""
    return dataclasses.asdict(config)


def from_dict(kind: type[T], data: Mapping[str, Any]) -> T:
    """Return an instance of the dataclass `kind`.

    Raises:
        CheckpointError: A key is unknown or a required one is missing.
    """
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in fields:
            raise CheckpointError(f"{kind.__name__} has no field {key!r}.{nearest(key, fields)}")
        if isinstance(value, Mapping):
            value = _nested(hints[key], value)
        elif isinstance(value, list):
            value = tuple(value)
        values[key] = value
    try:
        return kind(**values)
    except TypeError as error:
        raise CheckpointError(f"{kind.__name__}: {error}") from None


def _nested(hint: Any, data: Mapping[str, Any]) -> Any:
    """Read a field that is a dataclass, or the one of several dataclasses whose fields fit."""
    kinds = [kind for kind in get_args(hint) or (hint,) if dataclasses.is_dataclass(kind)]
    for kind in kinds:
        if data.keys() <= {f.name for f in dataclasses.fields(kind)}:
            return from_dict(kind, data)  # type: ignore[arg-type]
    return from_dict(kinds[0], data) if kinds else data  # type: ignore[arg-type]
