"""What the commands of `seesay eval` share: their options, and how they run and print."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from seesay.cli.options import load_model
from seesay.cli.output import Progress, note, print_json
from seesay.errors import ItemsFailed, UsageError

if TYPE_CHECKING:
    from seesay.cli.fields import Field
    from seesay.data.questions import Questions
    from seesay.data.record import Dataset
    from seesay.evaluate import Report
    from seesay.evaluate.predictions import Predictions
    from seesay.model import Model

F = TypeVar("F", bound=Callable[..., Any])

NAMED = 20
"""Skipped items that are named on stderr; report.json has more of them."""

COLUMNS = ("split", "image_column", "text_column", "label_column", "separator", "root")
"""How a dataset is read."""


def data_options(command: F, batch_size: int = 32) -> F:
    """Add DATASET and how it is read, and what every evaluation has."""
    for option in (
        click.option("--out", type=click.Path(), help="Write report.json and report.html here."),
        click.option("--batch-size", type=click.IntRange(1), default=batch_size, show_default=True),
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
        click.option("--label-column", help="The column with the class, or the answer."),
        click.option("--text-column", help="The column with the caption, or the question."),
        click.option("--image-column", help="The column with the file name."),
        click.option("--split", help="Which part of the data, where there are several."),
        click.argument("dataset"),
    ):
        command = option(command)
    return command


def said_options(command: F) -> F:
    """Add --predictions and --save-predictions."""
    for option in (
        click.option("--save-predictions", "save", type=click.Path(), help="Write them here."),
        click.option(
            "--predictions",
            type=click.Path(),
            help="Score what this file says, in place of a model's: COCO or VQA results.",
        ),
    ):
        command = option(command)
    return command


def writing_options(command: F) -> F:
    """Add how a text is generated, but for the seed, which every evaluation has."""
    return field_options(_writing())(command)


def field_options(fields: Sequence[Field]) -> Callable[[F], F]:
    """Add the fields of a request as options without defaults."""
    from seesay.cli.fields import parameters

    def add(command: F) -> F:
        for field in reversed(fields):
            for parameter in reversed(parameters(replace(field, default=None))):
                _append(command, parameter)
        return command

    return add


def _writing() -> list[Field]:
    from seesay.cli.fields import fields_of
    from seesay.generation.options import Options

    return [field for field in fields_of(Options) if field.name != "seed"]


def _append(command: Any, parameter: click.Parameter) -> None:
    """Add a parameter as click's decorators do."""
    command.__click_params__ = [*getattr(command, "__click_params__", []), parameter]


def run_and_print(
    run: Callable[..., Report], data: Dataset | Questions, given: dict[str, Any], **chosen: Any
) -> int:
    """Open the model, measure, print, and write the report."""
    out, quiet = given["out"], given["quiet"]
    if out is not None and Path(out).exists() and not Path(out).is_dir():
        raise UsageError(f"--out {out} is a file", "give a folder")
    model: Model | None = None
    if "save" in given:
        chosen |= {"save": given["save"], "predictions": _predictions(given)}
    if chosen.get("predictions") is None:
        model = load_model(given["model"], given["device"], given["dtype"])
    report = run(
        model,
        data,
        **chosen,
        limit=given["limit"],
        seed=given["seed"],
        resamples=given["resamples"],
        batch_size=given["batch_size"],
        progress=lambda what, total: Progress(what, total, quiet=quiet),
    )
    _note_skipped(report, quiet=quiet)
    if given["as_json"]:
        print_json(report.as_dict())
    else:
        _print(report)
    if out is not None:
        report.save(out)
        note(f"wrote {Path(out) / 'report.json'} and report.html", quiet=quiet)
    return ItemsFailed.exit_code if report.skipped and given["strict"] else 0


def _predictions(options: dict[str, Any]) -> Predictions | None:
    """Read --predictions; a model has then nothing to do."""
    from seesay.evaluate import read_predictions

    if options["predictions"] is None:
        return None
    if options["model"] is not None:
        raise UsageError("--predictions and --model are given", "give one of the two")
    return read_predictions(options["predictions"])


def written(options: dict[str, Any]) -> dict[str, Any]:
    """What was said about how texts are generated."""
    from seesay.cli.fields import values

    return values(_writing(), options)


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
    for told in report.notes:
        click.echo(told)


def _note_skipped(report: Report, *, quiet: bool) -> None:
    """Name what was skipped; when it is much, the first and how many."""
    for where, why, what in report.skipped[:NAMED]:
        note(f"skipped {what or f'{where}: {why}'}", quiet=quiet)
    if len(report.skipped) > NAMED:
        told = ", ".join(f"{count} {why}" for why, count in report.reasons().items())
        note(f"skipped {len(report.skipped)} in all: {told}", quiet=quiet)
