"""`seesay eval`: how good a model is on your data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from seesay.cli.commands.eval_prompts import COMMANDS
from seesay.cli.commands.evaluating import (
    COLUMNS,
    data_options,
    run_and_print,
    said_options,
    writing_options,
    written,
)
from seesay.cli.options import model_options, output_options
from seesay.errors import StorageError, UsageError

if TYPE_CHECKING:
    from seesay.evaluate import Report

F = TypeVar("F", bound=Callable[..., Any])


@click.group(name="eval")
def evaluate() -> None:
    """Measure a model on your data: figures with their uncertainty, chance, and examples."""


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
@data_options
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
@data_options
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
@data_options
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
@data_options
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
@partial(data_options, batch_size=8)
@said_options
@click.option("--prompt", help="How captions begin, in place of what the model is used to.")
@writing_options
@model_options
@output_options
def caption(prompt: str | None, **options: Any) -> int:
    """How near is what the model writes of DATASET's pictures to what people wrote?

    CIDEr-D, BLEU-1 to 4 and ROUGE-L, and of each domain of NoCaps.
    """
    from seesay.evaluate import captioning as run
    from seesay.evaluate.predictions import domains

    chosen = {"prompt": prompt, "options": written(options)}
    return _evaluate(run, options, **chosen, groups=domains(options["dataset"]))


@evaluate.command()
@partial(data_options, batch_size=8)
@said_options
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
@writing_options
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
    return _evaluate(run, options, **chosen, options=written(options))


@evaluate.command()
@partial(data_options, batch_size=16)
@said_options
@_controls
@model_options
@output_options
def nlvr(controls: bool, **options: Any) -> int:
    """How often is the model right about what DATASET says of two pictures?

    Accuracy, and consistency: statements that are judged rightly wherever they are made.
    """
    from seesay.evaluate import comparing as run

    return _evaluate(run, options, controls=controls)


for _command in COMMANDS:
    evaluate.add_command(_command)


def _evaluate(run: Callable[..., Report], given: dict[str, Any], **chosen: Any) -> int:
    """Open the data and measure."""
    from seesay.data.questions import open_questions
    from seesay.data.source import open_dataset

    opened = open_questions if run.__name__ in ("answering", "comparing") else open_dataset
    data = opened(given["dataset"], **{name: given[name] for name in COLUMNS})
    return run_and_print(run, data, given, **chosen)


def _lines(path: Path) -> list[str]:
    """The lines of a file that are not empty."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text") from None
    return [line.strip() for line in lines if line.strip()]
