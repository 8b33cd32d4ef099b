"""What can be said and asked of a scene whose contents are known: captions, questions, answers.

Captions are one fixed function of the scene. Questions with the answers yes and no come in pairs,
one of each, and about things drawn with the same odds, so that a question alone tells nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from seesay.recipes.mini.composed import COLOURS, Placed, Scene, Thing, shapes
from seesay.recipes.mini.corpus import Pair, a
from seesay.recipes.mini.render import SIZE

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
_COUNTED = ("零", "一", "两", "三", "四", "五", "六", "七", "八")
_YES, _NO = Pair("yes", "有"), Pair("no", "没有")
_RIGHT, _WRONG = Pair("yes", "是"), Pair("no", "不是")


class Asked(NamedTuple):
    """A question and its answer in both languages, and which kind of question it is."""

    kind: str
    question: Pair
    answer: Pair


class Group(NamedTuple):
    """All that a scene has of one thing (for shapes, of one colour)."""

    members: tuple[Placed, ...]

    @property
    def thing(self) -> Thing:
        """What they are."""
        return self.members[0].thing

    @property
    def coloured(self) -> bool:
        """Whether the colour is part of the name."""
        return self.thing.kind == "shape"

    def named(self, article: str = "a") -> Pair:
        """Return how they are called: "two red circles", with "the" when told so."""
        thing, count, colour = self.thing, len(self.members), self.members[0].colour
        hue = colour if self.coloured and colour else ""
        english = f"{hue} {thing.english if count == 1 else thing.plural}".strip()
        chinese = (f"{COLOURS[hue][0]}的" if hue else "") + thing.chinese
        if article == "the":
            return Pair("the " + english, chinese)
        counted = a(english) if count == 1 else f"{NUMBERS[count]} {english}"
        return Pair(counted, f"{_COUNTED[count]}{thing.measure}{chinese}")


def groups(scene: Scene) -> list[Group]:
    """Return what is in a scene, from left to right."""
    found: dict[tuple[str, str | None], list[Placed]] = {}
    for placed in scene.placed:
        key = (placed.thing.english, placed.colour if placed.thing.kind == "shape" else None)
        found.setdefault(key, []).append(placed)
    return [Group(tuple(members)) for members in found.values()]


def caption(scene: Scene) -> Pair:
    """Say what is in a scene; of two single things, also how they stand."""
    found = groups(scene)
    names = [group.named() for group in found]
    if len(found) == 2 and all(len(group.members) == 1 for group in found):
        left, right = found[0].members[0], found[1].members[0]
        (x0, y0), (x1, y1) = left.centre, right.centre
        if abs(x1 - x0) >= abs(y1 - y0):
            return Pair(
                f"{names[0].english} to the left of {names[1].english}",
                f"{names[0].chinese}在{names[1].chinese}的左边",
            )
        upper, lower = (names[0], names[1]) if y0 < y1 else (names[1], names[0])
        return Pair(
            f"{upper.english} above {lower.english}",
            f"{upper.chinese}在{lower.chinese}的上面",
        )
    return _listed(names)


def _listed(names: Sequence[Pair]) -> Pair:
    if len(names) == 1:
        return names[0]
    english = ", ".join(n.english for n in names[:-1]) + " and " + names[-1].english
    return Pair(english, "、".join(n.chinese for n in names[:-1]) + "和" + names[-1].chinese)


_ROWS = (("top", "上"), ("", ""), ("bottom", "下"))
_COLUMNS = (("left", "左"), ("", ""), ("right", "右"))


def place(placed: Placed) -> Pair:
    """Say in which ninth of the picture something is."""
    x, y = placed.centre
    row, column = (min(2, int(v / SIZE * 3)) for v in (y, x))
    if row == column == 1:
        return Pair("in the middle", "在中间")
    english = " ".join(w for w in (_ROWS[row][0], _COLUMNS[column][0]) if w)
    chinese = _COLUMNS[column][1] + _ROWS[row][1]
    side = "边" if len(chinese) == 1 else "角"
    return Pair(f"at the {english}" if row != 1 else f"on the {english}", f"在{chinese}{side}")


_SIDES: dict[str, tuple[str, Callable[[Placed, Placed], bool]]] = {
    "to the left of": ("左边", lambda p, q: _aside(p, q) and p.centre[0] < q.centre[0]),
    "to the right of": ("右边", lambda p, q: _aside(p, q) and p.centre[0] > q.centre[0]),
    "above": ("上面", lambda p, q: not _aside(p, q) and p.centre[1] < q.centre[1]),
    "below": ("下面", lambda p, q: not _aside(p, q) and p.centre[1] > q.centre[1]),
}
_OPPOSITE = {
    "to the left of": "to the right of",
    "to the right of": "to the left of",
    "above": "below",
    "below": "above",
}


def _aside(p: Placed, q: Placed) -> bool:
    """Whether two things stand beside each other rather than over each other."""
    return abs(p.centre[0] - q.centre[0]) >= abs(p.centre[1] - q.centre[1])


_KINDS = {
    "animal": "动物",
    "fruit": "水果",
    "vegetable": "蔬菜",
    "vehicle": "交通工具",
    "building": "建筑",
    "plant": "植物",
    "instrument": "乐器",
    "ball": "球",
    "tool": "工具",
    "shape": "图形",
}
"""Kinds that are asked after by their name."""


def questions(scene: Scene, others: Sequence[Thing], rng: np.random.Generator) -> list[Asked]:
    """Return all that is asked of a scene.

    Args:
        scene: What is in the picture.
        others: Things that questions about what is not there are asked about.
        rng: Chooses wordings, and who is asked about.
    """
    found = groups(scene)
    asked = [
        *_what(scene, rng),
        *_counts(found, rng),
        *_there(found, others, rng),
        *_colours(found, rng),
        *_places(found, rng),
        *_kinds(found, rng),
    ]
    if scene.ground is not None:
        english = ("what colour is the background?", "what is the colour of the background?")
        answer = Pair(scene.ground, COLOURS[scene.ground][0])
        asked.append(Asked("ground", Pair(_one(english, rng), "背景是什么颜色？"), answer))
    return asked


def _one(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]


_WHAT = (
    "what is in the picture?",
    "what is this?",
    "what do you see?",
    "what is in the image?",
    "what does the picture show?",
    "what can be seen?",
)
_WHAT_CHINESE = ("这是什么？", "图里有什么？", "图中有什么？", "你看到了什么？", "图片里是什么？")


def what(rng: np.random.Generator) -> Pair:
    """Return the question after everything, in one of its wordings."""
    return Pair(_one(_WHAT, rng), _one(_WHAT_CHINESE, rng))


def _what(scene: Scene, rng: np.random.Generator) -> list[Asked]:
    return [Asked("what", what(rng), _listed([g.named() for g in groups(scene)]))]


def _counts(found: Sequence[Group], rng: np.random.Generator) -> list[Asked]:
    asked = []
    for group in found:
        if sum(g.thing.english == group.thing.english for g in found) > 1:
            continue
        plural, thing = group.thing.plural, group.thing
        english = (f"how many {plural} are there?", f"how many {plural} are in the picture?")
        chinese = (f"有几{thing.measure}{thing.chinese}？", f"图里有多少{thing.chinese}？")
        count = str(len(group.members))
        question = Pair(_one(english, rng), _one(chinese, rng))
        asked.append(Asked("count", question, Pair(count, count)))
    total = str(sum(len(g.members) for g in found))
    question = Pair(
        _one(("how many things are there?", "how many objects are in the picture?"), rng),
        "一共有几个东西？",
    )
    return [*asked, Asked("count all", question, Pair(total, total))]


def _there(
    found: Sequence[Group], others: Sequence[Thing], rng: np.random.Generator
) -> list[Asked]:
    """One thing that is there, and one that is not; half of these of a kind that is."""
    group = found[int(rng.integers(len(found)))]
    present = {g.thing.english for g in found}
    if group.coloured:
        shown = {(g.thing.english, g.members[0].colour) for g in found}
        names = [s for s in shapes() if s.english in present or rng.random() < 0.5]
        while True:
            thing, colour = names[int(rng.integers(len(names)))], _one(list(COLOURS), rng)
            if (thing.english, colour) not in shown:
                break
        absent = Pair(a(f"{colour} {thing.english}"), f"{COLOURS[colour][0]}的{thing.chinese}")
    else:
        some = [others[int(i)] for i in rng.integers(len(others), size=60)]
        some = [t for t in some if t.english not in present]
        alike = [t for t in some if t.kind == group.thing.kind]
        pool = alike if alike and rng.random() < 0.5 else some
        if not pool:
            return []
        thing = pool[int(rng.integers(len(pool)))]
        absent = Pair(a(thing.english), thing.chinese)
    one = Group(group.members[:1])
    there = Pair(one.named().english, one.named("the").chinese)
    return [
        Asked("there", _is_there(there, rng), _YES),
        Asked("there", _is_there(absent, rng), _NO),
    ]


def _is_there(thing: Pair, rng: np.random.Generator) -> Pair:
    english = ("is there {}?", "is there {} in the picture?", "do you see {}?", "can you see {}?")
    chinese = ("有{}吗？", "图里有{}吗？", "图中有没有{}？")
    return is_there(thing, _one(english, rng), _one(chinese, rng))


def is_there(thing: Pair, english: str = "is there {}?", chinese: str = "有{}吗？") -> Pair:
    """Ask whether a thing is in the picture."""
    return Pair(english.format(thing.english), chinese.format(thing.chinese))


def _colours(found: Sequence[Group], rng: np.random.Generator) -> list[Asked]:
    asked = []
    for group in found:
        colour = group.members[0].colour
        if colour is None or sum(g.thing.english == group.thing.english for g in found) > 1:
            continue
        thing = group.thing
        one = len(group.members) == 1
        called = f"is the {thing.english}" if one else f"are the {thing.plural}"
        word = _one(("colour", "color"), rng)
        question = Pair(f"what {word} {called}?", f"{thing.chinese}是什么颜色的？")
        asked.append(Asked("colour", question, Pair(colour, COLOURS[colour][0])))
    return asked


def _places(found: Sequence[Group], rng: np.random.Generator) -> list[Asked]:
    """Where single things are, and how two of them stand to each other."""
    single = [g for g in found if len(g.members) == 1]
    asked = []
    for group in single:
        name = group.named("the")
        question = Pair(f"where is {name.english}?", f"{name.chinese}在哪里？")
        asked.append(Asked("where", question, place(group.members[0])))
    if len(single) < 2:
        return asked
    first, second = (single[int(i)] for i in rng.choice(len(single), 2, replace=False))
    p, q = first.members[0], second.members[0]
    side = next(side for side, (_, holds) in _SIDES.items() if holds(p, q))
    said, asked_of = first.named("the"), second.named("the")
    if len(found) == 2:
        question = Pair(
            f"what is {side} {asked_of.english}?", f"{asked_of.chinese}的{_SIDES[side][0]}是什么？"
        )
        answer = first.named()
        asked.append(Asked("beside", question, answer))
    for claimed, answer in ((side, _RIGHT), (_OPPOSITE[side], _WRONG)):
        question = Pair(
            f"is {said.english} {claimed} {asked_of.english}?",
            f"{said.chinese}是在{asked_of.chinese}的{_SIDES[claimed][0]}吗？",
        )
        asked.append(Asked("relation", question, answer))
    return asked


def _kinds(found: Sequence[Group], rng: np.random.Generator) -> list[Asked]:
    """Ask after the only thing of a kind; and whether anything of a kind is there."""
    asked = []
    kinds = [g.thing.kind for g in found]
    for group in found:
        kind = group.thing.kind
        if kind in _KINDS and kinds.count(kind) == 1:
            english = (f"what {kind} is in the picture?", f"which {kind} is there?")
            question = Pair(_one(english, rng), f"图里有什么{_KINDS[kind]}？")
            asked.append(Asked("kind", question, group.named()))
    present = [k for k in kinds if k in _KINDS]
    absent = [k for k in _KINDS if k not in kinds]
    if present:
        for kind, answer in ((_one(present, rng), _YES), (_one(absent, rng), _NO)):
            thing = Pair(a(kind), _KINDS[kind])
            asked.append(Asked("any", _is_there(thing, rng), answer))
    return asked
