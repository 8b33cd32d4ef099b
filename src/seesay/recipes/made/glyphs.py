"""Letters as small arrays of ink, drawn once and kept: stamping them is faster than drawing."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from seesay.recipes.made.faces import Face

_FAINT = 40
"""Edge pixels with less ink are left away: nobody sees them, and a box around them is too wide."""


class Glyph(NamedTuple):
    """One letter: its ink 0..255, where the ink begins from the pen on the line, and its width."""

    ink: NDArray[np.uint8] | None
    left: int
    top: int
    advance: float


class Type:
    """A face at a size in pixels; `Type.of` keeps those that were made."""

    def __init__(self, face: Face, size: int) -> None:
        self.face, self.size = face, size
        self.font = ImageFont.truetype(str(face.path), size, layout_engine=ImageFont.Layout.BASIC)
        self.ascent, self.descent = self.font.getmetrics()
        self._glyphs: dict[str, Glyph] = {}

    @staticmethod
    @lru_cache(maxsize=4096)
    def of(face: Face, size: int) -> Type:
        """Return the face at this size."""
        return Type(face, size)

    def glyph(self, letter: str) -> Glyph:
        """Return a letter, drawn on first use."""
        found = self._glyphs.get(letter)
        if found is None:
            found = self._glyphs[letter] = self._draw(letter)
        return found

    def width(self, text: str, spacing: float = 0.0) -> float:
        """Return how far the pen moves over a text, in pixels."""
        return sum(self.glyph(letter).advance for letter in text) + spacing * len(text)

    def _draw(self, letter: str) -> Glyph:
        advance = self.font.getlength(letter)
        x1, y1, x2, y2 = (int(v) for v in self.font.getbbox(letter, anchor="ls"))
        if x2 <= x1 or y2 <= y1:
            return Glyph(None, 0, 0, advance)
        canvas = Image.new("L", (x2 - x1, y2 - y1))
        ImageDraw.Draw(canvas).text((-x1, -y1), letter, fill=255, font=self.font, anchor="ls")
        ink = np.asarray(canvas, dtype=np.uint8)
        seen = ink >= _FAINT
        rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
        top, left = int(rows[0]), int(columns[0])
        ink = ink[top : rows[-1] + 1, left : columns[-1] + 1].copy()
        return Glyph(ink, left + x1, top + y1, advance)
