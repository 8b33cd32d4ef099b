"""`seesay index`: make the index of a folder of images, or bring it up to date."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seesay.cli.options import model_options, output_options
from seesay.cli.output import Progress, note, print_json
from seesay.errors import ItemsFailed, UsageError

if TYPE_CHECKING:
    from seesay.index import Collection, Report


@click.command(
    epilog="What is indexed already is not encoded again, also when it was renamed or moved, and "
    "a run that was killed is continued. Hidden folders and links to folders are not entered."
)
@click.argument("folders", nargs=-1, type=click.Path())
@click.option("--out", "-o", type=click.Path(), help="The index.  [default: DIR/.seesay]")
@click.option("--no-recursive", is_flag=True, help="Leave out the folders below.")
@click.option("--rehash", is_flag=True, help="Read every file again, whatever its time of change.")
@click.option("--overwrite", is_flag=True, help="Throw an existing index away and start anew.")
@model_options
@output_options
def index(
    folders: tuple[str, ...],
    out: str | None,
    no_recursive: bool,
    rehash: bool,
    overwrite: bool,
    model: str | None,
    device: str,
    dtype: str,
    as_json: bool,
    quiet: bool,
    strict: bool,
) -> int:
    """Make or update the index of the pictures in FOLDERS (or files).

    Without FOLDERS, those the index knows are looked through again.
    """
    from seesay.index import Collection
    from seesay.index.places import place_of, rebuilt
    from seesay.index.store import is_index
    from seesay.names import shown

    if out is None and len(folders) != 1:
        raise UsageError("which index?", "name it with --out, or give one folder")
    place = Path(out) if out is not None else place_of(folders[0])
    targets: list[str] | None = list(folders) or None
    options: dict[str, Any] = {"model": model, "recursive": not no_recursive, "rehash": rehash}
    if overwrite and is_index(place):
        if targets is None:
            targets = Collection.open(place).folders
        with rebuilt(place) as draft:
            fresh = Collection.open(draft, device=device, dtype=dtype)
            report = add(fresh, targets, quiet=quiet, **options)
        collection = Collection.open(place)
    else:
        collection = Collection.open(place, device=device, dtype=dtype)
        report = add(collection, targets, quiet=quiet, **options)
    for failure in report.failed:
        note(f"skipped {shown(failure.path)}: {failure.reason}", quiet=quiet)
    if as_json:
        print_json(as_document(collection, report))
    else:
        click.echo(f"{shown(str(collection.path))}: {len(collection)} pictures ({summary(report)})")
    return exit_code(report, strict=strict, quiet=quiet)


def add(collection: Collection, folders: Any, *, quiet: bool, **options: Any) -> Report:
    """Bring a collection up to date while showing progress."""
    bars: list[Progress] = []
    with ExitStack() as stack:

        def advance(progress: Any) -> None:
            if not bars and progress.total:
                bars.append(stack.enter_context(Progress("index", progress.total, quiet=quiet)))
            for bar in bars:
                bar.advance(progress.done - bar.done, progress.failed - bar.skipped)

        return collection.add(folders, progress=advance, **options)


def summary(report: Report) -> str:
    """Say what changed, in words."""
    names = ("added", "changed", "renamed", "removed", "unchanged")
    parts = [f"{getattr(report, name)} {name}" for name in names if getattr(report, name)]
    parts += [f"{len(report.failed)} skipped"] if report.failed else []
    return ", ".join(parts) or "nothing there"


def as_document(collection: Collection, report: Report) -> dict[str, Any]:
    """Say what changed, as data."""
    from seesay.names import uri

    counts = ("added", "changed", "renamed", "removed", "unchanged", "encoded")
    return {
        "index": str(collection.path),
        "model": collection.model.name if collection.model else None,
        "pictures": len(collection),
        **{name: getattr(report, name) for name in counts},
        "failed": [
            {"path": failure.path, "uri": uri(failure.path), "reason": failure.reason}
            for failure in report.failed
        ],
    }


def exit_code(report: Report, *, strict: bool, quiet: bool) -> int:
    """Return 3 when something was skipped and that shall count."""
    if report.failed and strict:
        note(f"seesay: skipped: {len(report.failed)}", quiet=quiet)
        return ItemsFailed.exit_code
    return 0
