"""What every layout works with, a sheet, values, fonts; and what it tells of its page."""

from __future__ import annotations

import random
from dataclasses import dataclass

from seesay.recipes.made.faces import Face, families
from seesay.recipes.made.glyphs import Type
from seesay.recipes.made.sheet import Box, Overflow, Sheet
from seesay.recipes.made.vocabulary import Vocabulary


@dataclass(frozen=True)
class Question:
    """What can be asked about a page, and every answer that is right; the first is the page's."""

    text: str
    answers: tuple[str, ...]
    kind: str


Laid = tuple[str, str, list[Question]]
"""What a layout tells: the kind of page, its caption, questions with answers."""


SIZES = (13, 14, 14, 15, 16, 17, 18, 20, 22)
"""Sizes of the text of full pages, in pixels of a 384-pixel page."""


@dataclass
class Setting:
    """What a layout works with: the sheet, the words, the faces, and pixels for its measures."""

    sheet: Sheet
    words: Vocabulary
    draw: random.Random
    faces: tuple[Face, Face]
    scale: float

    def type(self, size: float, *, bold: bool = False) -> Type:
        """The page's font at this size of a 384-pixel page."""
        return Type.of(self.faces[bold], max(8, round(size * self.scale)))

    def other(self) -> Face:
        """Another face of the split, such as a form is filled in with."""
        split = self.words.split
        kind = self.draw.choice(
            [kind for kind in ("mono", "hand", "sans") if families(kind, split)]
        )
        return self.draw.choice(families(kind, split))[0]


class Column:
    """A column of text that is set from the top down; `baseline` is the line that was set last."""

    def __init__(
        self, setting: Setting, size: int, *, centred: bool = False, narrow: bool = False
    ) -> None:
        draw = setting.draw
        self.setting, self.size, self.centred = setting, size, centred
        self.face, self.bold = setting.type(size), setting.type(size, bold=True)
        inset = draw.uniform(30, 60) if narrow else 0
        self.left = (draw.uniform(9, 26) + inset) * setting.scale
        self.right = setting.sheet.size - (draw.uniform(9, 24) + inset) * setting.scale
        self.step = self.face.size * draw.uniform(1.18, 1.6)
        self.baseline = draw.uniform(4, 22) * setting.scale

    def put(
        self, text: str, *, bold: bool = False, right: bool = False, centred: bool | None = None
    ) -> Box:
        """Set one line under the last."""
        self.baseline += self.step
        return self._set(text, self.bold if bold else self.face, right=right, centred=centred)

    def heading(self, text: str, *, centred: bool | None = None) -> None:
        """Set a line in large type, smaller if it would not fit."""
        draw = self.setting.draw
        wanted = max(self.size, draw.choice((17, 18, 20, 22, 24, 28)))
        bold = draw.random() < 0.7
        while True:
            face = self.setting.type(wanted, bold=bold)
            if face.width(text) <= self.right - self.left:
                break
            wanted -= 1
            if wanted < self.size:
                raise Overflow(text)
        self.baseline += face.size * 1.25
        self._set(text, face, centred=centred, accent=draw.random() < 0.25)

    def _set(
        self, text: str, face: Type, *, right: bool = False, centred: bool | None = None,
        accent: bool = False,
    ) -> Box:  # fmt: skip
        wide = self.right - self.left
        middle = self.centred if centred is None else centred
        x = self.right if right else (self.left + self.right) / 2 if middle else self.left
        align = "right" if right else "centre" if middle else "left"
        put = self.setting.sheet.put
        return put(text, x, self.baseline, face, align=align, width=wide, accent=accent)

    def beside(self, text: str, x: float, *, bold: bool = False, face: Face | None = None) -> Box:
        """Set a text on the same line as the last."""
        kind = self.bold if bold else self.face
        if face is not None:
            kind = Type.of(face, kind.size)
        return self.setting.sheet.put(text, x, self.baseline, kind, width=self.right - x)

    def pair(self, text: str, value: str, *, bold: bool = False, dotted: bool = False) -> None:
        """Set a text at the left and a value at the right of one line."""
        face = self.bold if bold else self.face
        end = self.right - face.width(value)
        self.baseline += self.step
        put = self.setting.sheet.put
        box = put(text, self.left, self.baseline, face, width=end - self.left - face.size)
        put(value, self.right, self.baseline, face, align="right")
        dot, y = max(1, round(self.setting.scale)), self.baseline - 1
        x = box.x2 + face.size * 0.5
        while dotted and x < end - face.size * 0.5:
            self.setting.sheet.fill(Box(x, y, x + dot, y + dot), 160)
            x += 5 * self.setting.scale

    def paragraph(self, text: str) -> None:
        """Set a text over as many lines as it takes."""
        for line in wrap(text, self.face, self.right - self.left):
            self.put(line)

    def skip(self, lines: float) -> None:
        """Leave a part of a line free."""
        self.baseline += lines * self.step

    def rule(self) -> None:
        """Draw a line across, below the last text."""
        self.baseline += 0.3 * self.face.size
        y, thick = self.baseline, max(1, round(self.setting.scale))
        self.setting.sheet.fill(Box(self.left, y, self.right, y + thick), 170)


def wrap(text: str, face: Type, width: float) -> list[str]:
    """Break a text into lines of at most this width."""
    lines: list[str] = []
    for word in text.split():
        if lines and face.width(f"{lines[-1]} {word}") <= width:
            lines[-1] += " " + word
        elif face.width(word) > width:
            raise Overflow(word)
        else:
            lines.append(word)
    return lines


def one_of(draw: random.Random, *wordings: str) -> str:
    """Return one way to ask."""
    return draw.choice(wordings)
