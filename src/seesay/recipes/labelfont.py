r"""The font that labels are drawn with: Noto Sans SC and Noto Sans, cut down to some alphabets.

    python -m seesay.recipes.labelfont NotoSansSC_500Medium.ttf NotoSans_500Medium.ttf \
        src/seesay/regions/fonts

The sources are the files of these names in the npm packages @expo-google-fonts/noto-sans-sc 0.4.3
and @expo-google-fonts/noto-sans 0.4.2. Needs fonttools; version 4.68 makes the shipped bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

SOURCES = ("b30853d205f3ecdd", "8c1dc004996029f8")
"""How the SHA-256 of the two sources begin."""

NAME = "NotoSans-cut.ttf.gz"

LETTERS = (
    (0x0020, 0x024F),  # Latin
    (0x0370, 0x052F),  # Greek and Cyrillic
    (0x1E00, 0x1FFF),  # more Latin, of Vietnamese among others, and Greek with all its accents
)
"""First and last characters that are kept of Noto Sans."""

OTHERS = (
    (0x2000, 0x22FF),  # punctuation, currencies, arrows, mathematics
    (0x25A0, 0x26FF),  # shapes and symbols
    (0x3000, 0x312F),  # Chinese punctuation, kana, bopomofo
    (0xFF00, 0xFFEF),  # wide and narrow forms
)
"""First and last characters that are kept of Noto Sans SC where it has them."""

SETS = {"gb2312": (0xA1, 0xF7), "big5": (0xA1, 0xC6), "euc_jp": (0xA1, 0xCF)}
"""Encodings whose two-byte characters are kept as well, with their first and last leading bytes:
all of simplified Chinese, the more frequent half of traditional Chinese and of Japanese."""


EPOCH = 2_082_844_800
"""1970, as fonts count seconds."""

UNUSED = ("BASE", "DSIG", "GDEF", "GPOS", "GSUB", "MATH", "STAT", "VORG", "gasp", "vhea", "vmtx")
"""Tables that a plain line of text does not need."""


def ranged(ranges: Iterable[tuple[int, int]]) -> set[int]:
    """Return the code points of some ranges."""
    return {code for first, last in ranges for code in range(first, last + 1)}


def chinese() -> set[int]:
    """Return the code points of `SETS`."""
    kept: set[int] = set()
    for encoding, (first, last) in SETS.items():
        for lead in range(first, last + 1):
            for trail in range(0x40, 0xFF):
                kept.update(map(ord, bytes([lead, trail]).decode(encoding, "ignore")))
    return kept - ranged([(0, 0xFF), *LETTERS])


def cut(data: bytes, codes: set[int]) -> bytes:
    """Return a font that has outlines alone, and only of some code points."""
    from fontTools import subset

    options = subset.Options(
        layout_features=[],
        hinting=False,
        glyph_names=False,
        notdef_outline=True,
        name_IDs=[0, 1, 2, 3, 4, 5, 6, 13, 14],
        drop_tables=[*UNUSED],
    )
    font = subset.load_font(BytesIO(data), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=codes)
    subsetter.subset(font)
    return _bytes(font)


def join(fonts: Sequence[bytes]) -> bytes:
    """Return the fonts as one; the first decides the measures of a line."""
    from fontTools.merge import Merger

    with TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}.ttf" for i in range(len(fonts))]
        for path, data in zip(paths, fonts, strict=True):
            path.write_bytes(data)
        return _bytes(Merger().merge([str(path) for path in paths]))


def make(sources: Sequence[Path], folder: Path) -> Path:
    """Write the shipped font, packed, and return its path.

    Raises:
        ValueError: A source is another file than the shipped font was made of.
    """
    read = [source.read_bytes() for source in sources]
    for source, data, digest in zip(sources, read, SOURCES, strict=True):
        if not hashlib.sha256(data).hexdigest().startswith(digest):
            raise ValueError(f"{source} is not the file that the shipped font was made of")
    han = cut(read[0], chinese() | ranged(OTHERS))
    made = join([han, cut(read[1], ranged(LETTERS))])
    target = folder / NAME
    target.write_bytes(gzip.compress(made, compresslevel=9, mtime=0))
    return target


def _bytes(font: Any) -> bytes:
    font.recalcTimestamp = False
    font["head"].created = font["head"].modified = EPOCH  # the same bytes again
    made = BytesIO()
    font.save(made)
    return made.getvalue()


if __name__ == "__main__":
    written = make([Path(path) for path in sys.argv[1:3]], Path(sys.argv[3]))
    digest = hashlib.sha256(written.read_bytes()).hexdigest()
    print(f"{written}: {written.stat().st_size} bytes, SHA-256 {digest}")
