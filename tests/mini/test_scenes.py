"""Composed scenes: what is said and asked of them is true, and questions alone tell nothing."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from seesay.recipes.mini import asked, composed
from seesay.recipes.mini.composed import Cutout, Placed, Scene, Thing
from seesay.recipes.mini.render import SIZE

DOG = Thing("dog face", "dog", "dogs", "狗", "只", "animal")
APPLE = Thing("red apple", "apple", "apples", "苹果", "个", "fruit")
BUS = Thing("bus", "bus", "buses", "公交车", "辆", "vehicle")
CIRCLE = next(thing for thing in composed.shapes() if thing.english == "circle")


def cutout(thing: Thing, rgb: tuple[int, int, int]) -> Cutout:
    art = Image.new("RGBA", (60, 40), (*rgb, 255))
    return Cutout(thing, art, composed.colour_of(art))


DRAWN = [cutout(DOG, (135, 85, 50)), cutout(APPLE, (220, 40, 40)), cutout(BUS, (50, 100, 220))]


def placed(thing: Thing, x: int, y: int, colour: str | None = None) -> Placed:
    return Placed(thing, colour, (x - 20, y - 20, x + 20, y + 20))


def scenes(count: int) -> list[Scene]:
    return [composed.compose(DRAWN, np.random.default_rng([5, i]))[0] for i in range(count)]


def test_a_scene_is_a_function_of_its_seed_and_says_where_things_are() -> None:
    for i in range(20):
        scene, picture = composed.compose(DRAWN, np.random.default_rng([1, i]))
        again, same = composed.compose(DRAWN, np.random.default_rng([1, i]))
        assert scene == again
        assert picture.tobytes() == same.tobytes()
        assert 1 <= len(scene.placed) <= 8
        for one in scene.placed:
            left, top, right, bottom = one.box
            assert 0 <= left < right <= SIZE
            assert 0 <= top < bottom <= SIZE
            if one.thing.english in ("apple", "bus"):
                x, y = (int(v) for v in one.centre)
                assert composed.name_colour(*picture.getpixel((x, y))) == one.colour


def test_every_colour_has_its_own_name_and_mixed_things_have_none() -> None:
    for name, (_, rgb) in composed.COLOURS.items():
        assert composed.name_colour(*rgb) == name
    half = Image.new("RGBA", (40, 40), (220, 40, 40, 255))
    half.paste((50, 100, 220, 255), (0, 0, 20, 40))
    assert composed.colour_of(half) is None
    assert composed.colour_of(Image.new("RGBA", (40, 40))) is None


def test_the_table_of_things_is_whole() -> None:
    things = composed.things()
    assert len(things) > 300
    assert len({thing.concept for thing in things}) == len(things)
    kinds = Counter(thing.kind for thing in things)
    assert min(kinds.values()) >= 5
    for thing in things:
        assert all((thing.english, thing.plural, thing.chinese, thing.measure)), thing


@pytest.mark.parametrize(
    ("scene", "english", "chinese"),
    [
        (Scene((placed(DOG, 100, 100),), None), "a dog", "一只狗"),
        (
            Scene((placed(DOG, 50, 100), placed(APPLE, 150, 120)), None),
            "a dog to the left of an apple",
            "一只狗在一个苹果的左边",
        ),
        (
            Scene((placed(DOG, 100, 150), placed(APPLE, 110, 50)), None),
            "an apple above a dog",
            "一个苹果在一只狗的上面",
        ),
        (
            Scene((placed(BUS, 40, 40), placed(BUS, 90, 40), placed(DOG, 150, 40)), None),
            "two buses and a dog",
            "两辆公交车和一只狗",
        ),
        (Scene((placed(CIRCLE, 40, 40, "red"),), None), "a red circle", "一个红色的圆形"),
    ],
)
def test_captions_say_what_is_there_and_how_it_stands(
    scene: Scene, english: str, chinese: str
) -> None:
    assert asked.caption(scene) == (english, chinese)


def test_answers_are_true_of_the_scene() -> None:
    scene = Scene((placed(DOG, 40, 110, "brown"), placed(BUS, 180, 100, "blue")), "green")
    seen = {}
    for seed in range(30):
        for one in asked.questions(scene, [DOG, APPLE, BUS], np.random.default_rng(seed)):
            seen[one.question.english] = (one.kind, one.answer.english)
    assert seen["what colour is the dog?"] == ("colour", "brown")
    assert seen["how many buses are there?"] == ("count", "1")
    assert seen["where is the dog?"] == ("where", "on the left")
    assert seen["is there an apple?"] == ("there", "no")
    assert seen["is there a bus?"] == ("there", "yes")
    assert seen["what is to the left of the bus?"] == ("beside", "a dog")
    assert seen["is the bus to the left of the dog?"] == ("relation", "no")
    assert seen["what vehicle is in the picture?"] == ("kind", "a bus")
    assert seen["what is the colour of the background?"] == ("ground", "green")


def test_yes_and_no_are_asked_equally_often() -> None:
    counts: Counter[tuple[str, str]] = Counter()
    for i, scene in enumerate(scenes(200)):
        for one in asked.questions(scene, [DOG, APPLE, BUS], np.random.default_rng(i)):
            if one.answer.english in ("yes", "no"):
                counts[one.kind, one.answer.english] += 1
    for kind in ("there", "relation", "any"):
        assert counts[kind, "yes"] == counts[kind, "no"] > 20
