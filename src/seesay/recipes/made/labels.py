"""What a model is asked about a page or a scene, and what it should write: Florence-2's tasks.

A sample is a raw prompt that begins with a task token, and the texts that are right; places are
spelled by `families/florence2/parsing.py`, in the bins of `regions/locations.py`.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from seesay.families.florence2.parsing import spell
from seesay.recipes.made.pages import Page
from seesay.recipes.made.scenes import Scene, Thing, one
from seesay.regions import Box, Point, Region
from seesay.regions.locations import spell as spell_places
from seesay.regions.types import Quad


class Sample(NamedTuple):
    """A raw prompt, and the texts of which any is right; the first is the best."""

    prefix: str
    answers: tuple[str, ...]


def of_page(page: Page, draw: random.Random) -> list[Sample]:
    """Everything that is asked about a page; `draw` chooses the lines that are asked for alone."""
    size = page.image.size
    lines = [Region(line.text, quad=quad_of(line.quad)) for line in page.lines]
    samples = [
        Sample("<OCR>", (page.text,)),
        Sample("<OCR_WITH_REGION>", (spell("<OCR_WITH_REGION>", lines, size),)),
        Sample("<CAPTION>", (page.caption,)),
    ]
    for line in draw.sample(lines, min(2, len(lines))):
        samples.append(Sample("<REGION_TO_OCR>" + spell_places(line.box, size), (line.label,)))
    for question in page.questions:
        samples.append(Sample("<DocVQA>" + question.text, question.answers))
    return samples


def quad_of(corners: tuple[tuple[float, float], ...]) -> Quad:
    """Corners as points."""
    a, b, c, d = (Point(x, y) for x, y in corners)
    return a, b, c, d


def of_scene(scene: Scene, draw: random.Random) -> list[Sample]:
    """Everything that is asked about a scene; `draw` chooses the things asked for alone."""
    size, things = scene.image.size, scene.things
    boxes = [Region(thing.name, box=Box(*thing.box)) for thing in things]
    phrases = [
        Region(phrase, box=Box(*thing.box))
        for phrase, group in zip(scene.mentioned, scene.groups, strict=True)
        for thing in group.things
    ]
    described = [Region(thing.called, box=Box(*thing.box)) for thing in things]

    def asked(task: str, regions: list[Region], text: str = "") -> Sample:
        return Sample(task + text, (spell(task, regions, size),))

    samples = [
        Sample("<CAPTION>", (scene.caption,)),
        asked("<OD>", boxes),
        asked("<DENSE_REGION_CAPTION>", described),
        asked("<REGION_PROPOSAL>", boxes),
        asked("<CAPTION_TO_PHRASE_GROUNDING>", phrases, scene.caption),
    ]
    wanted = draw.choice(things).name
    found = [region for region in boxes if region.label == wanted]
    samples.append(asked("<OPEN_VOCABULARY_DETECTION>", found, wanted))
    thing = draw.choice(things)
    place = spell_places(thing.box, size)
    outline = Region(thing.name, polygon=tuple(Point(x, y) for x, y in thing.outline), instance=0)
    segment = "<REFERRING_EXPRESSION_SEGMENTATION>"
    samples += [
        Sample("<REGION_TO_CATEGORY>" + place, (thing.name,)),
        Sample("<REGION_TO_DESCRIPTION>" + place, (one(thing.called),)),
        Sample(segment + referred(thing, things), (spell(segment, [outline], size),)),
        Sample("<REGION_TO_SEGMENTATION>" + place, (spell(segment, [outline], size),)),
    ]
    return samples


def referred(thing: Thing, things: list[Thing]) -> str:
    """A phrase that means this thing and no other of the scene."""
    same = [other for other in things if other.name == thing.name]
    if len(same) == 1:
        return f"the {thing.name}"
    same = [other for other in same if other.called == thing.called]
    if len(same) == 1 and thing.colour:
        return f"the {thing.called}"
    # "the cat" beside a red cat would mean both, so things in their own colours count with these
    same = same if thing.colour else [other for other in things if other.name == thing.name]
    called = thing.called
    places = sorted(same, key=lambda t: t.box.x1 + t.box.x2)
    if thing is places[0]:
        return f"the {called} on the left"
    if thing is places[-1]:
        return f"the {called} on the right"
    return f"the {called} in the middle"
