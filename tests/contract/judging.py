"""What a family owes that judges images and texts together, and that gives features of both.

Each check gets the name of a variant and an empty folder. The suite runs it on what it is owed by.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from contract.probes import (
    BATCH_TOLERANCE,
    TEXTS,
    build,
    outputs,
    owed_by,
    picture,
    pictures,
    pixels,
)
from seesay.errors import UsageError
from seesay.protocols import Matcher, TokenEncoder
from seesay.tasks.match import pair_ids

LOGITS = 1e-4


@owed_by(Matcher)
def check_a_pair_is_judged_alike_in_any_company(name: str, folder: Path) -> None:
    model = build(name)
    found = model.match(pictures(), list(TEXTS))
    for image, text, pair in zip(pictures(), TEXTS, found, strict=True):
        [alone] = model.match(image, text)
        assert pair.itm == pytest.approx(alone.itm, abs=LOGITS)
        assert pair.probability == pytest.approx(alone.probability, abs=LOGITS)
    image = pictures()[0]
    beside = model.match(image, list(TEXTS))
    for text, pair in zip(TEXTS, beside, strict=True):
        [alone] = model.match(image, text)
        assert pair.itm == pytest.approx(alone.itm, abs=LOGITS)
    for size in (1, 2, 3):
        again = model.match(image, list(TEXTS), batch_size=size)
        assert [p.itm for p in again] == pytest.approx([p.itm for p in beside], abs=LOGITS)


@owed_by(Matcher)
@torch.inference_mode()
def check_padding_of_pairs_changes_nothing(name: str, folder: Path) -> None:
    model = build(name)
    module: Any = model.module
    tokens = module.encode_image(torch.cat(pixels(model)))
    ids, mask = pair_ids(model, TEXTS)
    plain = module.match(tokens, ids, mask)
    for filler in (0, int(ids.max())):
        longer = F.pad(ids, (0, 3), value=filler), F.pad(mask, (0, 3), value=False)
        torch.testing.assert_close(module.match(tokens, *longer), plain, atol=LOGITS, rtol=0)


@owed_by(Matcher)
def check_a_probability_is_what_the_logits_say(name: str, folder: Path) -> None:
    model = build(name)
    logits = outputs(model)["match"].view(-1, 2)
    found = model.match(pictures(), list(TEXTS))
    expected = logits.softmax(-1)[:, 1].tolist()
    assert [pair.probability for pair in found] == pytest.approx(expected, abs=LOGITS)
    assert [pair.itm for pair in found] == pytest.approx(logits[:, 1].tolist(), abs=LOGITS)


@owed_by(Matcher)
def check_a_video_of_one_frame_is_an_image_and_all_frames_count(name: str, folder: Path) -> None:
    model = build(name)
    images = pictures()
    [still] = model.match(images[0], TEXTS[0])
    [video] = model.match(videos=[images[:1]], texts=TEXTS[0])
    assert (video.itm, video.itc) == pytest.approx((still.itm, still.itc), abs=LOGITS)
    several = model.match(videos=[images[:3], images[1:]], texts=TEXTS[:2])
    assert all(math.isfinite(pair.itm) for pair in several)
    [other] = model.match(videos=[[*images[:2], images[3]]], texts=TEXTS[0])
    assert other.itm != several[0].itm
    for wrong in ({}, {"images": images, "videos": [images]}, {"videos": [[]]}):
        with pytest.raises(UsageError):
            model.match(texts=TEXTS[0], **wrong)


@owed_by(TokenEncoder)
def check_features_are_those_that_scores_are_made_of(name: str, folder: Path) -> None:
    model = build(name)
    module: Any = model.module
    vectors = model.embed_images(pictures())
    for found, vector in zip(model.features(pictures()), vectors, strict=True):
        assert found.of == "image"
        torch.testing.assert_close(found.vector, vector, atol=BATCH_TOLERANCE, rtol=0)
        with torch.inference_mode():
            projected = module.project_image(found.pooled[None])[0]
            pooled = module.pool_tokens(found.tokens[None])[0]
        torch.testing.assert_close(projected, vector, atol=BATCH_TOLERANCE, rtol=0)
        torch.testing.assert_close(pooled, found.pooled, atol=BATCH_TOLERANCE, rtol=0)
    vectors = model.embed_texts(TEXTS)
    together = model.features(texts=list(TEXTS))
    for found, text, vector in zip(together, TEXTS, vectors, strict=True):
        [alone] = model.features(texts=text)
        torch.testing.assert_close(found.tokens, alone.tokens, atol=LOGITS, rtol=0)
        torch.testing.assert_close(found.vector, vector, atol=BATCH_TOLERANCE, rtol=0)
    pairs = model.features(pictures()[0], list(TEXTS))
    for found, text in zip(pairs, TEXTS, strict=True):
        [alone] = model.features(pictures()[0], text)
        torch.testing.assert_close(found.tokens, alone.tokens, atol=LOGITS, rtol=0)
        assert found.vector is None


@owed_by("features")
def check_features_without_a_request_are_refused(name: str, folder: Path) -> None:
    model = build(name)
    [image], [text] = model.features(picture()), model.features(texts="a red square")
    torch.testing.assert_close(image.vector, model.embed_images(picture())[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(text.vector, model.embed_texts("a red square")[0], atol=1e-5, rtol=0)
    if not isinstance(model.module, TokenEncoder):
        with pytest.raises(UsageError, match="together"):
            model.features(picture(), "a red square")


@owed_by("compare")
def check_two_images_are_compared_alike_in_any_company(name: str, folder: Path) -> None:
    model = build(name)
    first, second = pictures(), pictures()[::-1]
    together = model.compare(first, second, list(TEXTS))
    for a, b, text, found in zip(first, second, TEXTS, together, strict=True):
        [alone] = model.compare(a, b, text)
        assert found.probability == pytest.approx(alone.probability, abs=LOGITS)
        assert found.true == (found.probability > 0.5)
    several = model.compare(first[0], second[0], list(TEXTS))
    assert several[0].probability == pytest.approx(together[0].probability, abs=LOGITS)
    [swapped] = model.compare(second[0], first[0], TEXTS[0])
    assert swapped.probability != together[0].probability
    with pytest.raises(UsageError, match="pair"):
        model.compare(first[:2], second[:1], "x")


@owed_by("entail")
def check_classes_of_pairs_are_a_distribution(name: str, folder: Path) -> None:
    model = build(name)
    together = model.entail(pictures(), list(TEXTS))
    for image, text, found in zip(pictures(), TEXTS, together, strict=True):
        assert math.isclose(sum(score.score for score in found.scores), 1, abs_tol=1e-5)
        [alone] = model.entail(image, text)
        assert {s.label: pytest.approx(s.score, abs=LOGITS) for s in alone.scores} == {
            s.label: s.score for s in found.scores
        }
