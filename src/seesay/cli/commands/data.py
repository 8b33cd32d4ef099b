"""`seesay data check`: what a dataset is, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from seesay.cli.commands.capfilt import capfilt
from seesay.cli.commands.data_make import make
from seesay.cli.output import Progress, note, print_json
from seesay.errors import InputError
from seesay.names import shown

if TYPE_CHECKING:
    from seesay.data.check import Findings

EXAMPLES = 3
"""How many findings of a kind are shown; --json has them all."""


@click.group(
    epilog="Formats: folders of pictures, CSV and TSV, JSON lines, parquet, COCO, Karpathy splits, "
    "Flickr30k, tar shards, datasets of the hub; questions of VQA, GQA, NLVR2 and the like."
)
def data() -> None:
    """Look through data before training on it, bootstrap its captions, or make some."""


data.add_command(capfilt)
data.add_command(make)


@data.command(
    epilog="Leaves with 0 when the data can be trained on, with 4 when something would stop it."
)
@click.argument("path")
@click.option("--split", help="Which part: train, train+restval.")
@click.option("--image-column", help="The column with the picture's file name.")
@click.option("--text-column", help="The column with the caption.")
@click.option("--label-column", help="The column with the class.")
@click.option("--separator", help="What stands between the columns of a CSV.")
@click.option("--root", type=click.Path(), help="The folder that file names are relative to.")
@click.option("--decode", is_flag=True, help="Decode every picture, and find equal ones.")
@click.option("--quiet", "-q", is_flag=True, help="No progress, no notes on stderr.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def check(path: str, decode: bool, quiet: bool, as_json: bool, **options: Any) -> int:
    """Look through the data at PATH: rows, captions, labels, boxes, and every picture's header.

    Questions and prompts are recognised by their columns, and looked through likewise.
    """
    from seesay.data import open_dataset, open_prompts, open_questions
    from seesay.data.check import check as look_through
    from seesay.data.readers import asked, prompted

    opened: Any = open_dataset
    if prompted.recognises(path):
        opened = open_prompts
    elif asked.recognises(path):
        opened = open_questions
    dataset = opened(path, **options)
    parts = (dataset,) if opened is open_dataset else dataset.pictures
    pictures = sum(int(part.image_numbers.max(initial=-1)) + 1 for part in parts)
    with Progress("check", pictures, quiet=quiet) as bar:
        look: Any = "decode" if decode else "header"
        findings = look_through(dataset, look=look, progress=bar.advance)
    if as_json:
        print_json(as_document(findings))
    else:
        show(findings)
    if findings.records == 0:
        note(f"seesay: {path} has no record that can be used")
    return InputError.exit_code if findings.stopping or not findings.records else 0


def as_document(findings: Findings) -> dict[str, Any]:
    """Return everything that was found, as data."""
    from seesay.data.check import KINDS

    return {
        "dataset": findings.dataset,
        "format": findings.form,
        "records": findings.records,
        "images": findings.images,
        "captions": findings.captions,
        "captions_per_record": list(findings.captions_per_record),
        "classes": findings.classes,
        "stopping": len(findings.stopping),
        "counts": findings.counts,
        "findings": [
            {
                "kind": finding.kind,
                "stops": KINDS[finding.kind],
                "where": finding.where,
                "what": finding.what,
                "row": finding.row,
            }
            for finding in findings.all
        ],
    }


def show(findings: Findings) -> None:
    """Print what the dataset is, then a few findings of each kind."""
    from seesay.data.check import KINDS

    few, many = findings.captions_per_record
    each = f"{few}" if few == many else f"{few} to {many}"
    parts = [f"{findings.records} records", f"{findings.images} pictures"]
    said = "answers" if findings.form == "questions" else "captions"
    parts += [f"{findings.captions} {said} ({each} each)"] if findings.captions else []
    parts += [f"{findings.classes} classes"] if findings.classes else []
    click.echo(f"{shown(findings.dataset)} ({findings.form}): {', '.join(parts)}")
    for kind, count in findings.counts.items():
        click.echo(f"{'STOPS' if KINDS[kind] else 'note '}  {kind}: {count}")
        examples = [finding for finding in findings.all if finding.kind == kind]
        for finding in examples[:EXAMPLES]:
            click.echo(f"         {shown(finding.where)}  {shown(finding.what)}")
        if count > EXAMPLES:
            click.echo(f"         and {count - EXAMPLES} more; --json lists them")
    if not findings.counts and findings.records:
        click.echo("nothing is wrong")
