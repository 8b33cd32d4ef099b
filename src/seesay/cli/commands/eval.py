"""`seesay eval`: how good a model is on your data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from seesay.cli.options import load_model, model_options, output_options
from seesay.cli.output import Progress, note, print_json
from seesay.errors import ItemsFailed, StorageError, UsageError

if TYPE_CHECKING:
    from seesay.data.record import Dataset
    from seesay.evaluate import Report
    from seesay.model import Model

F = TypeVar("F", bound=Callable[..., Any])

NAMED = 20
"""Skipped items that are named on stderr; report.json has more of them."""


@click.group(name="eval")
def evaluate() -> None:
    """Measure a model on your data: figures with their uncertainty, chance, and examples."""


def _data_options(command: F) -> F:
    """Add DATASET and how it is read, and what every evaluation has."""
    for option in (
        click.option("--out", type=click.Path(), help="Write report.json and report.html here."),
        click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True),
        click.option(
            "--resamples",
            type=click.IntRange(0),
            default=1000,
            show_default=True,
            help="Samples behind the confidence intervals; 0 for none.",
        ),
        click.option("--seed", default=0, show_default=True, help="Decides what is drawn."),
        click.option("--limit", type=click.IntRange(1), help="At most so many pictures."),
        click.option("--root", type=click.Path(), help="The folder that file names start from."),
        click.option("--separator", help="What stands between the columns."),
        click.option("--label-column", help="The column with the class."),
        click.option("--text-column", help="The column with the caption."),
        click.option("--image-column", help="The column with the file name."),
        click.option("--split", help="Which part of the data, where there are several."),
        click.argument("dataset"),
    ):
        command = option(command)
    return command


def _numbers(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, ...]:
    """Read "1,5,10"."""
    try:
        found = tuple(int(part) for part in value.split(",") if part.strip())
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise click.BadParameter(f"{value!r} is not a list of whole numbers from 1, as 1,5,10")
    return found


def _depths(default: str) -> Callable[[F], F]:
    return click.option(
        "--k", "depths", default=default, show_default=True, metavar="A,B,C", callback=_numbers,
        help="The k of recall at k.",
    )  # fmt: skip


@evaluate.command()
@_data_options
@_depths("1,5,10")
@click.option(
    "--long",
    "long_from",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="A caption of more words is long; a Chinese or Japanese character is a word.",
)
@model_options
@output_options
def retrieval(depths: tuple[int, ...], long_from: int, **options: Any) -> int:
    """Do the captions of DATASET find their pictures, and the pictures their captions?

    Recall at k, mean and median rank, in both directions.
    """
    from seesay.evaluate import retrieval as run

    return _evaluate(run, options, depths=depths, long_from=long_from)


@evaluate.command()
@_data_options
@_depths("1,5")
@click.option("--templates", help="A prompt set of the model, or one template with {}.")
@click.option(
    "--classes",
    type=click.Path(exists=True, dir_okay=False),
    help="Other names for the classes: one on each line, in the order of the labels.",
)
@model_options
@output_options
def zeroshot(
    depths: tuple[int, ...], templates: str | None, classes: str | None, **options: Any
) -> int:
    """Are the pictures of DATASET recognised by the names of their classes?

    Top-1, top-5, and the mean of the classes.
    """
    from seesay.evaluate import zeroshot as run

    names = None if classes is None else _lines(Path(classes))
    return _evaluate(run, options, depths=depths, templates=templates, classes=names)


@evaluate.command()
@_data_options
@click.option("--threshold", type=float, help="Cosine from which a pair belongs together.")
@click.option(
    "--negatives",
    type=click.Choice(["random", "hard"]),
    default="random",
    show_default=True,
    help="Wrong captions, when the data has no labels 0 and 1: any, or the most alike.",
)
@model_options
@output_options
def matching(threshold: float | None, negatives: str, **options: Any) -> int:
    """Does the model know which texts of DATASET belong to which pictures?

    Accuracy, precision, recall, F1, ROC area and average precision. Without --threshold, one half
    of the pictures is used to choose it and the other half is measured.
    """
    from seesay.evaluate import matching as run

    return _evaluate(run, options, threshold=threshold, negatives=negatives)


@evaluate.command()
@_data_options
@_depths("1,5,10")
@model_options
@output_options
def cra(depths: tuple[int, ...], **options: Any) -> int:
    """Do first captions of DATASET find the second captions of their pictures?

    Caption retrieval accuracy, as LLM2CLIP measures it; no picture is needed. --limit is the size
    of the pool.
    """
    from seesay.evaluate import cra as run

    return _evaluate(run, options, depths=depths)


def _evaluate(run: Callable[..., Report], options: dict[str, Any], **chosen: Any) -> int:
    """Open data and model, measure, print, and write the report."""
    data, out, quiet = _open(options), options["out"], options["quiet"]
    if out is not None and Path(out).exists() and not Path(out).is_dir():
        raise UsageError(f"--out {out} is a file", "give a folder")
    model: Model = load_model(options["model"], options["device"], options["dtype"])
    report = run(
        model,
        data,
        **chosen,
        limit=options["limit"],
        seed=options["seed"],
        resamples=options["resamples"],
        batch_size=options["batch_size"],
        progress=lambda what, total: Progress(what, total, quiet=quiet),
    )
    _note_skipped(report, quiet=quiet)
    if options["as_json"]:
        print_json(report.as_dict())
    else:
        _print(report)
    if out is not None:
        report.save(out)
        note(f"wrote {Path(out) / 'report.json'} and report.html", quiet=quiet)
    return ItemsFailed.exit_code if report.skipped and options["strict"] else 0


def _open(options: dict[str, Any]) -> Dataset:
    from seesay.data.source import open_dataset

    columns = ("split", "image_column", "text_column", "label_column", "separator", "root")
    return open_dataset(options["dataset"], **{name: options[name] for name in columns})


def _print(report: Report) -> None:
    """Print the figures as a table, and what they are figures of."""
    rows = [("", "figure", "95 % interval", "chance"), *report.rows()]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for name, *cells in rows:
        padded = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        click.echo("  ".join([name.ljust(widths[0]), *padded]).rstrip())
    if "threshold" in report.settings:
        told = report.settings["threshold_from"]
        click.echo(f"threshold {report.settings['threshold']:.4f} ({told})")
    counts = (f"{value} {key.replace('_', ' ')}" for key, value in report.counts.items())
    click.echo(f"of {', '.join(counts)}")


def _note_skipped(report: Report, *, quiet: bool) -> None:
    """Name what was skipped; when it is much, the first and how many."""
    for where, why, what in report.skipped[:NAMED]:
        note(f"skipped {what or f'{where}: {why}'}", quiet=quiet)
    if len(report.skipped) > NAMED:
        told = ", ".join(f"{count} {why}" for why, count in report.reasons().items())
        note(f"skipped {len(report.skipped)} in all: {told}", quiet=quiet)


def _lines(path: Path) -> list[str]:
    """The lines of a file that are not empty."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text") from None
    return [line.strip() for line in lines if line.strip()]
