"""Asking a model in its own words: a prompt with or without a task token of its family."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seesay.errors import InputError, all_or_raise
from seesay.tasks.finding import ONE_IMAGE, Found, Looking, Question, find
from seesay.tasks.tiles import TILES, Grid
from seesay.types import ImageInput

if TYPE_CHECKING:
    from seesay.model import Model


@dataclass(frozen=True, kw_only=True)
class PromptInput(Looking):
    """An image and a prompt."""

    image: ImageInput = field(metadata=ONE_IMAGE)
    prompt: str = field(
        metadata={"help": "Prompts, such as '<OD>' or '<DocVQA>who signed?'.", "each": True}
    )
    tiles: Grid | None = field(default=None, metadata=TILES)


def prompt(
    model: Model,
    images: Iterable[ImageInput] | ImageInput,
    prompts: Sequence[str] | str,
    *,
    tiles: tuple[int, int] | None = None,
    constrained: bool = False,
    batch_size: int = 8,
    **options: Any,
) -> list[Found]:
    """Ask a model in its own words.

    Args:
        model: One that reads prompts and writes.
        images: As many as prompts, or one for all; one that follows itself is encoded once.
        prompts: As many as images, or one for all. Task tokens of the family decide how the answer
            is read back; a text without one is read as it stands, and its answer is a text.
        tiles: As of `tasks.detect`.
        constrained: Let nothing but well-formed places be written.
        batch_size: How many are answered together. What is written does not depend on it.
        **options: Fields of `seesay.generation.Options`.

    Raises:
        UsageError: The model cannot, a token takes no text and has one, or needs one and has none,
            or images and prompts do not pair up.
        ItemsFailed: Some images cannot be read.
    """
    from seesay.tasks.match import pairs
    from seesay.tasks.pictures import as_list
    from seesay.tasks.vectors import as_texts

    given: dict[str, Any] = {"tiles": tiles, "constrained": constrained, "options": options}
    paired = pairs(as_list(images), as_texts(prompts), "prompts")
    requests = [PromptInput(image=image, prompt=text, **given) for image, text in paired]
    return all_or_raise(run(model, requests, batch_size=batch_size))


def run(
    model: Model, requests: Sequence[PromptInput], *, batch_size: int = 8
) -> Iterator[Found | InputError]:
    """Serve requests in batches."""
    from seesay.tasks.writing import asked

    model.require("prompt")

    def ask(request: PromptInput) -> list[Question]:
        return [Question(*asked(model, "prompt", request.options), request.prompt)]

    yield from find(model, "prompt", requests, ask, batch_size=batch_size)
