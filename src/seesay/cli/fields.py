"""A field of a request becomes a parameter of a command. The only place that knows types of both.

| field | parameter |
|---|---|
| an image; a required text | positional; many where the field says `each` |
| a text, a number | an option that is named after it |
| true or false | a switch: --early or --no-early |
| a tuple of texts | an option with commas, that may come again; and one that names a file |
| boxes, a grid | an option x1,y1,x2,y2 that may come again, and one as 3x2: see `WRITTEN` |
| a mapping whose metadata names `options` | the options of that dataclass |
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

from seesay.errors import InputError, UsageError
from seesay.family import resolve
from seesay.regions import Box
from seesay.tasks.tiles import Grid
from seesay.types import ImageInput

NUMBERS = {int: "N", float: "X"}
WRITTEN: dict[Any, tuple[str, str, type]] = {
    Box: ("X1,Y1,X2,Y2", ",", float),
    Grid: ("ROWSxCOLUMNS", "x", int),
}
"""Records of numbers: how they are written, what stands between the numbers, and their type."""


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a request, as far as a command line needs to know it.

    Attributes:
        name: Its name.
        kinds: The types it may have, those inside tuples included, without None.
        listed: Whether it is a tuple.
        required: Whether it has no default.
        each: Whether many may be given, each of which makes a request.
        folder: Whether they are the images of one folder, not several arguments.
        leading: Whether it stands without a name though there need not be one.
        default: What it is when it is not given.
        help: Its documentation.
        nested: The dataclass whose fields it may set, for a mapping.
    """

    name: str
    kinds: frozenset[Any]
    listed: bool
    required: bool
    each: bool
    folder: bool
    leading: bool
    default: Any
    help: str
    nested: str | None

    @property
    def is_image(self) -> bool:
        """Whether it takes images."""
        return ImageInput in self.kinds

    @property
    def positional(self) -> bool:
        """Whether it stands without a name: images, and texts that there must be."""
        text = self.required and not self.listed and str in self.kinds
        return self.is_image or self.leading or text

    @property
    def record(self) -> Any:
        """The type of `WRITTEN` it is of, or None."""
        return next((kind for kind in WRITTEN if kind in self.kinds), None)

    @property
    def identifies(self) -> bool:
        """Whether it says what a request is about, so that results repeat it."""
        return self.positional or self.name == "text"


def fields_of(request: type) -> list[Field]:
    """Read the fields of a dataclass."""
    hints = get_type_hints(request)
    found = []
    for field in dataclasses.fields(request):
        kinds, listed = _kinds(hints[field.name])
        required = field.default is dataclasses.MISSING
        required &= field.default_factory is dataclasses.MISSING
        found.append(
            Field(
                field.name,
                kinds,
                listed and ImageInput not in kinds,
                required,
                bool(field.metadata.get("each")),
                field.metadata.get("each") == "folder",
                bool(field.metadata.get("positional")),
                None if field.default is dataclasses.MISSING else field.default,
                field.metadata.get("help", ""),
                field.metadata.get("options"),
            )
        )
    return found


def parameters(field: Field) -> list[click.Parameter]:
    """Return the parameters of a command that fill a field."""
    if field.positional:
        nargs = -1 if field.each and not field.folder else 1
        return [click.Argument([field.name], nargs=nargs, required=field.required)]
    if field.nested:
        # what holds of those that are not given, the model's family decides
        inner = [dataclasses.replace(f, default=None) for f in fields_of(resolve(field.nested))]
        return [made for one in inner for made in parameters(one)]
    flag, kinds = f"--{field.name.replace('_', '-')}", field.kinds
    if kinds == {bool}:
        off = f"{flag}/--no-{flag[2:]}"
        return [click.Option([off, field.name], default=None, help=field.help)]
    if field.record:
        reads, metavar = _record(field.record), WRITTEN[field.record][0]
        how: dict[str, Any] = {"multiple": field.listed, "metavar": metavar, "callback": reads}
        return [click.Option([flag], help=field.help, **how)]
    if field.listed:
        reads = _split(int if int in kinds else str)
        how = {"multiple": True, "callback": reads, "metavar": "A,B,C"}
        made = [click.Option([flag], help=field.help, **how)]
        if str in kinds:
            text = f"A file with one of {flag} on each line; or a .json list."
            made.append(click.Option([f"{flag}-file"], type=click.Path(), help=text))
        return list(made)
    choices = {str(kind).lower(): kind for kind in kinds if not isinstance(kind, type)}
    if choices:
        reads = _choice(choices)
        kind: Any = click.Choice(sorted(choices))
        return [click.Option([flag], type=kind, help=field.help, callback=reads)]
    number = next((kind for kind in (float, int) if kind in kinds), None)
    default = "" if field.default is None else f"  [default: {field.default}]"
    return [
        click.Option(
            [flag],
            type=number,
            metavar=NUMBERS.get(number) if number else None,
            help=field.help + default,
            required=field.required,
            multiple=field.each,
        )
    ]


def values(fields: Sequence[Field], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given for each field; fields that were not spoken of are left out.

    Raises:
        UsageError: A list that there must be is missing, or one is told twice or empty.
        InputError: A file with a list cannot be read.
    """
    found: dict[str, Any] = {}
    for field in fields:
        if field.nested:
            inner = fields_of(resolve(field.nested))
            found[field.name] = values(inner, given)
            continue
        value = given.get(field.name)
        file = given.get(f"{field.name}_file")
        flag = f"--{field.name.replace('_', '-')}"
        if file is not None:
            if value is not None:
                raise UsageError(f"{flag} and {flag}-file are given", "give one of the two")
            value = lines_of(file)
        if value == () and field.listed and not field.record:
            raise UsageError(f"{flag} lists nothing", f"{flag} a,b,c")
        if value is not None and value != ():
            found[field.name] = value
        elif field.listed and field.required:
            told = WRITTEN[field.record][0].lower() if field.record else "a,b,c"
            more = "" if field.record else f", or {flag}-file FILE"
            raise UsageError(f"{flag} is missing", f"{flag} {told}{more}")
    return found


def lines_of(path: str) -> tuple[str, ...]:
    """Return the texts in a file: its lines that are not empty, or a JSON list.

    Raises:
        InputError: It cannot be read, or holds something else.
    """
    try:
        text = Path(path).read_text("utf-8-sig")
        found = json.loads(text) if path.endswith(".json") else text.splitlines()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not valid"
        raise InputError(f"{path} cannot be read: {reason}") from None
    if not isinstance(found, list) or not all(isinstance(line, str) for line in found):
        raise InputError(f"{path} holds no list of texts", 'write ["yes", "no"], or one a line')
    return tuple(line.strip() for line in found if line.strip())


def _kinds(hint: Any) -> tuple[frozenset[Any], bool]:
    """The types and literal values inside a hint, without None; and whether one is a tuple."""
    if get_origin(hint) is Literal:
        return frozenset(get_args(hint)), False
    if get_origin(hint) is tuple:
        return _kinds(get_args(hint)[0])[0], True
    inside = [_kinds(part) for part in get_args(hint)] if hint is not Ellipsis else []
    if not inside:
        return frozenset({hint} - {type(None)}), False
    return frozenset().union(*(kinds for kinds, _ in inside)), any(many for _, many in inside)


def _split(kind: type) -> Any:
    """A callback that cuts at commas, Chinese ones too; an option that comes again adds more."""

    def read(ctx: Any, param: Any, given: tuple[str, ...]) -> tuple[Any, ...] | None:
        if not given:
            return None
        told = ",".join(given)
        parts = (part.strip() for part in told.replace("，", ",").split(","))
        try:
            return tuple(kind(part) for part in parts if part)
        except ValueError:
            raise click.BadParameter(f"{told!r} is no list of whole numbers", ctx, param) from None

    return read


def _record(kind: Any) -> Any:
    """A callback that reads a record of numbers, or each of several."""
    metavar, between, number = WRITTEN[kind]

    def one(ctx: Any, param: Any, value: str) -> Any:
        parts = value.replace("，", ",").lower().split(between)
        try:
            return kind(*(number(part) for part in parts))
        except (TypeError, ValueError):
            said = f"{value!r} is not {metavar.lower()}"
            raise click.BadParameter(said, ctx, param) from None

    def read(ctx: Any, param: Any, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return tuple(one(ctx, param, part) for part in value)
        return None if value is None else one(ctx, param, value)

    return read


def _choice(choices: Mapping[str, Any]) -> Any:
    return lambda _ctx, _param, value: None if value is None else choices[value]
