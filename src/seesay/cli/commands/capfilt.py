"""`seesay data capfilt`: write captions for pictures, and keep what describes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from seesay.cli.fields import fields_of, parameters, values
from seesay.cli.options import complete_model, load_model, output_options
from seesay.cli.output import Progress, as_dict, note, print_json
from seesay.errors import InputError, ItemsFailed, UsageError
from seesay.generation.options import Options
from seesay.names import shown

if TYPE_CHECKING:
    from seesay.data.capfilt_statistics import Share, Statistics

F = TypeVar("F", bound=Callable[..., Any])

NAMED = 20
"""Skipped pictures that are named on stderr; statistics.json has all."""

_DRAWING = [
    dataclasses.replace(field, default=None)
    for field in fields_of(Options)
    if field.name not in ("num_return_sequences", "seed")
]
_DRAWN_BY = [parameter for field in _DRAWING for parameter in parameters(field)]


def _model(flag: str, text: str, **told: Any) -> Callable[[F], F]:
    return click.option(flag, metavar="MODEL", shell_complete=complete_model, help=text, **told)


@click.command(
    epilog="Run the same command again after it was killed, and it goes on; with another "
    "--threshold or --keep, and no model is asked again. The options from --num-beams on say how "
    "captions are written: unless told otherwise, drawn with --top-p 0.9."
)
@click.argument("dataset")
@click.option("--out", type=click.Path(), required=True, help="The folder to write into.")
@_model("--captioner", "Writes captions.", required=True)
@_model("--filter", "Judges captions by image-text matching.  [default: the captioner]")
@click.option(
    "--threshold", default=0.5, show_default=True, help="Keep what is likelier than this."
)
@_model("--rank", "In place of a filter: a dual encoder, such as CLIP, that ranks captions.")
@click.option(
    "--keep", default=2, show_default=True, help="Captions of a picture, the best ranked."
)
@click.option(
    "--candidates",
    type=click.IntRange(1),
    help="Captions written for a picture.  [default: 1, or 10 with --rank]",
)
@click.option("--prompt", help="How captions begin, in place of what the captioner is used to.")
@click.option("--human", metavar="DATASET", help="Data whose captions are added as they are.")
@click.option("--human-split", help="Which part of it.")
@click.option("--blip-json", is_flag=True, help="Also write captions.json, as BLIP reads it.")
@click.option("--limit", type=click.IntRange(1), help="Only the first so many pictures.")
@click.option("--split", help="Which part of DATASET: train, train+restval.")
@click.option("--image-column", help="The column with the picture's file name.")
@click.option("--text-column", help="The column with the caption.")
@click.option("--separator", help="What stands between the columns of a CSV.")
@click.option("--root", type=click.Path(), help="The folder that file names are relative to.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draws.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda.")
@click.option("--dtype", default="auto", show_default=True, help="auto, float32, bfloat16.")
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True)
@output_options
def capfilt(
    dataset: str,
    out: str,
    captioner: str,
    filter: str | None,
    rank: str | None,
    human: str | None,
    human_split: str | None,
    device: str,
    dtype: str,
    quiet: bool,
    as_json: bool,
    strict: bool,
    **given: Any,
) -> int:
    """Bootstrap the captions of DATASET: write new ones, and keep those that tell of the picture.

    OUT/captions.jsonl has what is kept, to be trained on; rejected.jsonl the rest, statistics.json
    the figures.
    """
    from seesay.data import open_dataset
    from seesay.data.capfilt import capfilt as bootstrap

    if filter is not None and rank is not None:
        raise UsageError("--filter and --rank are given", "captions are filtered or ranked")
    columns = ("split", "image_column", "text_column", "separator", "root")
    data = open_dataset(dataset, **{name: given.pop(name) for name in columns})
    added = None if human is None else open_dataset(human, split=human_split)
    models = {
        name: load_model(name, device, dtype)
        for name in dict.fromkeys((captioner, filter, rank))
        if name is not None
    }
    options = values(_DRAWING, {param.name: given.pop(param.name) for param in _DRAWN_BY})
    pictures = int(data.image_numbers.max(initial=-1)) + 1
    with Progress("capfilt", min(given["limit"] or pictures, pictures), quiet=quiet) as bar:
        statistics = bootstrap(
            data,
            out,
            captioner=models[captioner],
            filter=models[filter] if filter is not None else None,
            rank=models[rank] if rank is not None else None,
            human=added,
            progress=bar.advance,
            **given,
            **options,
        )
    for why in statistics.skipped[:NAMED]:
        note(f"skipped {why}", quiet=quiet)
    if len(statistics.skipped) > NAMED:
        note(f"skipped {len(statistics.skipped)} in all; statistics.json lists them", quiet=quiet)
    if as_json:
        print_json(as_document(statistics))
    else:
        show(statistics)
    note(f"wrote {Path(out) / 'captions.jsonl'}", quiet=quiet)
    if statistics.pictures and len(statistics.skipped) >= statistics.pictures:
        return InputError.exit_code
    return ItemsFailed.exit_code if statistics.skipped and strict else 0


capfilt.params += _DRAWN_BY


def as_document(statistics: Statistics) -> dict[str, Any]:
    """Return what statistics.json has."""
    sources = {source: as_dict(share) for source, share in statistics.sources.items()}
    return {**as_dict(statistics), "sources": sources}


def show(statistics: Statistics) -> None:
    """Print how much of each source was kept, and a few captions of each kind."""
    parts = [f"{statistics.pictures} pictures", f"{statistics.kept_pictures} with a kept caption"]
    parts += [f"{len(statistics.skipped)} skipped"] if statistics.skipped else []
    click.echo(", ".join(parts))
    head = ("", "captions", "left out", "kept", "rejected", "noise", statistics.measure, "words")
    rows = [head, *(_row(source, share) for source, share in statistics.sources.items())]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for name, *cells in rows:
        padded = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        click.echo("  ".join([name.ljust(widths[0]), *padded]).rstrip())
    for example in statistics.examples:
        verdict = "kept    " if example.kept else "rejected"
        score = "     " if example.score is None else f"{example.score:.3f}"
        click.echo(f"{verdict}  {score}  {example.source}  {shown(example.text)}")
    click.echo(f"{statistics.captions} captions to train on")


def _row(source: str, share: Share) -> tuple[str, ...]:
    words = share.kept_words
    return (
        source,
        str(share.captions),
        str(share.left_out),
        str(share.kept),
        str(share.rejected),
        "" if share.noise is None else f"{share.noise:.1%}",
        "" if share.mean_score is None else f"{share.mean_score:.3f}",
        "" if words is None else f"{words.least} to {words.most}, mean {words.mean:.1f}",
    )
