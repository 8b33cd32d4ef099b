"""Small pictures of pictures, for a page and for a terminal."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from seesay.errors import InputError
from seesay.processing.image import open_picture

if TYPE_CHECKING:
    from rich.text import Text

    from seesay.types import ImageInput


def thumbnail(item: ImageInput, edge: int) -> Image.Image | None:
    """Read a picture so that it fits a square; None when it cannot be read any more."""
    try:
        image = open_picture(item, at_least=edge).image
    except InputError:
        return None
    image.thumbnail((edge, edge))
    return image


def data_uri(image: Image.Image) -> str:
    """Write a picture as text that a page can hold."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def half_blocks(image: Image.Image, columns: int) -> Text:
    """Draw a picture with characters, two pixels each: the upper half block in two colours."""
    from rich.text import Text

    width, height = image.size
    lines = max(1, round(height / width * columns / 2))
    pixels = np.asarray(image.convert("RGB").resize((columns, lines * 2)))
    text = Text()
    for y in range(lines):
        text.append("\n" if y else "")
        for upper, lower in zip(pixels[2 * y], pixels[2 * y + 1], strict=True):
            colours = [f"rgb({r},{g},{b})" for r, g, b in (upper.tolist(), lower.tolist())]
            text.append("▀", style=" on ".join(colours))
    return text
