"""A task's request dataclass becomes a command. The only place that turns fields into options.

Rules: the image is a positional argument (many of them, and folders, where the field says `each` or
is optional); a required text that says `each` takes the remaining arguments; every other field is
an option named after it, and a tuple of strings is given with commas.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import click

from seesay.cli.options import load_model, model_options, output_options
from seesay.cli.output import Progress, as_dict, note, print_json, report_failures
from seesay.errors import InputError, ItemsFailed, UsageError
from seesay.names import shown
from seesay.types import ImageInput

if TYPE_CHECKING:
    from seesay.tasks.task import Task


def command(task: Task) -> click.Command:
    """Build the command of a task."""
    request = task.input_type()
    hints = get_type_hints(request)
    params: list[click.Parameter] = []
    many: set[str] = set()
    about: list[str] = []
    for field in dataclasses.fields(request):
        required = field.default is dataclasses.MISSING
        kinds = set(get_args(hints[field.name])) or {hints[field.name]}
        text = field.metadata.get("help", "")
        if ImageInput in kinds or (required and field.metadata.get("each")):
            several = bool(field.metadata.get("each")) or not required
            many |= {field.name} if several else set()
            params.append(
                click.Argument([field.name], nargs=-1 if several else 1, required=required)
            )
            about.append(f"{field.name.upper()}: {text}")
        elif tuple in {getattr(hints[field.name], "__origin__", None)}:
            params.append(_option(field.name, text, required=required, commas=True))
        else:
            several = not required and field.name == "text"
            many |= {field.name} if several else set()
            params.append(_option(field.name, text, required=required, multiple=several))
    drawable = hasattr(task.output_type(), "draw")
    if drawable:
        text = "Write the picture with the result drawn on it; a folder for several."
        params.append(_option("save_annotated", text))
    if "vector" in {field.name for field in dataclasses.fields(task.output_type())}:
        text = "Write vectors and names to this .npz file, and print nothing."
        params.append(_option("out", text))

    @model_options
    @output_options
    def callback(
        model: str | None,
        device: str,
        dtype: str,
        as_json: bool,
        quiet: bool,
        strict: bool,
        save_annotated: str | None = None,
        out: str | None = None,
        **fields: Any,
    ) -> int:
        requests = _requests(request, fields, many)
        if save_annotated:
            _check_picture_name(Path(save_annotated))
        loaded = load_model(model, device, dtype, optimize=not drawable)
        results = []
        with Progress(task.name, len(requests), quiet=quiet) as progress:
            results = list(progress.over(task.runner()(loaded, requests)))
        rows = [
            (request, result)
            for request, result in zip(requests, results, strict=True)
            if not isinstance(result, InputError)
        ]
        if save_annotated:
            _save_drawings(rows, Path(save_annotated), quiet)
        if out:
            _save_vectors(rows, Path(out), quiet)
        elif as_json:
            print_json(_document(task.name, loaded.name, requests, results))
        else:
            for asked, result in rows:
                given = [shown(str(v)) for v in _given(asked).values() if isinstance(v, str)]
                click.echo("  ".join([*given, result.show()]))
        return _exit_code(results, quiet=quiet, strict=strict)

    built = click.command(name=task.name, help="\n\n".join([task.summary, *about]))(callback)
    built.params = params + built.params
    return built


def expand(paths: Sequence[str]) -> list[str]:
    """Replace folders by the images below them, in sorted order.

    Raises:
        UsageError: A folder holds no images.
    """
    from seesay.processing.folder import walk

    found: list[str] = []
    for path in paths:
        if not Path(path).is_dir():
            found.append(path)
            continue
        inside = [str(p) for p in walk(path)]
        if not inside:
            raise UsageError(f"{path} holds no images")
        found += inside
    return found


def _option(
    name: str, text: str, *, required: bool = False, multiple: bool = False, commas: bool = False
) -> click.Option:
    flag = f"--{name.replace('_', '-')}"
    if commas:
        return click.Option([flag], help=text, required=required, callback=_split, metavar="A,B,C")
    return click.Option([flag], help=text, required=required, multiple=multiple)


def _split(_ctx: Any, _param: Any, value: str | None) -> tuple[str, ...] | None:
    """Cut at commas, Chinese ones too."""
    if value is None:
        return None
    return tuple(part.strip() for part in value.replace("，", ",").split(",") if part.strip())


def _requests(request: type, fields: dict[str, Any], many: set[str]) -> list[Any]:
    """One request per value of the fields that take many, the others repeated."""
    lists = {
        name: expand(fields[name]) if name == "image" else list(fields[name])
        for name in fields
        if name in many
    }
    fixed = {name: value for name, value in fields.items() if name not in many}
    given = {name: values for name, values in lists.items() if values}
    optional = {f.name for f in dataclasses.fields(request) if f.default is None}
    if given and set(given) <= optional:
        # alternatives, as the images or texts of `embed`: one request each
        return [request(**{name: v}) for name, values in given.items() for v in values]
    if not given and many:
        raise UsageError(f"nothing to do: give {' or '.join(sorted(many))}")
    combinations = itertools.product(*given.values())
    return [request(**fixed, **dict(zip(given, values, strict=True))) for values in combinations]


def _document(
    task: str, model: str, requests: Sequence[Any], results: Sequence[Any]
) -> dict[str, Any]:
    """Everything as data: `results` and `failed`, each item with the request it answers."""
    done: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for request, result in zip(requests, results, strict=True):
        if isinstance(result, InputError):
            failed.append({**_given(request), "error": result.what, "hint": result.hint})
        else:
            done.append({**_given(request), **as_dict(result)})
    return {"task": task, "model": model, "results": done, "failed": failed}


def _exit_code(results: Sequence[Any], *, quiet: bool, strict: bool) -> int:
    """Name what failed; 4 when that is everything, 3 when it counts."""
    failures = [result for result in results if isinstance(result, InputError)]
    report_failures(failures, quiet=quiet)
    if len(failures) == len(results):
        return InputError.exit_code
    return ItemsFailed.exit_code if failures and strict else 0


def _given(request: Any) -> dict[str, Any]:
    """What identifies a request in the output: its image and text."""
    values = {name: getattr(request, name, None) for name in ("image", "text")}
    return {name: value for name, value in values.items() if value is not None}


def _check_picture_name(target: Path) -> None:
    """Refuse, before any work, a name that says no format a picture can be written in."""
    from PIL import Image

    if target.suffix and target.suffix.lower() not in Image.registered_extensions():
        raise UsageError(f"{target} names no picture format", "end it in .png or .jpg")


def _save_drawings(rows: Sequence[tuple[Any, Any]], target: Path, quiet: bool) -> None:
    """One drawing goes to the file named, several into a folder of that name."""
    if len(rows) == 1 and target.suffix:
        rows[0][1].draw().save(target)
        note(f"wrote {target}", quiet=quiet)
        return
    target.mkdir(parents=True, exist_ok=True)
    for i, (request, result) in enumerate(rows):
        result.draw().save(target / f"{i:04}-{Path(request.image).stem[:80]}.png")
    note(f"wrote {len(rows)} pictures to {target}", quiet=quiet)


def _save_vectors(rows: Sequence[tuple[Any, Any]], target: Path, quiet: bool) -> None:
    """Write `vectors`, float32 [N, E], and `names`, their images or texts."""
    import numpy as np

    vectors = np.array([result.vector for _, result in rows], np.float32)
    names = np.array([shown(str(next(iter(_given(request).values())))) for request, _ in rows])
    with target.open("wb") as file:
        np.savez(file, vectors=vectors, names=names)
    note(f"wrote {len(rows)} vectors to {target}", quiet=quiet)
