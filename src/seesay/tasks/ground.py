"""Finding the phrases of a caption in the image it is about."""

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
class GroundInput(Looking):
    """An image and a caption whose phrases are to be found in it."""

    image: ImageInput = field(metadata=ONE_IMAGE)
    caption: str = field(metadata={"help": "Captions; their phrases are found.", "each": True})
    tiles: Grid | None = field(default=None, metadata=TILES)


def ground(
    model: Model,
    images: Iterable[ImageInput] | ImageInput,
    captions: Sequence[str] | str,
    *,
    tiles: tuple[int, int] | None = None,
    constrained: bool = False,
    batch_size: int = 8,
    **options: Any,
) -> list[Found]:
    """Find the phrases of captions in images; each region's label is a phrase.

    Args:
        model: One that says where things are.
        images: As many as captions, or one for all; one that follows itself is encoded once.
        captions: As many as images, or one for all.
        tiles: As of `tasks.detect`.
        constrained: Let nothing but well-formed boxes be written.
        batch_size: How many are found together. What is found does not depend on it.
        **options: Fields of `seesay.generation.Options`.

    Raises:
        UsageError: The model cannot, or images and captions do not pair up.
        ItemsFailed: Some images cannot be read.
    """
    from seesay.tasks.match import pairs
    from seesay.tasks.pictures import as_list
    from seesay.tasks.vectors import as_texts

    given: dict[str, Any] = {"tiles": tiles, "constrained": constrained, "options": options}
    paired = pairs(as_list(images), as_texts(captions), "captions")
    requests = [GroundInput(image=image, caption=text, **given) for image, text in paired]
    return all_or_raise(run(model, requests, batch_size=batch_size))


def run(
    model: Model, requests: Sequence[GroundInput], *, batch_size: int = 8
) -> Iterator[Found | InputError]:
    """Serve requests in batches."""
    from seesay.tasks.writing import asked

    model.require("ground")

    def ask(request: GroundInput) -> list[Question]:
        return [Question(*asked(model, "ground", request.options), request.caption)]

    yield from find(model, "ground", requests, ask, batch_size=batch_size)
