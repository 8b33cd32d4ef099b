"""Frozen dataclasses to JSON and back; an unknown key is an error that names the nearest one."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from seesay.errors import CheckpointError, UsageError, nearest

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


def override(config: T, settings: Iterable[str]) -> T:
    """Return a configuration with some fields set anew, each told as "path.to.field=value".

    Values are read as JSON, and as plain text where that fails: `lr=1e-4`, `betas=[0.9,0.98]`,
    `lora=null`, `path=photos`. Setting a field of an optional part that is None makes the part.

    Raises:
        UsageError: There is no such field, the nearest are named; or the value is not of its kind.
    """
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"{setting!r} sets nothing", "write it as path.to.field=value")
        config = _set(config, path.strip(), path.strip().split("."), text)
    return config


def _set(config: Any, path: str, keys: list[str], text: str) -> Any:
    """Return a dataclass in which the field that `keys` lead to holds what `text` says."""
    names = [f.name for f in dataclasses.fields(config)]
    key, *rest = keys
    if key not in names:
        raise UsageError(
            f"there is no setting {path!r}: {key!r} is none of {', '.join(names)}."
            f"{nearest(key, names)}"
        )
    hint, value = get_type_hints(type(config))[key], getattr(config, key)
    if not rest:
        return _rebuilt(config, key, _read(hint, text, path))
    if value is None:
        parts = [k for k in get_args(hint) if isinstance(k, type) and dataclasses.is_dataclass(k)]
        value = parts[0]() if parts else None
    if not dataclasses.is_dataclass(value):
        raise UsageError(f"there is no setting {path!r}: {key} has no parts")
    return _rebuilt(config, key, _set(value, path, rest, text))


def _rebuilt(config: Any, key: str, value: Any) -> Any:
    try:
        return dataclasses.replace(config, **{key: value})
    except ValueError as error:
        raise UsageError(str(error)) from None


def _read(hint: Any, text: str, path: str) -> Any:
    """Return the value that a text stands for, of the kind that a field's annotation asks for."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    for kind in get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,):
        fits, read = _as(kind, value, text)
        if fits:
            return read
    told = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
    raise UsageError(f"{path}={text!r} is not {told.replace('typing.', '')}")


def _as(kind: Any, value: Any, text: str) -> tuple[bool, Any]:
    """Whether a value is of a kind, and how it is held."""
    if get_origin(kind) is Literal:
        return value in get_args(kind), value
    if get_origin(kind) is tuple:
        items = value if isinstance(value, list) else text.split(",") if text else []
        inner = get_args(kind)
        kinds = [inner[0]] * len(items) if inner[-1] is Ellipsis else list(inner)
        read = [_as(k, i, str(i)) for k, i in zip(kinds, items, strict=False)]
        fits = len(items) == len(kinds) and all(good for good, _ in read)
        return fits, tuple(item for _, item in read)
    if kind is type(None):
        return value is None or text.lower() == "none", None
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return True, from_dict(kind, value)  # type: ignore[arg-type]
    if kind is str:
        return True, value if isinstance(value, str) else text
    if kind is float:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        return fits, float(value) if fits else value
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool)), value
