"""`seesay eval`: how good a model is on your data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from seesay.cli.options import load_model, model_options, output_options
from seesay.cli.output import Progress, note, print_json
from seesay.errors import ItemsFailed, StorageError, UsageError

if TYPE_CHECKING:
    from seesay.data.questions import Questions
    from seesay.data.record import Dataset
    from seesay.evaluate import Report
    from seesay.evaluate.predictions import Predictions
    from seesay.model import Model

F = TypeVar("F", bound=Callable[..., Any])

NAMED = 20
"""Skipped items that are named on stderr; report.json has more of them."""


@click.group(name="eval")
def evaluate() -> None:
    """Measure a model on your data: figures with their uncertainty, chance, and examples."""


def _data_options(command: F, batch_size: int = 32) -> F:
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


def _said_options(command: F) -> F:
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


def _writing_options(command: F) -> F:
    """Add how a text is generated, but for the seed, which every evaluation has."""
    from seesay.cli.fields import fields_of, parameters
    from seesay.generation.options import Options

    for field in reversed(fields_of(Options)):
        if field.name != "seed":
            for parameter in reversed(parameters(replace(field, default=None))):
                _append(command, parameter)
    return command


def _append(command: Any, parameter: click.Parameter) -> None:
    """Add a parameter as click's decorators do."""
    command.__click_params__ = [*getattr(command, "__click_params__", []), parameter]


_controls = click.option(
    "--controls", is_flag=True, help="Ask again with the pictures exchanged: does the model look?"
)


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
@click.option(
    "--rerank",
    type=click.IntRange(1),
    metavar="K",
    help="Put the nearest K in order by the model's match head: 256 for COCO, 128 for Flickr30k.",
)
@model_options
@output_options
def retrieval(depths: tuple[int, ...], long_from: int, rerank: int | None, **options: Any) -> int:
    """Do the captions of DATASET find their pictures, and the pictures their captions?

    Recall at k, mean and median rank, in both directions.
    """
    from seesay.evaluate import retrieval as run

    return _evaluate(run, options, depths=depths, long_from=long_from, rerank=rerank)


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
@click.option("--threshold", type=float, help="Score from which a pair belongs together.")
@click.option(
    "--score",
    type=click.Choice(["itc", "itm"]),
    help="The cosine (itc), or the match head (itm), which is taken where there is one.",
)
@click.option(
    "--negatives",
    type=click.Choice(["random", "hard"]),
    default="random",
    show_default=True,
    help="Wrong captions, when the data has no labels 0 and 1: any, or the most alike.",
)
@model_options
@output_options
def matching(threshold: float | None, negatives: str, score: str | None, **options: Any) -> int:
    """Does the model know which texts of DATASET belong to which pictures?

    Accuracy, precision, recall, F1, ROC area and average precision. A match head decides at one
    half; without --threshold for a cosine, one half of the pictures is used to choose it and the
    other half is measured.
    """
    from seesay.evaluate import matching as run

    return _evaluate(run, options, threshold=threshold, negatives=negatives, score=score)


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


@evaluate.command()
@partial(_data_options, batch_size=8)
@_said_options
@click.option("--prompt", help="How captions begin, in place of what the model is used to.")
@_writing_options
@model_options
@output_options
def caption(prompt: str | None, **options: Any) -> int:
    """How near is what the model writes of DATASET's pictures to what people wrote?

    CIDEr-D, BLEU-1 to 4 and ROUGE-L, and of each domain of NoCaps.
    """
    from seesay.evaluate import captioning as run
    from seesay.evaluate.predictions import domains

    written = {"prompt": prompt, "options": _written(options)}
    return _evaluate(run, options, **written, groups=domains(options["dataset"]))


@evaluate.command()
@partial(_data_options, batch_size=8)
@_said_options
@_controls
@click.option(
    "--mode",
    type=click.Choice(["generate", "rank", "choices"]),
    help="In its own words; the likeliest of --answers; of each question's choices.",
)
@click.option("--answers", metavar="A,B,C", help="What may be answered.")
@click.option("--answers-file", type=click.Path(), help="A file with one on each line, or .json.")
@click.option("--top", type=click.IntRange(1), default=128, show_default=True,
              help="How many of them are scored whole.")  # fmt: skip
@click.option(
    "--measure",
    type=click.Choice(["vqa", "direct", "exact", "choice"]),
    help="VQA's accuracy; A-OKVQA's; equal to an answer; the right choice. The data decides.",
)
@_writing_options
@model_options
@output_options
def vqa(
    mode: str | None,
    answers: str | None,
    answers_file: str | None,
    top: int,
    measure: str | None,
    controls: bool,
    **options: Any,
) -> int:
    """How many questions of DATASET does the model get right?

    Accuracy as the data set measures it, by kind of question, beside what is reached without
    looking. VQAv2, OK-VQA, A-OKVQA, GQA, easy-VQA, or a table of pictures, questions and answers.
    """
    from seesay.cli.fields import lines_of
    from seesay.evaluate import answering as run

    if answers is not None and answers_file is not None:
        raise UsageError("--answers and --answers-file are given", "give one of the two")
    listed = None if answers is None else [part.strip() for part in answers.split(",")]
    listed = listed if answers_file is None else list(lines_of(answers_file))
    chosen: dict[str, Any] = {"mode": mode or ("rank" if listed else "generate"), "top": top}
    chosen |= {"answers": listed, "measure": measure, "controls": controls}
    return _evaluate(run, options, **chosen, options=_written(options))


@evaluate.command()
@partial(_data_options, batch_size=16)
@_said_options
@_controls
@model_options
@output_options
def nlvr(controls: bool, **options: Any) -> int:
    """How often is the model right about what DATASET says of two pictures?

    Accuracy, and consistency: statements that are judged rightly wherever they are made.
    """
    from seesay.evaluate import comparing as run

    return _evaluate(run, options, controls=controls)


def _evaluate(run: Callable[..., Report], given: dict[str, Any], **chosen: Any) -> int:
    """Open data and model, measure, print, and write the report."""
    data, out, quiet = _open(given, run.__name__), given["out"], given["quiet"]
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


def _written(options: dict[str, Any]) -> dict[str, Any]:
    """What was said about how texts are generated."""
    from seesay.cli.fields import fields_of, values
    from seesay.generation.options import Options

    return values([field for field in fields_of(Options) if field.name != "seed"], options)


def _open(options: dict[str, Any], task: str) -> Dataset | Questions:
    from seesay.data.questions import open_questions
    from seesay.data.source import open_dataset

    columns = ("split", "image_column", "text_column", "label_column", "separator", "root")
    opened = open_questions if task in ("answering", "comparing") else open_dataset
    return opened(options["dataset"], **{name: options[name] for name in columns})


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
