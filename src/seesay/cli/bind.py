"""A task's request dataclass becomes a command; `cli.fields` says how each field is given.

The image is a positional argument: many of them, and folders, where the field says `each`. A text
that there must be takes the remaining arguments. Each combination is one request.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seesay.cli.fields import Field, fields_of, parameters, values
from seesay.cli.options import load_model, model_options, output_options
from seesay.cli.output import Progress, as_dict, note, print_json, report_failures
from seesay.errors import InputError, ItemsFailed, StorageError, UsageError
from seesay.family import resolve
from seesay.names import printable, shown
from seesay.regions import Regions
from seesay.registry import default_model, variant

if TYPE_CHECKING:
    from seesay.tasks.task import Task


EXPORTS = {
    "coco": ("seesay.regions.export:coco", "Write the regions to this COCO file."),
    "label_studio": (
        "seesay.regions.export:label_studio",
        "Write the regions to this file of Label Studio's tasks.",
    ),
}
"""What regions are written as besides: the option, its function, its line of help."""


def command(task: Task) -> click.Command:
    """Build the command of a task."""
    request, output = task.input_type(), task.output_type()
    fields = fields_of(request)
    # how texts are written comes after what there is to say
    ordered = sorted(fields, key=lambda field: field.nested is not None)
    params = [parameter for field in ordered for parameter in parameters(field)]
    about = [f"{field.name.upper()}: {field.help}" for field in fields if field.positional]
    drawable, writable = hasattr(output, "draw"), hasattr(output, "arrays")
    exports = EXPORTS if issubclass(output, Regions) else {}
    for name, (_, text) in exports.items():
        params.append(click.Option([f"--{name.replace('_', '-')}"], metavar="FILE", help=text))
    if task.prompted:
        text = "Pixels on a side, or HEIGHTxWIDTH, by models that take any; for larger pictures."
        params.append(click.Option(["--image-size"], callback=_side, metavar="N", help=text))
    if drawable:
        text = "Write the picture with the result drawn on it; a folder for several."
        params.append(click.Option(["--save-annotated"], help=text))
    if writable:
        text = "Write numbers and names to this .npz file, and print nothing."
        params.append(click.Option(["--out"], help=text))
    if task.batch_size is not None:
        text = f"How many go through the network together.  [default: {task.batch_size}]"
        params.append(
            click.Option(
                ["--batch-size"], type=click.IntRange(1), default=task.batch_size, help=text
            )
        )

    @partial(model_options, default=default_model(task.name))
    @output_options
    def callback(
        model: str | None,
        device: str,
        dtype: str,
        as_json: bool,
        quiet: bool,
        strict: bool,
        batch_size: int | None = None,
        save_annotated: str | None = None,
        out: str | None = None,
        image_size: tuple[int, int] | None = None,
        **given: Any,
    ) -> int:
        requests = _requests(request, fields, values(fields, given))
        if save_annotated:
            _check_picture_name(Path(save_annotated), len(requests))
        for target in (out, *(given[name] for name in exports)):
            if target:
                _check_folder(Path(target))
        switched = [name for name, value in given.items() if value is True]
        chosen = model or default_model(task.name, *switched)
        loaded = load_model(
            chosen, device, dtype, optimize=not task.gradients, image_size=image_size
        )
        loaded.require(task.name)
        if model is None and (limits := variant(chosen)[1].limits):
            note(f"{chosen}, the default, {limits}", quiet=quiet)
        with Progress(task.command, len(requests), quiet=quiet) as progress:
            together = {} if batch_size is None else {"batch_size": batch_size}
            served = task.runner()(loaded, requests, **together)
            results = list(progress.over(served))
        rows = [
            (request, result)
            for request, result in zip(requests, results, strict=True)
            if not isinstance(result, InputError)
        ]
        names = [field.name for field in fields if field.identifies]
        if save_annotated:
            _save_drawings(rows, Path(save_annotated), quiet)
        for name in exports:
            if given[name]:
                _save_document(EXPORTS[name][0], rows, Path(given[name]), quiet)
        if out:
            _save_arrays(output, rows, names, Path(out), quiet)
        elif as_json:
            print_json(_document(task.name, loaded.name, requests, results, names))
        else:
            for asked, result in rows:
                given_texts = [
                    shown(v) for v in _given(asked, names).values() if isinstance(v, str)
                ]
                click.echo("  ".join([*given_texts, result.show()]))
            _report_cut(rows, names, quiet)
        return _exit_code(results, quiet=quiet, strict=strict)

    help_text = "\n\n".join([task.summary, *about])
    built = click.command(name=task.command, help=help_text)(callback)
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


def _requests(request: type, fields: Sequence[Field], given: dict[str, Any]) -> list[Any]:
    """One request per combination of the fields that take many, the others repeated."""
    many = {field.name: field for field in fields if field.each}
    lists = {
        name: expand(_listed(given[name])) if field.is_image else list(given[name])
        for name, field in many.items()
        if given.get(name)
    }
    fixed = {name: value for name, value in given.items() if name not in many}
    about = [field.name for field in fields if field.identifies]
    if not any(name in given for name in about):
        raise UsageError(f"nothing to do: give {' or '.join(sorted(about))}")
    if lists and not any(many[name].required for name in lists) and len(many) > 1:
        # alternatives, as the images or texts of `embed`: one request each
        return [request(**fixed, **{name: v}) for name, items in lists.items() for v in items]
    combinations = itertools.product(*lists.values())
    return [
        request(**fixed, **dict(zip(lists, combined, strict=True))) for combined in combinations
    ]


def _listed(value: Any) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def _side(ctx: Any, param: Any, value: str | None) -> tuple[int, int] | None:
    """Read height and width of the pixels, or one number for both."""
    if value is None:
        return None
    try:
        sides = [int(part) for part in value.lower().split("x")]
        height, width = sides if len(sides) > 1 else sides * 2
    except ValueError:
        raise click.BadParameter(f"{value!r} is not N or HEIGHTxWIDTH", ctx, param) from None
    return height, width


def _document(
    task: str, model: str, requests: Sequence[Any], results: Sequence[Any], names: Sequence[str]
) -> dict[str, Any]:
    """Everything as data: `results` and `failed`, each item with the request it answers."""
    done: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for request, result in zip(requests, results, strict=True):
        if isinstance(result, InputError):
            failed.append({**_given(request, names), "error": result.what, "hint": result.hint})
        else:
            done.append({**_given(request, names), **as_dict(result)})
    return {"task": task, "model": model, "results": done, "failed": failed}


def _exit_code(results: Sequence[Any], *, quiet: bool, strict: bool) -> int:
    """Name what failed; 4 when that is everything, 3 when it counts."""
    failures = [result for result in results if isinstance(result, InputError)]
    report_failures(failures, quiet=quiet)
    if len(failures) == len(results):
        return InputError.exit_code
    return ItemsFailed.exit_code if failures and strict else 0


def _report_cut(rows: Sequence[tuple[Any, Any]], names: Sequence[str], quiet: bool) -> None:
    """Name on stderr what is not whole, which JSON tells in its place."""
    hint = "; --max-new-tokens lets more be written"
    ended: dict[bool, list[str]] = {False: [], True: []}
    for asked, result in rows:
        if getattr(result, "truncated", False):
            name = "  ".join(map(str, _given(asked, names).values()))
            ended[getattr(result, "finished", False)].append(name)
    for finished, cut in ended.items():
        what = "ended by itself, its last part incomplete" if finished else "cut off before the end"
        more = f" and {len(cut) - 3} more" if len(cut) > 3 else ""
        if cut:
            told = f"{what}: {', '.join(cut[:3])}{more}"
            note(told if finished else told + hint, quiet=quiet)


def _given(request: Any, names: Sequence[str]) -> dict[str, Any]:
    """What identifies a request in the output: its images and texts."""
    found = {name: getattr(request, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _check_picture_name(target: Path, count: int) -> None:
    """Refuse, before any work, a name under which so many drawings cannot be written."""
    from PIL import Image

    if not target.suffix or target.is_dir():
        return
    if target.suffix.lower() not in Image.registered_extensions():
        raise UsageError(f"{target} names no picture format", "end it in .png or .jpg")
    if count > 1:
        raise UsageError(f"{target} is one picture, and {count} are drawn", "name a folder")
    _check_folder(target)


def _check_folder(target: Path) -> None:
    """Refuse, before any work, a file in a folder that is not there.

    Raises:
        StorageError: There is no such folder, or the name is that of one.
    """
    if target.is_dir():
        raise StorageError(f"{target} is a folder", "name a file")
    if not target.parent.is_dir():
        raise StorageError(f"there is no folder {target.parent}", "make it first")


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


def _save_document(make: str, rows: Sequence[tuple[Any, Any]], target: Path, quiet: bool) -> None:
    """Write the regions of all results as a document of another program."""
    made = resolve(make)([result for _, result in rows], [printable(r.image) for r, _ in rows])
    target.write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", "utf-8")
    note(f"wrote {len(rows)} to {target}", quiet=quiet)


def _save_arrays(
    output: Any, rows: Sequence[tuple[Any, Any]], names: Sequence[str], target: Path, quiet: bool
) -> None:
    """Write the arrays of all results, and `names`, what they are of."""
    import numpy as np

    arrays = output.arrays([result for _, result in rows])
    of = [shown("  ".join(map(str, _given(request, names).values()))) for request, _ in rows]
    with target.open("wb") as file:
        np.savez(file, names=np.array(of), **arrays)
    note(f"wrote {len(rows)} to {target}", quiet=quiet)
