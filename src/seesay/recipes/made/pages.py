"""Pages of text whose words, places and answers are known exactly.

`page(seed, index)` is one page; equal numbers give equal pages. Levels: 1, a few words in large
type; 2, a few lines; 3, letters, receipts, forms, e-mails, tables of contents and notices.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image

from seesay.errors import UsageError
from seesay.recipes.made.faces import FAMILIES, families
from seesay.recipes.made.letters import email, letter, notice
from seesay.recipes.made.lines import few_lines, few_words
from seesay.recipes.made.setting import Question, Setting
from seesay.recipes.made.sheet import Character, Line, Overflow, Sheet, Word
from seesay.recipes.made.tables import contents, form, programme, receipt
from seesay.recipes.made.vocabulary import Split, Vocabulary

SIZE = 384
LEVELS = (1, 2, 3)
SCALES = (0.25, 16.0)
"""The least and the most scale of type: that of 13 pixels has 3 then, or 208."""
_SHARES = {"sans": 50, "serif": 34, "mono": 10, "hand": 6}


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        image: RGB, square.
        kind: "words", "lines", "letter", "receipt", "form", "e-mail", "contents" or "notice".
        lines: In reading order, with quads in pixels.
        words: Likewise.
        characters: Every visible letter with the upright box around it, in reading order.
        questions: With their answers, which all stand on the page.
        caption: What kind of page it is, in a sentence.
    """

    image: Image.Image
    kind: str
    lines: list[Line]
    words: list[Word]
    characters: list[Character]
    questions: list[Question]
    caption: str

    @property
    def text(self) -> str:
        """All words; rows are separated by line ends, what stands in one row by spaces."""
        parts: list[str] = []
        for before, line in zip([None, *self.lines], self.lines, strict=False):
            if before is not None:
                parts.append(" " if before.row == line.row else "\n")
            parts.append(line.text)
        return "".join(parts)


def page(
    seed: int,
    index: int,
    level: int = 3,
    size: int = SIZE,
    split: Split = "train",
    scale: float | None = None,
) -> Page:
    """Make one page.

    Args:
        seed: Of the collection.
        index: Which page of it.
        level: How much stands on it, 1 to 3.
        size: Of the picture's sides in pixels.
        split: Each is set in fonts and filled with values of its own.
        scale: Of type and margins, which are 1 on a page of 384 pixels; they grow with the page
            unless this is given. A large page with small type is what high resolution is for.

    Raises:
        UsageError: The scale is none, or type of this size is too large for the page.
    """
    scale = size / SIZE if scale is None else scale
    if not SCALES[0] <= scale <= SCALES[1]:
        raise UsageError(f"scale={scale:g}", f"give one of {SCALES[0]:g} to {SCALES[1]:g}")
    for attempt in range(100):
        draw = random.Random(f"{seed}/{index}/{level}/{split}/{attempt}")
        sheet = Sheet(size)
        kinds = FAMILIES[split]
        kind = draw.choices(list(kinds), [_SHARES[kind] for kind in kinds])[0]
        faces = draw.choice(families(kind, split))
        setting = Setting(sheet, Vocabulary(draw, split), draw, faces, scale)
        try:
            named, caption, questions = draw.choice(LAYOUTS[level])(setting)
        except Overflow:
            continue
        done = sheet.finish(draw, level)
        return Page(done.image, named, done.lines, done.words, done.characters, questions, caption)
    raise UsageError(
        f"scale={scale:g}: nothing fits {size} pixels",
        "set smaller type with --scale (in Python scale=), or make larger pages",
    )


LAYOUTS = {
    1: (few_words,),
    2: (few_lines,),
    3: (letter, email, receipt, form, contents, programme, notice),
}
"""By level."""
