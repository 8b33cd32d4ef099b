"""Finding things in images: known kinds, what you name, described regions, or mere proposals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from seesay.errors import InputError, UsageError, all_or_raise
from seesay.tasks.finding import Found, Looking, Question, find
from seesay.tasks.tiles import TILES, Grid
from seesay.types import ImageInput

if TYPE_CHECKING:
    from seesay.model import Model

What = Literal["objects", "descriptions", "proposals"]

AND = "<and>"
"""What stands between several phrases that are looked for at once."""


@dataclass(frozen=True, kw_only=True)
class DetectInput(Looking):
    """An image, and what to find in it.

    Attributes:
        phrases: What to look for; nothing for whatever the model knows.
        what: With no phrases: objects with the names of their kinds, regions with descriptions, or
            regions that hold something, without a label.
    """

    phrases: tuple[str, ...] = field(
        default=(), metadata={"help": "What to look for, in your words."}
    )
    what: What = field(
        default="objects", metadata={"help": "What to find where no phrases are given."}
    )
    tiles: Grid | None = field(default=None, metadata=TILES)


def detect(
    model: Model,
    images: Iterable[ImageInput] | ImageInput,
    phrases: Sequence[str] | str | None = None,
    *,
    what: What = "objects",
    tiles: tuple[int, int] | None = None,
    constrained: bool = False,
    batch_size: int = 8,
    **options: Any,
) -> list[Found]:
    """Find things in images.

    Args:
        model: One that says where things are.
        images: Paths, encoded bytes, PIL images or arrays [h, w, c]; one or many.
        phrases: What to look for in every image; None for whatever the model knows.
        what: Without phrases: "objects" by the names of their kinds, regions with "descriptions",
            or "proposals" without labels.
        tiles: Rows and columns of parts that are looked at one by one, each as large as the model
            can, besides the whole: for small things in large pictures.
        constrained: Let nothing but well-formed boxes be written.
        batch_size: How many images are looked at together. What is found does not depend on it.
        **options: Fields of `seesay.generation.Options`.

    Raises:
        UsageError: The model cannot, or an argument cannot be; a list of no phrases is none.
        ItemsFailed: Some images cannot be read.
    """
    from seesay.tasks.pictures import as_list
    from seesay.tasks.vectors import as_texts

    wanted = () if phrases is None else tuple(as_texts(phrases))
    if phrases is not None and not wanted:
        raise UsageError("there are no phrases to look for", "None finds whatever the model knows")
    given: dict[str, Any] = {"phrases": wanted, "what": what}
    given |= {"tiles": tiles, "constrained": constrained, "options": options}
    requests = [DetectInput(image=image, **given) for image in as_list(images)]
    return all_or_raise(run(model, requests, batch_size=batch_size))


def run(
    model: Model, requests: Sequence[DetectInput], *, batch_size: int = 8
) -> Iterator[Found | InputError]:
    """Serve requests in batches."""
    from seesay.tasks.writing import asked

    model.require("detect")

    def ask(request: DetectInput) -> list[Question]:
        for number, phrase in enumerate(request.phrases):
            if not phrase.strip():
                raise UsageError(f"phrase {number} is blank", "name what to look for, or leave it")
        form = "" if request.what == "objects" else request.what
        if request.phrases and form:
            raise UsageError(f"phrases are given, and {form} instead", "ask for one of the two")
        template, options = asked(
            model, "detect", request.options, "phrases" if request.phrases else form
        )
        return [Question(template, options, AND.join(request.phrases))]

    yield from find(model, "detect", requests, ask, batch_size=batch_size)
