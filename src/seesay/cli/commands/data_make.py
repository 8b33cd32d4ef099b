"""`seesay data make`: pages and scenes whose contents are known exactly, to train and measure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seesay.cli.output import Progress, note, print_json

_SHARED = (
    click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder."),
    click.option(
        "--count", type=click.IntRange(1), required=True,
        help="Pictures for training; a tenth more for validation, and for testing.",
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Equal ones, equal files."),
    click.option(
        "--size", type=click.IntRange(128, 2048), default=384, show_default=True,
        help="Sides in pixels.",
    ),
    click.option("--quiet", "-q", is_flag=True, help="No progress, no notes on stderr."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
)  # fmt: skip


def _shared(command: click.Command) -> click.Command:
    for option in reversed(_SHARED):
        option(command)
    return command


@click.group(
    epilog="What is made of words, fonts and drawings that lie in this package; docs/data-made.md "
    "shows samples and the files."
)
def make() -> None:
    """Make pictures with exact labels: pages of text, scenes of things."""


@_shared
@make.command()
@click.option(
    "--level",
    type=click.IntRange(1, 3),
    default=3,
    show_default=True,
    help="1: a few words in large type; 2: a few lines; 3: letters, receipts, forms, e-mails.",
)
@click.option(
    "--scale", type=float, metavar="X",
    help="Size of type and margins; 1 is that of 384 pixels.  [default: they grow with --size]",
)  # fmt: skip
def pages(
    out: Path, count: int, seed: int, size: int, level: int, scale: float | None,
    quiet: bool, as_json: bool,
) -> int:  # fmt: skip
    """Make pages of text: their words, where these stand, questions and answers."""
    from seesay.recipes.made.writing import counted, write_pages

    with Progress("pages", sum(counted(count).values()), quiet=quiet) as bar:
        how: dict[str, Any] = {"size": size, "level": level, "scale": scale}
        lines = write_pages(out, count, seed, **how, advance=bar.advance)
    return _told(out, lines, quiet=quiet, as_json=as_json)


@_shared
@make.command()
def scenes(out: Path, count: int, seed: int, size: int, quiet: bool, as_json: bool) -> int:
    """Make scenes of drawn things: what they are, their boxes and outlines."""
    from seesay.recipes.made.writing import counted, write_scenes

    with Progress("scenes", sum(counted(count).values()), quiet=quiet) as bar:
        lines = write_scenes(out, count, seed, size=size, advance=bar.advance)
    return _told(out, lines, quiet=quiet, as_json=as_json)


def _told(out: Path, lines: dict[str, int], *, quiet: bool, as_json: bool) -> int:
    if as_json:
        print_json({"out": str(out), "lines": lines})
    else:
        for split, count in lines.items():
            click.echo(f"{split}: {count} lines in {out / split}.jsonl")
    note(f"wrote {out / 'made.json'}", quiet=quiet)
    return 0
