"""What Florence-2 writes is read: published answers, every trap, and any string at all."""

from __future__ import annotations

from math import exp, log
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seesay.errors import UsageError
from seesay.families.florence2.parsing import GRAMMARS, grammar_of, parse, spell
from seesay.families.florence2.prompts import SENTENCES
from seesay.regions import Box, Region, Regions
from seesay.regions.locations import box_of, points_of

SIZE = (640, 480)
CAR = (
    "</s><s>car<loc_53><loc_333><loc_933><loc_774>door handle<loc_425><loc_503><loc_474><loc_515>"
    "wheel<loc_709><loc_576><loc_865><loc_772><loc_150><loc_584><loc_309><loc_773></s>"
)
"""What the base model says of a published test picture of 640 x 480 pixels."""


def locs(*bins: int) -> str:
    return "".join(f"<loc_{bin}>" for bin in bins)


def whole(box: Box) -> list[int]:
    return [int(value) for value in box]


def test_the_published_answer_is_read_as_published() -> None:
    found = parse("<OD>", CAR, SIZE)
    assert [(region.label, whole(region.box)) for region in found.regions] == [
        ("car", [34, 160, 597, 371]),
        ("door handle", [272, 241, 303, 247]),
        ("wheel", [454, 276, 553, 370]),
        ("wheel", [96, 280, 198, 371]),  # one label with eight places is two boxes
    ]
    assert found.regions[0].box.x1 == pytest.approx(53.5 * 0.64)  # fractions are kept
    assert found.text == "car, door handle, wheel"
    assert found.raw == CAR
    assert not found.truncated


def test_the_starts_that_the_large_model_repeats_are_no_text() -> None:
    found = parse("<REGION_PROPOSAL>", f"</s><s><s><s>{locs(1, 2, 3, 4, 5, 6, 7, 8)}</s>", SIZE)
    assert [region.label for region in found.regions] == ["", ""]
    assert found.text == ""
    assert parse("<CAPTION>", "</s><s><s>A car.</s><pad><pad>", SIZE).text == "A car."


def test_labels_keep_their_letters() -> None:
    text = f"红色的车{locs(1, 2, 3, 4)}voilà{locs(1, 2, 3, 4)}"
    assert [r.label for r in parse("<OD>", text, SIZE).regions] == ["红色的车", "voilà"]


def test_pronouns_are_phrases_too() -> None:
    found = parse("<CAPTION_TO_PHRASE_GROUNDING>it", f"it{locs(1, 2, 3, 4)}", SIZE)
    assert [region.label for region in found.regions] == ["it"]


def test_places_that_make_no_box_are_dropped_and_a_text_that_stops_there_is_truncated() -> None:
    whole_one = f"a{locs(1, 2, 3, 4, 5, 6)}b{locs(1, 2, 3, 4)}"
    assert len(parse("<OD>", whole_one, SIZE).regions) == 2
    assert not parse("<OD>", whole_one, SIZE).truncated
    for cut in (locs(5), "b", f"b{locs(1, 2, 3)}"):
        found = parse("<OD>", f"a{locs(1, 2, 3, 4)}{cut}", SIZE)
        assert len(found.regions) == 1
        assert found.truncated
    assert not parse("<OD>", "nothing to see", SIZE).truncated
    assert parse("<OD>", "nothing to see", SIZE).text == "nothing to see"


def test_a_box_stays_as_it_was_written() -> None:
    (region,) = parse("<OD>", f"a{locs(900, 800, 100, 200)}", SIZE).regions
    assert region.box.x1 > region.box.x2
    assert region.box.y1 > region.box.y2


def test_a_bin_that_does_not_exist_is_the_last() -> None:
    text = f"a{locs(0, 0, 1000)}<loc_{'9' * 5000}>"
    (region,) = parse("<OD>", text, (1000, 1000)).regions
    assert region.box == (0.5, 0.5, 999.5, 999.5)


def test_a_line_of_text_may_have_breaks() -> None:
    eight = locs(*range(8))
    found = parse("<OCR_WITH_REGION>", f"</s>first\nline{eight}第二行{eight}rest", (1000, 1000))
    assert [region.label for region in found.regions] == ["first\nline", "第二行"]
    assert found.regions[0].quad == ((0.5, 1.5), (2.5, 3.5), (4.5, 5.5), (6.5, 7.5))
    assert found.regions[0].box == (0.5, 1.5, 6.5, 7.5)
    assert found.text == "first\nline\n第二行\nrest"
    assert found.truncated


def test_small_text_is_not_lost() -> None:
    tiny = locs(5, 5, 6, 5, 6, 6, 5, 6)
    assert len(parse("<OCR_WITH_REGION>", f"tiny{tiny}", SIZE).regions) == 1


def test_an_outline_that_was_cut_is_read_and_said_to_be() -> None:
    text = f"</s><s>{locs(278, 380, 281, 380, 289, 371, 292)}"
    found = parse("<REFERRING_EXPRESSION_SEGMENTATION>the car", text, SIZE)
    assert [tuple(map(int, point)) for point in found.regions[0].polygon or ()] == [
        (178, 182), (180, 182), (185, 178),
    ]  # fmt: skip
    assert found.truncated  # the odd last place was dropped
    open_one = parse("<REGION_TO_SEGMENTATION>", f"<poly>{locs(1, 1, 2, 2, 3, 3)}", SIZE)
    assert open_one.truncated
    assert len(open_one.regions) == 1


def test_parts_belong_to_one_thing_and_poly_begins_another() -> None:
    a, b, c = locs(1, 1, 2, 2, 3, 3), locs(4, 4, 5, 5, 6, 6), locs(7, 7, 8, 8, 9, 9)
    text = f"<poly>{a}<sep>{b}</poly><poly>{c}</poly>"
    found = parse("<REGION_TO_SEGMENTATION>", text, SIZE)
    assert [region.instance for region in found.regions] == [0, 0, 1]
    assert [len(parts) for parts in found.things()] == [2, 1]
    assert not found.truncated


def test_open_vocabulary_answers_with_boxes_or_outlines() -> None:
    task = "<OPEN_VOCABULARY_DETECTION>a green car"
    triangle = locs(100, 100, 200, 100, 200, 200)
    found = parse(task, f"</s><s>a green car<poly>{triangle}</poly></s>", SIZE)
    (region,) = found.regions
    assert [tuple(map(int, point)) for point in region.polygon or ()] == [
        (64, 48), (128, 48), (128, 96),
    ]  # fmt: skip
    assert region.label == "a green car"
    both = parse(task, f"car<poly>{triangle}</poly>dog{locs(1, 2, 3, 4)}", SIZE)
    assert [(r.label, r.polygon is None) for r in both.regions] == [("car", False), ("dog", True)]


def test_an_answer_and_the_region_it_repeats_are_apart() -> None:
    text = "turquoise Volkswagen Beetle<loc_52><loc_332><loc_932><loc_774>"
    found = parse("<REGION_TO_DESCRIPTION><loc_52><loc_332><loc_932><loc_774>", text, SIZE)
    assert found.text == "turquoise Volkswagen Beetle"
    assert [region.label for region in found.regions] == [found.text]
    assert whole(found.regions[0].box) == [33, 159, 596, 371]
    assert parse("<REGION_TO_OCR>", "EXIT 5 < 6", SIZE).text == "EXIT 5 < 6"


def test_the_texts_of_other_tasks_are_left_as_they_are() -> None:
    for task in ("<DocVQA>what?", "what is this?", "", "<GENERATE_TAGS>", "a <OD>"):
        found = parse(task, f"<s>a, b{locs(1, 2, 3, 4)}</s>", SIZE)
        assert found.text == f"a, b{locs(1, 2, 3, 4)}"
        assert found.regions == []


def test_every_task_has_a_grammar_of_its_own_or_is_text() -> None:
    assert GRAMMARS.keys() < SENTENCES.keys()
    assert {task for task in SENTENCES if grammar_of(task) == "text"} == {
        "<CAPTION>", "<DETAILED_CAPTION>", "<MORE_DETAILED_CAPTION>", "<OCR>",
    }  # fmt: skip


def test_the_score_is_the_mean_over_the_places_of_a_region() -> None:
    pieces = [("</s>", -9.0), ("a", -9.0), (" dog", -9.0)]
    pieces += [(f"<loc_{i}>", log(p)) for i, p in enumerate((0.5, 0.5, 0.125, 0.125))]
    pieces += [("", -9.0), ("<loc_9>", -9.0), ("b", -9.0)]
    pieces += [(f"<loc_{i}>", log(0.9)) for i in range(4)]
    text = "".join(piece for piece, _ in pieces)
    first, second = parse("<OD>", text, SIZE, pieces).regions
    assert first.score == pytest.approx(0.25)
    assert second.score == pytest.approx(0.9)
    assert all(region.score is None for region in parse("<OD>", text, SIZE).regions)
    polygons = [(f"<loc_{i}>", -float(i)) for i in range(6)]
    polygons += [("<sep>", -99.0), *polygons]
    parts = parse("<REGION_TO_SEGMENTATION>", "".join(p for p, _ in polygons), SIZE, polygons)
    assert [part.score for part in parts.regions] == [pytest.approx(exp(-2.5))] * 2
    assert parse("<OD>", "a" + locs(1, 2, 3, 4), SIZE, [("a", 0.0)] + [
        (f"<loc_{i}>", float("nan")) for i in (1, 2, 3, 4)
    ]).regions[0].score is None  # fmt: skip


def test_pieces_of_another_text_are_refused() -> None:
    with pytest.raises(UsageError, match="pieces of logprobs"):
        parse("<OD>", "dog", SIZE, [("cat", 0.0)])
    with pytest.raises(UsageError, match="no size"):
        parse("<OD>", "dog", (0, 10))


TASKS = [*SENTENCES, "<DocVQA>", ""]
SIGNS = ("<s>", "</s>", "<pad>", "<sep>", "<poly>", "</poly>", "<and>", "<od>", "<loc_1000>")
NO_SIGNS = ("<loc_", "<loc_x>", "<loc_\u0661>", "<", ">", "\ud800", "\0", " ", "\n", "cat", "好")
scraps = st.sampled_from([*SIGNS, *NO_SIGNS])
mixtures = st.lists(
    scraps | st.integers(0, 999).map("<loc_{}>".format) | st.text(max_size=5), max_size=60
).map("".join)


@pytest.mark.parametrize("task", TASKS)
@settings(max_examples=60, deadline=None)
@given(text=mixtures)
def test_no_text_makes_the_parser_raise(task: str, text: str) -> None:
    pieces = [(letter, -0.5) for letter in text]
    found = parse(task, text, SIZE, pieces)
    assert found.raw == text
    for region in found.regions:
        assert 0 <= region.box.x1 <= 640
        assert region.score == pytest.approx(exp(-0.5))
        assert region.label in found.text
    found.masks()
    found.to_coco()
    found.show()


words = st.text(st.characters(exclude_characters="<>", exclude_categories=("C",)), min_size=1)
labels = words.map(str.strip).filter(bool)
bins = st.integers(0, 999)


def boxes(label: Any) -> st.SearchStrategy[Region]:
    four = st.tuples(*[bins] * 4)
    return st.builds(lambda name, at: Region(name, box=box_of(at, SIZE)), label, four)


def outlines(label: Any) -> st.SearchStrategy[list[Region]]:
    part = st.lists(st.tuples(bins, bins), min_size=3, max_size=6).map(
        lambda pairs: points_of([bin for pair in pairs for bin in pair], SIZE)
    )
    parts = st.lists(part, min_size=1, max_size=3)
    return st.builds(lambda name, all: [Region(name, polygon=one) for one in all], label, parts)


quads = st.builds(
    lambda label, at: Region(label, quad=points_of(at, SIZE)),  # type: ignore[arg-type]
    labels,
    st.tuples(*[bins] * 8),
)
things = {
    "boxes": st.lists(boxes(labels)),
    "outlines": st.lists(boxes(labels).map(lambda box: [box]) | outlines(labels)),
    "proposals": st.lists(boxes(st.just(""))),
    "quads": st.lists(quads),
    "polygons": st.lists(outlines(labels)) | st.lists(outlines(st.just(""))),
    "answer": labels.flatmap(lambda label: st.lists(boxes(st.just(label)), max_size=3)),
}


def numbered(listed: list[Any]) -> list[Region]:
    """Things, each a region or a list of its parts, as the parser numbers them."""
    found: list[Region] = []
    number = 0
    for thing in listed:
        for part in thing if isinstance(thing, list) else [thing]:
            instance = number if part.polygon else None
            found.append(Region(part.label, None, part.box, part.quad, part.polygon, instance))
        number += isinstance(thing, list) and thing[0].polygon is not None
    return found


@pytest.mark.parametrize("task", GRAMMARS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_spelled_is_read_back(task: str, data: st.DataObject) -> None:
    regions = numbered(data.draw(things[grammar_of(task)]))
    text = spell(task, regions, SIZE)
    found = parse(task, text, SIZE)
    assert found.regions == regions
    assert not found.truncated
    assert spell(task, found.regions, SIZE) == text


def test_boxes_under_one_label_share_it() -> None:
    (a, b), c = (
        (Region("dog", box=box_of([i] * 4, SIZE)) for i in (1, 2)),
        Region("cat", box=(0,) * 4),
    )
    assert (
        spell("<OD>", [a, b, c], SIZE) == f"dog{locs(1, 1, 1, 1, 2, 2, 2, 2)}cat{locs(0, 0, 0, 0)}"
    )


def test_a_task_of_boxes_takes_the_box_of_a_thing_in_parts() -> None:
    parts = [
        Region("dog", polygon=points_of(at, SIZE), instance=0)
        for at in ([1, 1, 2, 2, 3, 1], [7, 7, 8, 8, 9, 7])
    ]
    assert spell("<OD>", parts, SIZE) == f"dog{locs(1, 1, 9, 8)}"


@pytest.mark.parametrize(
    ("task", "labels_given", "said"),
    [
        ("<CAPTION>", ["a"], "text alone"),
        ("<OD>", [" "], "has no label"),
        ("<OD>", ["a<loc_5>"], "a meaning of its own"),
        ("<OCR_WITH_REGION>", ["</s>"], "a meaning of its own"),
        ("<REFERRING_EXPRESSION_SEGMENTATION>", ["a", ""], "without a label follows 'a'"),
        ("<REGION_TO_CATEGORY>", ["a", "b"], "has one answer"),
    ],
)
def test_what_could_not_be_read_back_is_not_spelled(
    task: str, labels_given: list[str], said: str
) -> None:
    regions = [Region(label, box=(0, 0, 9, 9)) for label in labels_given]
    with pytest.raises(UsageError, match=said):
        spell(task, regions, SIZE)


def reference(parser: str, text: str) -> list[dict[str, Any]]:
    """What transformers reads, in whole pixels."""
    module = pytest.importorskip("transformers.models.florence2.processing_florence2")
    processor = module.Florence2PostProcessor({parser: {}}, SimpleNamespace(all_special_tokens=[]))
    found: list[dict[str, Any]] = processor(text=text, image_size=SIZE, parse_tasks=parser)[parser]
    return found


plain = st.text("abcdefg hij", min_size=1).filter(str.strip)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(plain, st.lists(bins, min_size=4, max_size=13))))
def test_boxes_are_those_of_transformers(pairs: list[tuple[str, list[int]]]) -> None:
    text = "</s><s>" + "".join(label + locs(*at) for label, at in pairs) + "</s>"
    found: Regions = parse("<OD>", text, SIZE)
    theirs = reference("description_with_bboxes", text)
    assert [r.label for r in found.regions] == [one["cat_name"] for one in theirs]
    for region, one in zip(found.regions, theirs, strict=True):
        # theirs are float32, whole pixels by cutting
        assert region.box == pytest.approx(one["bbox"], abs=1.001)
        assert all(b - 1e-3 <= a for a, b in zip(region.box, one["bbox"], strict=True))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(plain, st.tuples(*[bins] * 8))))
def test_quads_are_those_of_transformers(pairs: list[tuple[str, tuple[int, ...]]]) -> None:
    text = "</s><s>" + "".join(label + locs(*at) for label, at in pairs) + "</s>"
    found = parse("<OCR_WITH_REGION>", text, SIZE)
    theirs = reference("ocr", text)
    assert [r.label for r in found.regions] == [one["text"] for one in theirs]
    for region, one in zip(found.regions, theirs, strict=True):
        flat = [value for point in region.quad or () for value in point]
        assert flat == pytest.approx(one["quad_box"], abs=1.001)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.lists(bins, min_size=6, max_size=11), min_size=1, max_size=3), min_size=1)
)
def test_outlines_are_those_of_transformers(listed: list[list[list[int]]]) -> None:
    joined = ["<sep>".join(locs(*part) for part in parts) for parts in listed]
    text = "".join(f"<poly>{one}</poly>" for one in joined)
    found = parse("<REGION_TO_SEGMENTATION>", text, SIZE)
    theirs = reference("polygons", text)
    assert len(found.things()) == len(theirs)
    for parts, one in zip(found.things(), theirs, strict=True):
        for part, flat in zip(parts, one["polygons"], strict=True):
            mine = [value for point in part.polygon or () for value in point]
            assert mine == pytest.approx(flat, abs=1.001)
