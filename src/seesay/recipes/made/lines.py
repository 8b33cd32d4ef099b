"""Layouts without a form: a few words, a few lines."""

from __future__ import annotations

from seesay.recipes.made.setting import Laid, Setting, wrap
from seesay.recipes.made.sheet import Overflow
from seesay.recipes.made.vocabulary import titled


def few_words(setting: Setting) -> Laid:
    """One to three words in large type, anywhere."""
    draw, scale = setting.draw, setting.scale
    bold = draw.random() < 0.35
    face = setting.type(draw.choice((20, 24, 28, 32, 36, 42, 48, 56)), bold=bold)
    count = draw.choices((1, 2, 3), (45, 35, 20))[0]
    texts = [_anything(setting) for _ in range(count)]
    spacing = draw.uniform(0, 2) * scale if draw.random() < 0.15 else 0.0
    if draw.random() < 0.5:
        texts = [" ".join(texts)]
    step = face.size * draw.uniform(1.15, 1.7)
    widest = max(face.width(text, spacing) for text in texts)
    size = setting.sheet.size
    free_x, free_y = size - widest - 12 * scale, size - step * len(texts) - 12 * scale
    if min(free_x, free_y) < 0:
        raise Overflow(texts[0])
    x, y = 6 * scale + draw.random() * free_x, 6 * scale + draw.random() * free_y
    for i, text in enumerate(texts):
        setting.sheet.put(text, x, y + face.ascent + i * step, face, spacing=spacing)
    return "words", "A few words in large type.", []


def _anything(setting: Setting) -> str:
    """A word in any case, a name, a number."""
    draw, words = setting.draw, setting.words
    choice = draw.random()
    if choice < 0.2:
        return words.odd()
    if choice < 0.32:
        return words.known(draw.choice(("first", "last", "cities")))
    word = words.word() if draw.random() < 0.7 else words.any_of("words")
    if draw.random() < 0.1:
        word += draw.choice(".,!?:;")
    case = draw.random()
    return word.upper() if case < 0.15 else titled(word) if case < 0.4 else word


def few_lines(setting: Setting) -> Laid:
    """Two to nine lines of sentences or of anything, from one left edge."""
    draw, scale = setting.draw, setting.scale
    face = setting.type(draw.choice((15, 16, 17, 18, 20, 22, 24, 28)), bold=draw.random() < 0.25)
    wide = setting.sheet.size - 16 * scale
    width = draw.uniform(0.55, 1.0) * wide
    if draw.random() < 0.7:
        count = draw.randint(1, 3)
        parts = [setting.words.any_of("sentences") for _ in range(count)]
        text = " ".join(part + draw.choice((".", ".", ",", "!", "?")) for part in parts)
    else:
        text = " ".join(_anything(setting) for _ in range(draw.randint(3, 14)))
    lines = wrap(text, face, width)
    step = face.size * draw.uniform(1.12, 1.6)
    free = setting.sheet.size - step * len(lines) - 14 * scale
    if not 1 < len(lines) < 10 or free < 0:
        raise Overflow(text)
    widest = max(face.width(line) for line in lines)
    x, y = 8 * scale + draw.random() * max(0, wide - widest), 7 * scale + draw.random() * free
    middle = draw.random() < 0.2
    for i, line in enumerate(lines):
        at = x + widest / 2 if middle else x
        align = "centre" if middle else "left"
        setting.sheet.put(line, at, y + face.ascent + i * step, face, align=align)
    return "lines", "A few lines of text.", []
