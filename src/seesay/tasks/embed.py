"""Images and texts as unit vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seesay.errors import InputError, UsageError
from seesay.types import ImageInput

if TYPE_CHECKING:
    from seesay.model import Model


@dataclass(frozen=True, kw_only=True)
class EmbedInput:
    """One image or one text."""

    image: ImageInput | None = field(
        default=None, metadata={"help": "An image, or a folder.", "each": True}
    )
    text: str | None = field(
        default=None, metadata={"help": "A text instead of an image.", "each": True}
    )


@dataclass(frozen=True, kw_only=True)
class EmbedOutput:
    """A unit vector of the space that images and texts share."""

    vector: list[float]

    def show(self) -> str:
        """Return the first numbers, for people."""
        return f"[{', '.join(f'{value:.4f}' for value in self.vector[:6])}, ...] {len(self.vector)}"

    @staticmethod
    def arrays(results: Sequence[EmbedOutput]) -> dict[str, Any]:
        """Return what a file of many holds: `vectors`, float32 [N, E]."""
        import numpy as np

        return {"vectors": np.array([result.vector for result in results], np.float32)}


def run(
    model: Model, requests: Sequence[EmbedInput], *, batch_size: int = 32
) -> Iterator[EmbedOutput | InputError]:
    """Embed each request; a bad image gives its error in place of its output."""
    if any((request.image is None) == (request.text is None) for request in requests):
        raise UsageError("embed takes an image or a text, one of the two")
    texts = [request.text for request in requests if request.text is not None]
    text_vectors = iter(model.embed_texts(texts))
    images = [request.image for request in requests if request.image is not None]
    image_results = (
        failure or EmbedOutput(vector=vector.tolist())
        for vector, failure in model.each_image(images, batch_size=batch_size)
    )
    for request in requests:
        if request.text is not None:
            yield EmbedOutput(vector=next(text_vectors).tolist())
        else:
            yield next(image_results)
