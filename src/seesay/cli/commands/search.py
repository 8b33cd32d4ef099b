"""`seesay search`: find images by words, by image, or by both."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seesay.cli.commands.index import add, exit_code
from seesay.cli.options import complete_model, model_options, output_options
from seesay.cli.output import Progress, note, print_json, report_failures
from seesay.errors import InputError, ItemsFailed, UsageError

if TYPE_CHECKING:
    from seesay.index import Collection, DuplicateGroup, Hit

GRAMMAR = """\b
A query is words, or terms with signs and weights:
  seesay search photos a red bicycle
  seesay search photos "beach + sunset - people"
  seesay search photos "2:dog + cat"
  seesay search photos "./holiday.jpg + at night"      a term that ends like a file is a picture
  seesay search photos '"salt + pepper"'               quoted, signs are text
  seesay search photos -- "- dogs"                     after --, a query may begin with a minus

WHERE is an index, or a folder of pictures, which is indexed first (into DIR/.seesay)."""

RERANK = "Put the first in order by a model that looks at picture and text together."


@click.command(epilog=GRAMMAR)
@click.argument("where", type=click.Path())
@click.argument("words", nargs=-1)
@click.option("--image", "-i", type=click.Path(), help="An image to look for, beside the words.")
@click.option("-k", "count", default=10, show_default=True, help="How many results.")
@click.option("--files", "-f", is_flag=True, help="Print paths alone.")
@click.option("--print0", "-0", is_flag=True, help="Paths alone, each ended by a zero byte.")
@click.option("--preview", "-p", is_flag=True, help="Draw the results in the terminal.")
@click.option("--html", type=click.Path(), help="Write a page with thumbnails.")
@click.option("--duplicates", is_flag=True, help="List pictures that look almost the same.")
@click.option("--threshold", default=0.97, show_default=True, help="How alike duplicates are.")
@click.option("--rerank", metavar="MODEL", shell_complete=complete_model, help=RERANK)
@click.option(
    "--top", default=100, show_default=True, help="How many of them --rerank judges; at least -k."
)
@click.option("--no-update", "-n", is_flag=True, help="Do not look for changes in the folder.")
@model_options
@output_options
def search(
    where: str,
    words: tuple[str, ...],
    image: str | None,
    count: int,
    files: bool,
    print0: bool,
    preview: bool,
    html: str | None,
    duplicates: bool,
    threshold: float,
    rerank: str | None,
    top: int,
    no_update: bool,
    model: str | None,
    device: str,
    dtype: str,
    as_json: bool,
    quiet: bool,
    strict: bool,
) -> int:
    """Find the pictures in WHERE that show what the WORDS say."""
    query = " ".join(words) or None
    if not duplicates and query is None and image is None:
        raise UsageError("there is nothing to search for", "give words, --image, or both")
    collection, code = _open(where, model, device, dtype, no_update, quiet, strict)
    if duplicates:
        _print_duplicates(collection, threshold, files, print0, html, as_json, quiet)
        return code
    errors: list[InputError] = []
    how: dict[str, Any] = {"image": image, "model": model}
    if rerank is None:
        hits = collection.search(query, count, **how)
    else:
        with Progress("judge", min(max(count, top), len(collection)), quiet=quiet) as progress:
            hits = collection.search(
                query, count, **how, rerank=rerank, top=top, errors=errors,
                judged=lambda _: progress.advance(),
            )  # fmt: skip
    report_failures(errors, quiet=quiet)
    if errors and strict:
        code = code or ItemsFailed.exit_code
    title = " + ".join(part for part in (query, image) if part)
    if html:
        _write_page(Path(html), title, collection, hits)
        note(f"wrote {html}", quiet=quiet)
    if as_json:
        print_json(_document(collection, hits, query, image, rerank, errors))
    elif files or print0:
        _print_paths((hit.path for hit in hits), "\0" if print0 else "\n")
    elif preview:
        _print_previews(hits)
    else:
        _print_table(hits)
    return code


def _open(
    where: str, model: str | None, device: str, dtype: str, no_update: bool, quiet: bool,
    strict: bool,
) -> tuple[Collection, int]:  # fmt: skip
    """Open an index, or the index of a folder after bringing it up to date."""
    from seesay.index import Collection
    from seesay.index.places import place_of
    from seesay.index.store import is_index

    if is_index(Path(where)):
        return Collection.open(where, device=device, dtype=dtype), 0
    if not os.path.isdir(where):
        raise UsageError(f"there is no index and no folder {where}")
    collection = Collection.open(place_of(where), device=device, dtype=dtype)
    if no_update and collection.exists:
        return collection, 0
    report = add(collection, where, quiet=quiet, model=model)
    if report.failed:
        hint = f"seesay index {where} names them"
        note(f"not readable as pictures: {len(report.failed)} ({hint})", quiet=quiet)
    if not len(collection):
        note(f"there are no pictures in {where}", quiet=quiet)
    return collection, exit_code(report, strict=strict, quiet=quiet)


def _document(
    collection: Collection, hits: Sequence[Hit], query: str | None, image: str | None,
    rerank: str | None, errors: Sequence[InputError],
) -> dict[str, Any]:  # fmt: skip
    from seesay.names import uri

    judged = {"rerank": rerank, "failed": [e.what for e in errors]} if rerank else {}
    return {
        "index": str(collection.path),
        "model": collection.model.name if collection.model else None,
        "pictures": len(collection),
        "query": query,
        "image": image,
        **judged,
        "results": [
            {
                "rank": hit.rank,
                "score": hit.score,
                "path": hit.path,
                "uri": uri(hit.path),
                "width": hit.size[0],
                "height": hit.size[1],
                **({} if hit.cosine is None else {"cosine": hit.cosine}),
            }
            for hit in hits
        ],
    }


def _print_paths(paths: Any, end: str) -> None:
    """Print paths as the bytes they are."""
    sys.stdout.flush()
    for path in paths:
        sys.stdout.buffer.write(os.fsencode(path) + end.encode())
    sys.stdout.buffer.flush()


def _print_table(hits: Sequence[Hit]) -> None:
    for hit in hits:
        click.echo(f"{hit.rank:>3}  {hit.score:.3f}  {_near(hit.path)}")


def _near(path: str) -> str:
    """Return a path as seen from here, on one line of valid text."""
    from seesay.index.items import relative
    from seesay.names import shown

    return shown(relative(path, os.getcwd()))


def _print_previews(hits: Sequence[Hit]) -> None:
    from rich.console import Console

    from seesay.index.thumbnails import half_blocks, thumbnail

    console = Console()
    for hit in hits:
        small = thumbnail(hit.path, 160)
        console.print(f"{hit.rank:>3}  {hit.score:.3f}  {_near(hit.path)}", markup=False)
        if small is not None:
            console.print(half_blocks(small, min(40, console.width)))


def _write_page(path: Path, title: str, collection: Collection, hits: Sequence[Hit]) -> None:
    from seesay.index.report_html import Card, Section, write_page

    about = f"{len(hits)} of {len(collection)} pictures, by {collection.model.name}"  # type: ignore[union-attr]
    cards = [Card(hit.path, hit.score, f"#{hit.rank}", hit.size) for hit in hits]
    write_page(path, title, about, [Section("", cards)])


def _print_duplicates(
    collection: Collection, threshold: float, files: bool, print0: bool, html: str | None,
    as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """List groups; with -f all but the first of each, which are what one might delete."""
    groups = collection.duplicates(threshold)
    if html:
        _write_duplicates(Path(html), groups, threshold)
        note(f"wrote {html}", quiet=quiet)
    if as_json:
        from seesay.names import uri

        listed = [
            [
                {"path": path, "uri": uri(path), "score": score}
                for path, score in zip(group.paths, group.scores, strict=True)
            ]
            for group in groups
        ]
        print_json({"index": str(collection.path), "threshold": threshold, "groups": listed})
    elif files or print0:
        spare = (path for group in groups for path in group.paths[1:])
        _print_paths(spare, "\0" if print0 else "\n")
    else:
        for group in groups:
            for path, score in zip(group.paths, group.scores, strict=True):
                click.echo(f"{score:.3f}  {_near(path)}")
            click.echo()
        note(f"groups: {len(groups)}", quiet=quiet)


def _write_duplicates(path: Path, groups: Sequence[DuplicateGroup], threshold: float) -> None:
    from seesay.index.report_html import Card, Section, write_page

    sections = []
    for number, group in enumerate(groups, 1):
        cards = [
            Card(path, score, "first" if i == 0 else "")
            for i, (path, score) in enumerate(zip(group.paths, group.scores, strict=True))
        ]
        sections.append(Section(f"Group {number}", cards))
    write_page(path, "Near duplicates", f"similarity of at least {threshold}", sections)
