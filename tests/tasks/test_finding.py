"""Detection, grounding, segmentation, reading: what is asked, what comes back, in which pixels."""

from __future__ import annotations

import io
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import seesay
from contract.probes import build, picture, pictures
from seesay.errors import InputError, ItemsFailed, UsageError
from seesay.model import Model
from seesay.processing.image import open_picture
from seesay.protocols import RegionSpeaker
from seesay.regions import Box
from seesay.regions.locations import bins_in
from seesay.tasks import describe, detect
from seesay.tasks.describe import DescribeInput
from seesay.tasks.detect import DetectInput
from seesay.tasks.finding import Found, boxes_of_each
from seesay.tasks.tiles import Grid
from seesay.tasks.writing import filled
from tasks.scripted import LOGPROB, scripted

OD = "Locate the objects with category name in the image."
BOXES = [Box(2, 3, 30, 20), Box(0, 0, 40, 30), Box(6, 4, 9.5, 11)]


@pytest.fixture(scope="module")
def model() -> Model:
    return build("florence2-tiny")


def encoded(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images went through the encoder, call by call."""
    sizes: list[int] = []
    encode = model.module.encode_image

    def count(pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(pixels))
        return encode(pixels)  # type: ignore[operator, no-any-return]

    monkeypatch.setattr(model.module, "encode_image", count)
    return sizes


# -- what is asked -------------------------------------------------------------------------------


def test_every_task_asks_as_published(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    script = scripted(monkeypatch, model, lambda _: "")
    image, box = picture(1000, 1000), (10, 20, 500, 999)
    place = "<loc_10><loc_20><loc_500><loc_999>"
    for call, sentence in (
        (lambda: model.detect(image), OD),
        (lambda: model.detect(image, "a cat"), "Locate a cat in the image."),
        (lambda: model.detect(image, ["cat", "dog"]), "Locate cat<and>dog in the image."),
        (
            lambda: model.detect(image, what="descriptions"),
            "Locate the objects in the image, with their descriptions.",
        ),
        (
            lambda: model.detect(image, what="proposals"),
            "Locate the region proposals in the image.",
        ),
        (lambda: model.ground(image, " a cat "), "Locate the phrases in the caption: a cat"),
        (lambda: model.segment(image, "a cat"), "Locate a cat in the image with mask"),
        (
            lambda: model.segment(image, boxes=[box]),
            f"What is the polygon mask of region {place}",
        ),
        (lambda: model.read(image), "What is the text in the image?"),
        (lambda: model.read(image, regions=True), "What is the text in the image, with regions?"),
        (lambda: model.read(image, boxes=[box]), f"What text is in the region {place}?"),
        (lambda: model.describe(image, [box]), f"What does the region {place} describe?"),
        (lambda: model.describe(image, [box], what="category"), f"What is the region {place}?"),
        (
            lambda: model.describe(image, [box], what="text"),
            f"What text is in the region {place}?",
        ),
        (lambda: model.prompt(image, "<OD>"), OD),
        (lambda: model.prompt(image, "<MIXED_CAPTION>"), "<MIXED_CAPTION>"),
        (lambda: model.caption(image), "What does the image describe?"),
        (
            lambda: model.caption(image, length="detailed"),
            "Describe in detail what is shown in the image.",
        ),
        (
            lambda: model.caption(image, length="paragraph"),
            "Describe with a paragraph what is shown in the image.",
        ),
        (lambda: model.answer(image, "who?"), "<VQA>who?"),
        (lambda: model.answer(image, "who?", document=True), "<DocVQA>who?"),
        (lambda: model.answer(image, " <DocVQA>who?"), "<DocVQA>who?"),
    ):
        script.asked.clear()
        call()
        assert script.asked == [[sentence]]
        told = script.options[-1]
        assert (told.num_beams, told.no_repeat_ngram_size, told.max_new_tokens) == (3, 3, 1024)


def test_a_token_of_its_own_counts_only_where_there_are_tokens() -> None:
    assert filled("<VQA>{}", "<DocVQA>who?") == "<DocVQA>who?"
    assert filled("<VQA>{}", "is a < b > c?") == "<VQA>is a < b > c?"
    assert filled("{}", " <b>who?</b>") == " <b>who?</b>"


# -- what comes back -----------------------------------------------------------------------------


def test_regions_are_in_pixels_of_each_original(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, model, {OD: "猫<loc_0><loc_0><loc_499><loc_999>dog<loc_1><loc_2>"})
    wide, tall = model.detect([picture(2000, 500), picture(100, 3000)])
    assert (wide.size, tall.size) == ((2000, 500), (100, 3000))
    assert wide.regions[0].label == "猫"
    assert wide.regions[0].box == pytest.approx((1, 0.25, 999, 499.75))
    assert tall.regions[0].box == pytest.approx((0.05, 1.5, 49.95, 2998.5))
    assert wide.truncated  # the dog's box has no end
    assert wide.finished  # the text has
    assert wide.raw.endswith("<loc_2>")
    assert wide.regions[0].score == pytest.approx(exp(LOGPROB))
    assert wide.score == pytest.approx(exp(LOGPROB))
    assert "猫" in wide.show()


@pytest.mark.parametrize("decode", ["exact", "fast"])
def test_turned_pictures_are_measured_upright(
    model: Model, monkeypatch: pytest.MonkeyPatch, decode: str
) -> None:
    """A JPEG of 1200 x 800 that EXIF turns; the fast decoder reads an eighth of it."""
    monkeypatch.setattr(model, "decode", decode)
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    picture(1200, 800).save(stream, "JPEG", exif=exif)
    scripted(monkeypatch, model, {OD: "a<loc_0><loc_0><loc_499><loc_999>"})
    [found] = model.detect(stream.getvalue())
    assert found.size == (800, 1200)
    assert found.regions[0].box == pytest.approx((0.4, 0.6, 399.6, 1199.4))
    assert found.draw().size == (800, 1200)


def test_each_box_gets_what_was_said_of_it(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = encoded(model, monkeypatch)
    script = scripted(monkeypatch, model, lambda asked: f"{bins_in(asked)[0]} thing")
    first, second = picture(100, 100), picture(200, 50, 1)
    boxes = [(10, 10, 20, 20), (90, 20, 50, 30)]
    one, two = model.describe([first, second], [boxes, [(100, 25, 150, 40)]], batch_size=2)
    assert [region.label for region in one.regions] == ["100 thing", "500 thing"]
    assert [region.box for region in one.regions] == [Box(10, 10, 20, 20), Box(50, 20, 90, 30)]
    assert [region.box for region in two.regions] == [Box(100, 25, 150, 40)]
    assert one.text.count("\n") == 1
    assert sizes == [2], "each image is encoded once"
    assert sum(len(batch) for batch in script.asked) == 3


@pytest.mark.parametrize(
    "boxes",
    [
        (1, 2, 30, 20),
        [(1, 2, 30, 20)],
        [[(1, 2, 30, 20)]],
        np.array([[1, 2, 30, 20]], np.float32),
        [np.array([1, 2, 30, 20], np.float32)],
        torch.tensor([[[1, 2, 30, 20]]]),
        [Box(30, 20, 1, 2)],
    ],
)
def test_boxes_come_in_any_form(boxes: Any) -> None:
    assert boxes_of_each(boxes, 1) == [(Box(1, 2, 30, 20),)]


def test_things_in_several_boxes_are_numbered(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    outline = "<loc_1><loc_1><loc_9><loc_1><loc_9><loc_9>"
    scripted(monkeypatch, model, lambda _: f"{outline}<sep>{outline}")
    [found] = model.segment(picture(100, 100), boxes=BOXES[:2])
    assert [region.instance for region in found.regions] == [0, 0, 1, 1]
    assert found.masks().shape == (2, 100, 100)
    [alone] = model.segment(picture(100, 100), "a cat")
    assert len(alone.things()) == 1


def test_a_text_that_runs_out_of_length_is_told(model: Model) -> None:
    [found] = model.read(picture(), max_new_tokens=5)
    assert found.truncated
    assert not found.finished
    [short] = model.read(picture(), max_new_tokens=5, min_new_tokens=0, forced_eos_id=None)
    assert short.truncated


def test_what_is_written_under_the_rule_is_well_formed(model: Model) -> None:
    how: dict[str, Any] = {"constrained": True, "max_new_tokens": 40}
    for found in (
        *model.detect(pictures(), **how),
        *model.detect(pictures(), what="proposals", **how),
        *model.segment(pictures(), "a cat", **how),
        *model.segment(pictures(), boxes=BOXES[:1], **how),
        *model.read(pictures(), regions=True, **how),
        *model.prompt(pictures(), "<DENSE_REGION_CAPTION>", num_beams=1, **how),
    ):
        assert found.regions
        for region in found.regions:
            assert region.box == region.box.ordered
            assert region.polygon is None or len(region.polygon) >= 3


def test_grammars_are_not_mixed_in_a_batch(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    script = scripted(monkeypatch, model, lambda _: "")
    tokens = ["<OD>", "<OCR_WITH_REGION>", "<OD>", "hello"]
    model.prompt(picture(), tokens, constrained=True)
    assert [len(batch) for batch in script.asked] == [2, 1, 1]
    assert script.rules == [1, 1, 0]


def test_a_batch_gives_what_each_image_gives_alone(model: Model) -> None:
    images = pictures()
    how: dict[str, Any] = {"max_new_tokens": 8}
    captions = ["a cat on a mat", "x", "two small dogs asleep on a red sofa", "红色"]
    calls: list[Any] = [
        lambda some, rows: model.detect(some, **how),
        lambda some, rows: model.detect(some, ["cat", "dog"], constrained=True, **how),
        lambda some, rows: model.ground(some, captions[rows], **how),
        lambda some, rows: model.segment(some, captions[rows], **how),
        lambda some, rows: model.segment(some, boxes=BOXES, **how),
        lambda some, rows: model.read(some, regions=True, **how),
        lambda some, rows: model.describe(some, BOXES[:2], num_beams=1, **how),
        lambda some, rows: model.prompt(some, captions[rows], **how),
    ]
    for i, call in enumerate(calls):
        together = call(images, slice(0, 4))
        for row, image in enumerate(images):
            [alone] = call([image], slice(row, row + 1))
            assert alone.raw == together[row].raw, (i, row)
            assert alone.size == together[row].size
            assert alone.score == pytest.approx(together[row].score, rel=1e-3, abs=1e-6)


def test_requests_of_all_kinds_are_served_in_order(model: Model, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    image, other = picture(seed=1), picture(seed=2)
    short = {"max_new_tokens": 6}
    requests = [
        DetectInput(image=image, options=short),
        DetectInput(image=image, phrases=("cat",), options=short),
        DetectInput(image=tmp_path / "bad.png", options=short),
        DetectInput(image=other, what="proposals", constrained=True, options=short),
        DetectInput(image=image, tiles=Grid(2, 1), options=short),
        DetectInput(image=other, options={"max_new_tokens": 3}),
    ]
    alone = [found for request in requests for found in detect.run(model, [request])]
    for size in (1, 3, 8):
        found = list(detect.run(model, requests, batch_size=size))
        for a, b in zip(found, alone, strict=True):
            assert isinstance(a, InputError) == isinstance(b, InputError)
            if not isinstance(a, InputError) and not isinstance(b, InputError):
                assert a.raw == b.raw
    assert isinstance(found[2], InputError)
    [bad, good] = describe.run(
        model,
        [
            DescribeInput(image=b"", boxes=tuple(BOXES), options=short),
            DescribeInput(image=image, boxes=tuple(BOXES), options=short),
        ],
    )
    assert isinstance(bad, InputError)
    assert not isinstance(good, InputError)
    assert len(good.regions) == 3
    with pytest.raises(ItemsFailed, match=r"bad\.png"):
        model.read([image, tmp_path / "bad.png"], **short)  # type: ignore[arg-type]


# -- what cannot be ------------------------------------------------------------------------------


def test_a_box_beside_the_picture_makes_a_bad_one_and_spoils_no_other(model: Model) -> None:
    bad, *good = describe.run(
        model,
        [
            DescribeInput(image=image, boxes=(box,), options={"max_new_tokens": 4})
            for image in (picture(40, 30), picture(400, 300))
            for box in (Box(100, 100, 200, 200), Box(-5, 9, 8, 99))
        ],
    )
    assert isinstance(bad, InputError)
    assert "box 100,100,200,200 is outside the picture of 40 x 30" in bad.what
    assert [type(one) for one in good] == [Found] * 3


def test_an_outline_is_called_what_was_asked_for(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, model, lambda _: "<loc_10><loc_10><loc_90><loc_10><loc_50><loc_90>")
    [found] = model.segment(picture(), "一只猫")
    assert [region.label for region in found.regions] == ["一只猫"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: m.detect(picture(), "cat", what="proposals"), "one of the two"),
        (lambda m: m.detect(picture(), what="cats"), r"cannot detect \(cats\)"),
        (lambda m: m.detect(picture(), []), "no phrases to look for"),
        (lambda m: m.detect(picture(), ["a", " "]), "phrase 1 is blank"),
        (lambda m: m.detect(picture(), ""), "phrase 0 is blank"),
        (lambda m: m.detect(picture(), tiles=(0, 2)), "tiles="),
        (lambda m: m.detect(picture(), tiles=3), "tiles=3"),
        (lambda m: m.detect(picture(), num_beems=3), "num_beams"),
        (lambda m: m.read(picture(), num_return_sequences=2), "one result"),
        (lambda m: m.segment(picture()), "phrases or boxes"),
        (lambda m: m.segment(picture(), "cat", boxes=BOXES), "phrases or boxes"),
        (lambda m: m.segment(picture(), boxes=[]), "lists of boxes|no boxes"),
        (lambda m: m.describe(picture(), [(1, 2, 3)]), "box"),
        (lambda m: m.describe(picture(), [(1, 2, 3, float("nan"))]), "finite"),
        (lambda m: m.describe([picture()] * 2, [BOXES]), "1 lists of boxes for 2 images"),
        (lambda m: m.read(picture(), boxes=BOXES, regions=True), "boxes are read as they are"),
        (lambda m: m.ground([picture()] * 2, ["a", "b", "c"]), "3 captions do not pair up"),
        (lambda m: m.prompt(picture(), "<OD> cat"), "stands alone"),
        (lambda m: m.ground(picture(), " "), "needs something"),
        (lambda m: m.caption(picture(), length="long"), r"cannot caption \(long\)"),
        (lambda m: m.caption(picture(), "a", length="detailed"), "one of the two"),
    ],
)
def test_what_cannot_be_is_said(model: Model, call: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        call(model)


def test_who_cannot_names_who_can(model: Model) -> None:
    assert isinstance(model.processor, RegionSpeaker)
    other = build("blip-tiny-captioning")
    with pytest.raises(UsageError, match="cannot read") as caught:
        other.read(picture())
    assert "Florence-2-base" in str(caught.value.hint)
    with pytest.raises(UsageError, match=r"cannot caption \(paragraph\)") as caught:
        other.caption(picture(), length="paragraph")
    assert "Florence-2-base" in str(caught.value.hint)
    with pytest.raises(UsageError, match=r"cannot ask \(document\)"):
        build("blip-tiny-vqa").answer(picture(), "who?", document=True)


def test_pictures_of_another_size_are_looked_at_as_asked(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    sides: list[tuple[int, ...]] = []
    for size in (96, (64, 128)):
        larger = seesay.load(tmp_path / "model", dtype="float32", image_size=size)
        pixels = larger.processor.images([open_picture(picture())])
        sides.append(tuple(pixels.shape[-2:]))
        [found] = larger.read(picture(), max_new_tokens=4)
        assert found.size == (40, 30)
    assert sides == [(96, 96), (64, 128)]
    with pytest.raises(UsageError, match="image_size=0"):
        seesay.load(tmp_path / "model", image_size=0)
    with pytest.raises(seesay.errors.SeesayError, match="50"):
        seesay.load(tmp_path / "model", image_size=4000)
    build("clip-tiny").save(tmp_path / "clip")
    with pytest.raises(UsageError, match="clip looks at"):
        seesay.load(tmp_path / "clip", image_size=96)
