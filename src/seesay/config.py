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


def flat(data: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return nested data with paths for keys, as settings are told; tuples as lists."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{above}{key}.")
        else:
            found[above + key] = list(value) if isinstance(value, tuple) else value
    return found


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
    All are set together, so their order decides nothing, but that the last of two equals holds.

    Raises:
        UsageError: There is no such field, the nearest are named; or the value is not of its kind.
    """
    changes: Any = {}
    for setting in settings:
        path, equals, text = (part.strip() for part in setting.partition("="))
        if not equals:
            raise UsageError(f"{setting!r} sets nothing", "write it as path.to.field=value")
        *above, last = path.split(".")
        kind: Any = type(config)
        place = changes
        for key in above:
            parts = [k for k in _kinds(_hint(kind, key, path)) if dataclasses.is_dataclass(k)]
            if not parts:
                raise UsageError(f"there is no setting {path!r}: {key} has no parts")
            kind, place = parts[0], place.setdefault(key, {})
            if isinstance(place, _Value):
                raise UsageError(f"{path!r} is set, and {key!r} as a whole", "set one of them")
        place[last] = _Value(_read(_hint(kind, last, path), text, path))
    result: T = _changed(config, changes)
    return result


def checked(config: T) -> T:
    """Return a configuration whose values are of the kinds their fields say.

    Raises:
        UsageError: One is not; it is named.
    """
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        hint = get_type_hints(type(config))[field.name]
        if dataclasses.is_dataclass(value):
            checked(value)
        elif not any(_as(kind, value, str(value))[0] for kind in _kinds(hint)):
            raise UsageError(f"{field.name}={value!r} is not {_told(hint)}")
    return config


@dataclasses.dataclass
class _Value:
    """What a setting sets, beside dictionaries of settings of parts."""

    value: Any


def _hint(kind: Any, key: str, path: str) -> Any:
    names = [f.name for f in dataclasses.fields(kind)]
    if key not in names:
        raise UsageError(
            f"there is no setting {path!r}: {key!r} is none of {', '.join(names)}."
            f"{nearest(key, names) or _elsewhere(key, kind)}"
        )
    return get_type_hints(kind)[key]


def _elsewhere(key: str, kind: Any) -> str:
    """Say which parts have a field of this name."""
    hints = get_type_hints(kind).items()
    parts = [(n, k) for n, hint in hints for k in _kinds(hint) if dataclasses.is_dataclass(k)]
    found = [f"{n}.{key}" for n, k in parts if key in {f.name for f in dataclasses.fields(k)}]
    return f" Did you mean {', '.join(found)}?" if found else ""


def _changed(config: Any, changes: Mapping[str, Any]) -> Any:
    """Return a dataclass with changes, those of its parts included."""
    values = {}
    for key, change in changes.items():
        if isinstance(change, _Value):
            values[key] = change.value
            continue
        part = getattr(config, key)
        if part is None:
            kinds = _kinds(get_type_hints(type(config))[key])
            made: Any = next(kind for kind in kinds if dataclasses.is_dataclass(kind))
            part = made()
        values[key] = _changed(part, change)
    try:
        return dataclasses.replace(config, **values)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _kinds(hint: Any) -> list[Any]:
    """The kinds a field may be of, None first: its name is no text."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return sorted(kinds, key=lambda kind: kind is not type(None))


_WORDS = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    str: "a text",
    type(None): "none",
}


def _told(hint: Any) -> str:
    """What a field may hold, for people."""
    return " or ".join(_word(kind) for kind in reversed(_kinds(hint)))


def _word(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is not tuple:
        return _WORDS.get(kind) or str(getattr(kind, "__name__", kind))
    first, *others = get_args(kind)
    length = "" if Ellipsis in others else f" of {len(others) + 1}"
    return f"a list{length}, each {_told(first)}"


def _read(hint: Any, text: str, path: str) -> Any:
    """Return the value that a text stands for, of the kind that a field's annotation asks for."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    try:
        for kind in _kinds(hint):
            fits, read = _as(kind, value, text)
            if fits:
                return read
    except (CheckpointError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from None
    raise UsageError(f"{path}={text!r} is not {_told(hint)}")


def _as(kind: Any, value: Any, text: str) -> tuple[bool, Any]:
    """Whether a value is of a kind, and how it is held."""
    if get_origin(kind) is Literal:
        return value in get_args(kind), value
    if get_origin(kind) is tuple:
        if not isinstance(value, (list, tuple, str)):
            return False, value
        items = value if not isinstance(value, str) else text.split(",") if text else []
        inner = get_args(kind)
        kinds = [inner[0]] * len(items) if inner[-1] is Ellipsis else list(inner)
        if len(items) != len(kinds):
            return False, value
        read = [_as(k, i, str(i)) for k, i in zip(kinds, items, strict=True)]
        return all(good for good, _ in read), tuple(item for _, item in read)
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
