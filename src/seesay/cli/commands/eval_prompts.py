"""`seesay eval docvqa|read|detect|ground|segment`: models that do what prompts say."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import click

from seesay.cli.commands.evaluating import (
    COLUMNS,
    data_options,
    field_options,
    run_and_print,
    said_options,
    writing_options,
    written,
)
from seesay.cli.fields import Field, fields_of, values
from seesay.cli.options import model_options, output_options
from seesay.registry import default_model

TELLING = ("prefix", "objects", "phrases", "lines")
"""Columns that say themselves what is asked."""


def _prompt_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add everything that evaluations of prompts have."""
    for add in (
        output_options,
        model_options,
        writing_options,
        field_options(_looking()),
        click.option("--prompt", help="The task token, where the data has no prompts of its own."),
        click.option("--controls", is_flag=True,
                     help="Ask again with pictures, and with questions, exchanged."),
        said_options,
        partial(data_options, batch_size=8),
    ):  # fmt: skip
        command = add(command)
    return command


def _looking() -> list[Field]:
    """How pictures are looked at, and places written."""
    from seesay.tasks.prompt import PromptInput

    return [field for field in fields_of(PromptInput) if field.name in ("tiles", "constrained")]


@click.command()
@_prompt_options
def docvqa(**options: Any) -> int:
    """How near are answers to the questions of DATASET about documents?

    ANLS and accuracy. DocVQA's files, VQA's, tables of pictures, questions and answers, or rows of
    image, prefix and suffix.
    """
    return _evaluate(options, "document", ("answers",), "<DocVQA>")


@click.command()
@_prompt_options
def read(**options: Any) -> int:
    """How much of the text in the pictures of DATASET is read rightly?

    Error rates of characters and words; F1 of lines in their places, where the data has places.
    """
    return _evaluate(options, "read", ("reading", "lines"), "<OCR>")


@click.command()
@_prompt_options
def detect(**options: Any) -> int:
    """Are the things of DATASET found, with their boxes?

    Average precision as COCO has it. COCO's files, or rows of image, prefix and suffix.
    """
    from seesay.evaluate.regions.exact import coco_boxes

    return _evaluate(options, "detect", ("boxes",), None, wanted=coco_boxes(options["dataset"]))


@click.command()
@_prompt_options
def ground(**options: Any) -> int:
    """Are the phrases of DATASET found where they are meant?

    The share of phrases whose first box overlaps a right one by half.
    """
    return _evaluate(options, "ground", ("phrases",), None)


@click.command()
@_prompt_options
def segment(**options: Any) -> int:
    """Do masks cover what the phrases of DATASET mean?

    Intersection over union: the mean over phrases, and of all pixels together.
    """
    return _evaluate(options, "segment", ("masks",), None)


COMMANDS = (docvqa, read, detect, ground, segment)


def _evaluate(
    options: dict[str, Any], task: str, kinds: tuple[str, ...], prompt: str | None, **chosen: Any
) -> int:
    """Open the data as prompts, and measure those of some kinds.

    Args:
        options: What was said on the command line.
        task: Whose model is measured, unless another is named.
        kinds: Which prompts are measured.
        prompt: The task token of data that says none, unless another is given.
        **chosen: More for `seesay.evaluate.instructed`.
    """
    from seesay.data.questions import open_prompts
    from seesay.data.readers.asked import columns_of
    from seesay.evaluate import instructed

    path, told = options["dataset"], options["prompt"]
    if told is None and columns_of(path).isdisjoint(TELLING):
        told = prompt
    data = open_prompts(path, prompt=told, **{name: options[name] for name in COLUMNS})
    if options["model"] is None and options["predictions"] is None:
        options["model"] = default_model(task)
    chosen |= {"controls": options["controls"], **values(_looking(), options), **written(options)}
    return run_and_print(instructed, data, options, kinds=kinds, **chosen)
