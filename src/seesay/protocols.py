"""What a model can do, as small protocols. A task needs one of them; nothing inherits from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn

    from seesay.processing.image import ImageSpec
    from seesay.types import Picture, TextBatch


@runtime_checkable
class DualEncoder(Protocol):
    """Images and texts as unit vectors of one space."""

    logit_scale: Tensor
    """Scalar parameter: similarities are multiplied by its exponential."""

    def embed_image(self, pixels: Tensor) -> Tensor:
        """Pixels [B, 3, h, w] to unit vectors [B, E]."""
        ...

    def embed_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids [B, L] and boolean mask [B, L] to unit vectors [B, E]."""
        ...


@runtime_checkable
class PooledEncoder(Protocol):
    """A dual encoder in two steps: a long way to pooled features, a short one to the vector.

    What is frozen of a tower is mostly the long way, so training can keep its results.
    `embed_image` and `embed_text` are the one after the other.
    """

    def pool_image(self, pixels: Tensor) -> Tensor:
        """Pixels [B, 3, h, w] to pooled features [B, D]."""
        ...

    def project_image(self, pooled: Tensor) -> Tensor:
        """Pooled features [B, D] to unit vectors [B, E]."""
        ...

    def pool_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids [B, L] and boolean mask [B, L] to pooled features [B, D]."""
        ...

    def project_text(self, pooled: Tensor) -> Tensor:
        """Pooled features [B, D] to unit vectors [B, E]."""
        ...


@runtime_checkable
class Localiser(Protocol):
    """A dual encoder whose last spatial features can be asked where a text is in a picture."""

    def relevance_layer(self) -> nn.Module:
        """The module whose output, [B, D, h, w] or [B, 1 + P, D], relevance maps are read from."""
        ...


class Processor(Protocol):
    """Pictures and strings to tensors, for one checkpoint."""

    image: ImageSpec
    """How pictures become pixels."""

    def images(self, pictures: Sequence[Picture]) -> Tensor:
        """Pictures to normalised pixels [B, 3, h, w], float32."""
        ...

    def texts(self, texts: Sequence[str]) -> TextBatch:
        """Strings to ids and mask; raises InputError when there is no tokenizer."""
        ...

    def settings(self) -> dict[str, Any]:
        """Everything that decides pixels and ids, as JSON; part of the model's fingerprint."""
        ...

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files into a native checkpoint folder."""
        ...
