"""Made scenes: equal numbers give equal scenes; boxes and outlines are those of what is drawn."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image, ImageDraw

from seesay.families.florence2.parsing import parse
from seesay.recipes.made import scenes
from seesay.recipes.made.cutouts import CONCEPTS, VENDORS, border, cutouts, simplified
from seesay.recipes.made.labels import of_scene, referred
from seesay.recipes.made.scenes import Scene, scene
from seesay.recipes.made.vocabulary import SPLITS


@pytest.fixture(scope="module")
def made() -> list[Scene]:
    """Scenes of the test split."""
    return [scene(5, index, split="test") for index in range(60)]


def test_equal_numbers_give_equal_scenes() -> None:
    one, same, other = scene(1, 7), scene(1, 7), scene(1, 8)
    assert one.image.tobytes() == same.image.tobytes()
    assert one.things == same.things
    assert one.image.tobytes() != other.image.tobytes()


def test_boxes_are_those_of_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    ground = (1, 254, 2)
    monkeypatch.setattr(
        scenes, "_ground", lambda draw, size: Image.new("RGB", (size, size), ground)
    )
    for index in range(40):
        done = scene(3, index)
        drawn = np.abs(np.asarray(done.image, dtype=int) - ground).max(2) > 60
        free = drawn.copy()
        for thing in done.things:
            x1, y1, x2, y2 = (int(v) for v in thing.box)
            inside = drawn[y1:y2, x1:x2]
            free[y1:y2, x1:x2] = False
            for side in (inside[:4], inside[-4:], inside[:, :4], inside[:, -4:]):
                assert side.any(), (index, thing.name)
        assert not free.any()


def test_things_do_not_overlap_and_lie_inside(made: list[Scene]) -> None:
    for done in made:
        covered = np.zeros((384, 384), int)
        for thing in done.things:
            x1, y1, x2, y2 = (int(v) for v in thing.box)
            assert 0 <= x1 < x2 <= 384
            assert 0 <= y1 < y2 <= 384
            covered[y1:y2, x1:x2] += 1
        assert covered.max() == 1


@pytest.mark.parametrize("split", SPLITS)
def test_outlines_are_those_of_the_drawings(split: str) -> None:
    for cutout in cutouts(split):  # type: ignore[arg-type]
        solid = np.asarray(cutout.art.getchannel("A")) > 96
        mask = Image.new("1", cutout.art.size)
        corners = [(x * mask.width, y * mask.height) for x, y in cutout.outline]
        ImageDraw.Draw(mask).polygon(corners, fill=1)
        filled = np.asarray(mask)
        assert (solid & filled).sum() / (solid | filled).sum() > 0.78, (cutout.vendor, cutout.name)
        assert 3 <= len(corners) <= 70


def test_a_border_goes_around_the_largest_part_clockwise() -> None:
    solid = np.zeros((6, 8), bool)
    solid[0, 0] = True
    solid[2:5, 3:7] = True
    path = border(solid)
    assert len(path) == 14
    assert simplified(path, 0.5) == [(3, 2), (7, 2), (7, 5), (3, 5)]


def test_all_vendors_draw_all_things_and_belong_to_one_split() -> None:
    sets = [cutouts(split) for split in SPLITS]
    vendors = [{cutout.vendor for cutout in found} for found in sets]
    assert set.union(*vendors) == set(VENDORS)
    assert not vendors[0] & vendors[2]
    assert not vendors[1] & vendors[2]
    for found, drawn in zip(sets, vendors, strict=True):
        assert len(found) == len(CONCEPTS) * len(drawn)
        assert len({cutout.name for cutout in found}) == len(CONCEPTS)


def test_phrases_mean_one_thing(made: list[Scene]) -> None:
    for done in made:
        phrases = [referred(thing, done.things) for thing in done.things]
        crowded = [p for p in phrases if p.endswith("in the middle")]
        unique = [p for p in phrases if not p.endswith("in the middle")]
        assert len(set(unique)) == len(unique), phrases
        assert len(crowded) <= 5


def test_captions_mention_everything(made: list[Scene]) -> None:
    for done in made:
        assert sum(len(group.things) for group in done.groups) == len(done.things)
        assert all(phrase in done.caption for phrase in done.mentioned)
        assert done.caption[0].isupper()
        assert done.caption.endswith(".")


def test_labels_say_what_the_parser_reads(made: list[Scene]) -> None:
    for index, done in enumerate(made):
        samples = {s.prefix.split(">")[0] + ">": s for s in of_scene(done, random.Random(index))}
        assert len(samples) == 10
        found = parse("<OD>", samples["<OD>"].answers[0], (384, 384)).regions
        assert [region.label for region in found] == [thing.name for thing in done.things]
        for region, thing in zip(found, done.things, strict=True):
            assert np.abs(np.array(region.box) - thing.box).max() <= 0.384 / 2 + 0.2
        ground = samples["<CAPTION_TO_PHRASE_GROUNDING>"]
        for region in parse(ground.prefix, ground.answers[0], (384, 384)).regions:
            assert region.label in ground.prefix
        segment = samples["<REFERRING_EXPRESSION_SEGMENTATION>"]
        outline = parse(segment.prefix, segment.answers[0], (384, 384)).regions
        assert outline[0].polygon is not None
        for sample in samples.values():
            assert not parse(sample.prefix, sample.answers[0], (384, 384)).truncated
