"""Describing images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from seesay.errors import InputError, UsageError, all_or_raise
from seesay.types import ImageInput

if TYPE_CHECKING:
    from seesay.model import Model
    from seesay.tasks.pictures import Seen


Length = Literal["short", "detailed", "paragraph"]


@dataclass(frozen=True, kw_only=True)
class CaptionInput:
    """An image to describe, and how.

    Attributes:
        length: A sentence, some sentences, or a paragraph, by models that were trained for it.
        options: Fields of `seesay.generation.Options`; for the others the published values hold.
    """

    image: ImageInput = field(metadata={"help": "An image, or a folder.", "each": True})
    length: Length = field(default="short", metadata={"help": "How much to say."})
    prompt: str | None = field(
        default=None,
        metadata={"help": "How captions begin, or are asked for, instead of as usual."},
    )
    options: Mapping[str, Any] = field(
        default_factory=dict, metadata={"options": "seesay.generation.options:Options"}
    )


@dataclass(frozen=True, kw_only=True)
class WrittenText:
    """A text that a model wrote.

    Attributes:
        text: The text, without what it was asked to begin with.
        score: Sum of the tokens' log-probabilities; of beams, divided by a power of their number.
        logprobs: The log-probability of each token, the end of the text included; empty for a text
            that was chosen from a list.
        finished: Whether it ended by itself, and not because it had become too long.
    """

    text: str
    score: float
    logprobs: list[float]
    finished: bool


@dataclass(frozen=True, kw_only=True)
class CaptionOutput:
    """The captions of an image, best first."""

    captions: list[WrittenText]

    @property
    def text(self) -> str:
        """The best caption."""
        return self.captions[0].text

    @property
    def truncated(self) -> bool:
        """Whether the best caption stopped before it ended."""
        return not self.captions[0].finished

    def show(self) -> str:
        """Return the captions, for people."""
        return " | ".join(caption.text for caption in self.captions)


def caption(
    model: Model,
    images: Iterable[ImageInput] | ImageInput,
    prompt: str | None = None,
    *,
    length: Length = "short",
    batch_size: int = 8,
    **options: Any,
) -> list[CaptionOutput]:
    """Describe images.

    Args:
        model: One that writes.
        images: Paths, encoded bytes, PIL images or arrays [h, w, c]; one or many.
        prompt: How captions begin, or by models that read what they are asked, the whole of that;
            None for what the family was trained with, "" for nothing.
        length: "short", "detailed" or "paragraph", by models that were trained for it.
        batch_size: How many images are described together. What is written does not depend on it.
        **options: Fields of `seesay.generation.Options`: num_beams=3; or do_sample=True, top_p=0.9,
            num_return_sequences=5, seed=1. For others the family's published values hold.

    Raises:
        UsageError: The model writes no captions, or the prompt or an option cannot be.
        ItemsFailed: Some images cannot be read.
    """
    from seesay.tasks.pictures import as_list

    if not isinstance(prompt, str | None):
        raise UsageError(f"prompt is {type(prompt).__name__}, not one text for all images")
    given: dict[str, Any] = {"prompt": prompt, "length": length, "options": options}
    requests = [CaptionInput(image=image, **given) for image in as_list(images)]
    return all_or_raise(run(model, requests, batch_size=batch_size))


def run(
    model: Model, requests: Sequence[CaptionInput], *, batch_size: int = 8
) -> Iterator[CaptionOutput | InputError]:
    """Serve requests in batches of those with the same options."""
    from seesay.tasks.pictures import serve
    from seesay.tasks.writing import asked, write

    model.require("caption")
    for prompt, length in {(r.prompt, r.length) for r in requests}:
        if prompt is not None and length != "short":
            raise UsageError(f"a prompt and length={length!r} are given", "give one of the two")
    forms = {"short": ""}
    asking = {
        id(r): asked(model, "caption", r.options, forms.get(r.length, r.length)) for r in requests
    }

    def respond(groups: list[list[CaptionInput]], seen: Seen) -> list[CaptionOutput]:
        listed = [request for group in groups for request in group]
        template, options = asking[id(listed[0])]
        begun = [template.replace("{}", "") if r.prompt is None else r.prompt for r in listed]
        written = write(model, "caption", begun, seen.features[:, 0], options)
        return [CaptionOutput(captions=texts) for texts in written]

    yield from serve(
        model,
        requests,
        respond,
        see=model.module.encode_image,  # type: ignore[arg-type]
        alike=lambda request: asking[id(request)][1],
        batch_size=batch_size,
    )
