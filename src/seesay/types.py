"""The data that crosses layers: image inputs, pictures, text batches.

Shapes everywhere use one legend: B batch, L tokens, D width, H heads, E embedding,
V vocabulary, P patches.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from torch import Tensor

    ImageInput = str | os.PathLike[str] | bytes | Image.Image | np.ndarray[Any, Any]
else:

    class ImageInput:
        """Every image argument: a path, encoded bytes, a PIL image or an array [h, w(, c)].

        At run time it only marks, in a task's request, which fields are images.
        """


@dataclass(frozen=True)
class Picture:
    """One decoded image: upright (EXIF applied), RGB, alpha composited on white.

    Attributes:
        image: The pixels, PIL mode RGB.
        size: Width and height of the upright original in pixels. `image` may be smaller when it
            was decoded for a known target size.
        name: What to call it in messages: the path, or "item 3".
        frames: How many frames the file has; the first is used.
    """

    image: Image.Image
    size: tuple[int, int]
    name: str
    frames: int = 1


class TextBatch(NamedTuple):
    """Token ids [B, L] and the boolean mask [B, L], True where a token counts."""

    ids: Tensor
    mask: Tensor


class Prompt(NamedTuple):
    """What a generator reads, and how what it writes begins. Tensors alone.

    Attributes:
        pixels: [B, 3, h, w], None where `tokens` are given or nothing is looked at.
        tokens: Image tokens [B, P, D] in place of pixels: encode once, ask often. The other rows
            may be n times as many, those of an image side by side.
        ids: A text that is read [B, S], such as a question; None for models that read none.
        mask: [B, S], True where a token of `ids` counts.
        seen: [B, S], which read positions the writer attends to; None for those of `mask`.
        read: Features [B, S, D] of `ids`, by generators that have a method `read`: read once, score
            often.
        prefix: First ids of what is written [B * n, L], padded on the right. The n rows of an
            image stand side by side; only teacher forcing takes more than one.
        prefix_mask: [B * n, L], True where an id of `prefix` counts.
    """

    pixels: Tensor | None
    prefix: Tensor
    prefix_mask: Tensor
    ids: Tensor | None = None
    mask: Tensor | None = None
    seen: Tensor | None = None
    tokens: Tensor | None = None
    read: Tensor | None = None
