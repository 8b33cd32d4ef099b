"""Which of the model's classes a pair of image and text is of, such as entailment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seesay.errors import InputError, all_or_raise
from seesay.tasks.classify import ClassifyOutput, LabelScore
from seesay.types import ImageInput

if TYPE_CHECKING:
    from seesay.model import Model
    from seesay.tasks.pictures import Seen


@dataclass(frozen=True, kw_only=True)
class EntailInput:
    """An image and a text."""

    image: ImageInput = field(metadata={"help": "An image."})
    text: str = field(metadata={"help": "What is said of it.", "each": True})


def entail(
    model: Model,
    images: Iterable[ImageInput] | ImageInput,
    texts: Sequence[str] | str,
    *,
    batch_size: int = 32,
) -> list[ClassifyOutput]:
    """Say which class each pair is of; one image or one text goes with all of the other.

    Args:
        model: One that was trained on pairs, for visual entailment or other classes.
        images: As many as texts, or one.
        texts: As many as images, or one.
        batch_size: How many go through the network together.

    Returns:
        The classes of the model's configuration with their probabilities, the most probable first.

    Raises:
        UsageError: The numbers do not pair up.
        ItemsFailed: Some images cannot be read.

    Paper: arXiv 1901.06706 (SNLI-VE).
    """
    from seesay.tasks.match import pairs
    from seesay.tasks.pictures import as_list
    from seesay.tasks.vectors import as_texts

    requests = [
        EntailInput(image=image, text=text)
        for image, text in pairs(as_list(images), as_texts(texts))
    ]
    return all_or_raise(run(model, requests, batch_size=batch_size))


def run(
    model: Model, requests: Sequence[EntailInput], *, batch_size: int = 32
) -> Iterator[ClassifyOutput | InputError]:
    """Serve requests in batches."""
    from seesay.tasks.match import pair_ids
    from seesay.tasks.pictures import serve

    model.require("entail")
    module: Any = model.module

    def respond(groups: list[list[EntailInput]], seen: Seen) -> list[ClassifyOutput]:
        ids, mask = pair_ids(model, [request.text for group in groups for request in group])
        pixels = seen.features[:, 0].repeat_interleave(len(groups[0]), 0)
        logits = module.classify_pair(pixels, ids, mask).float()
        # a checkpoint may be silent about what its classes mean
        names = list(getattr(model.config, "class_names", ())) or list(
            map(str, range(logits.shape[1]))
        )
        return [
            ClassifyOutput(
                scores=[LabelScore(label=names[j], score=float(row[j])) for j in order.tolist()]
            )
            for row, order in zip(logits.softmax(-1), logits.argsort(descending=True), strict=True)
        ]

    yield from serve(
        model,
        requests,
        respond,
        see=lambda pixels: pixels,  # the network looks at image and text together
        batch_size=batch_size,
    )
