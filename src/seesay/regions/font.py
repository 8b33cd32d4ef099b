"""The shipped font, which has Latin, Greek, Cyrillic, kana and the usual Chinese characters."""

from __future__ import annotations

import gzip
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from PIL import ImageFont

FILE = Path(__file__).with_name("fonts") / "NotoSans-cut.ttf.gz"
"""Made by `seesay.recipes.labelfont`; the licence is beside it."""


@lru_cache(maxsize=32)
def label_font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font for letters of about `size` pixels."""
    # the plain layout gives the same picture everywhere; the other depends on what is installed
    plain = ImageFont.Layout.BASIC
    return ImageFont.truetype(BytesIO(_data()), size, layout_engine=plain)


@lru_cache(maxsize=1)
def _data() -> bytes:
    return gzip.decompress(FILE.read_bytes())
