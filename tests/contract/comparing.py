"""What a family of dual encoders owes: vectors, and what is made of them.

Each check gets the name of a variant and an empty folder. The suite runs it on variants that can
do the task named above it.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from contract.probes import BATCH_TOLERANCE, TEXTS, build, owed_by, picture, pictures, vectors
from seesay.errors import InputError, ItemsFailed, UsageError


@owed_by("embed")
def check_vectors_have_one_width_and_unit_norm(name: str, folder: Path) -> None:
    model = build(name)
    for found, count in zip(vectors(model), (len(pictures()), len(TEXTS)), strict=True):
        assert found.shape == (count, model.config.embed_width)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.norm(dim=-1), torch.ones(count))
    assert model.embed_images([]).shape == (0, model.config.embed_width)
    assert model.embed_texts([]).shape == (0, model.config.embed_width)
    assert model.embed_images(picture()).shape == (1, model.config.embed_width)
    assert model.embed_texts("one").shape == (1, model.config.embed_width)


@owed_by("embed")
def check_the_module_gives_unit_vectors_by_itself(name: str, folder: Path) -> None:
    model = build(name)
    pixels = torch.randn(2, 3, *model.processor.image.size)
    ids, mask = model.processor.texts(TEXTS)
    assert mask.dtype == torch.bool
    assert ids.dtype == torch.int64
    assert ids.shape == mask.shape
    with torch.inference_mode():
        for found in (model.module.embed_image(pixels), model.module.embed_text(ids, mask)):
            torch.testing.assert_close(found.norm(dim=-1), torch.ones(len(found)))


@owed_by("embed")
def check_different_inputs_give_different_vectors(name: str, folder: Path) -> None:
    for found in vectors(build(name)):
        similar = found @ found.T - 2 * torch.eye(len(found))
        assert float(similar.max()) < 1 - 1e-6


@owed_by("embed")
def check_batches_equal_single_items(name: str, folder: Path) -> None:
    model = build(name)
    images, texts = vectors(model)
    alone = torch.cat([model.embed_images([image]) for image in pictures()])
    torch.testing.assert_close(images, alone, atol=BATCH_TOLERANCE, rtol=0)
    pairs = model.embed_images(pictures(), batch_size=2)
    torch.testing.assert_close(images, pairs, atol=BATCH_TOLERANCE, rtol=0)
    alone = torch.cat([model.embed_texts([text]) for text in TEXTS])
    torch.testing.assert_close(texts, alone, atol=BATCH_TOLERANCE, rtol=0)
    backwards = model.embed_texts(TEXTS[::-1], batch_size=3).flip(0)
    torch.testing.assert_close(texts, backwards, atol=BATCH_TOLERANCE, rtol=0)


@owed_by("embed")
def check_padding_of_texts_changes_nothing(name: str, folder: Path) -> None:
    model = build(name)
    ids, mask = model.processor.texts(["a red square", "dogs"])
    with torch.inference_mode():
        plain = model.module.embed_text(ids, mask)
        for filler in (0, int(ids.max())):
            longer = F.pad(ids, (0, 3), value=filler), F.pad(mask, (0, 3), value=False)
            padded = model.module.embed_text(*longer)
            torch.testing.assert_close(plain, padded, atol=BATCH_TOLERANCE, rtol=0)


@owed_by("embed")
def check_an_image_is_the_same_however_it_is_given(name: str, folder: Path) -> None:
    image = picture()
    path = folder / "picture.png"
    image.save(path)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    forms = [path, str(path), buffer.getvalue(), image, np.asarray(image)]
    found = build(name).embed_images(forms, batch_size=1)
    for row, form in zip(found[1:], forms[1:], strict=True):
        assert torch.equal(found[0], row), type(form).__name__


@owed_by("embed")
def check_bad_images_are_reported_one_by_one_and_in_order(name: str, folder: Path) -> None:
    model = build(name)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a photograph")
    items: list[Any] = [picture(), folder / "broken.jpg", picture(seed=5), folder / "absent.png"]
    errors: list[InputError] = []
    found = model.embed_images(items, errors=errors)
    assert [bool(row.isnan().all()) for row in found] == [False, True, False, True]
    assert len(errors) == 2
    assert "broken.jpg" in str(errors[0])
    assert "absent.png" in str(errors[1])
    good = model.embed_images([items[0], items[2]])
    torch.testing.assert_close(found[[0, 2]], good, atol=BATCH_TOLERANCE, rtol=0)
    with pytest.raises(ItemsFailed, match="2 of 4") as caught:
        model.embed_images(items)
    assert len(caught.value.failures) == 2


@owed_by("embed")
def check_texts_may_be_empty_long_or_odd(name: str, folder: Path) -> None:
    model = build(name)
    found = model.embed_texts(["", " ", "word " * 2000, "🚲🇨🇳\u200d", "\x00\n\t", "'; --"])
    assert bool(found.isfinite().all())
    with pytest.raises(InputError, match="text 1 is int"):
        model.embed_texts(["fine", 3])


@owed_by("classify")
def check_classification_is_a_distribution_over_the_labels(name: str, folder: Path) -> None:
    model = build(name)
    labels = ["cat", "dog", "bicycle"]
    for result in model.classify(pictures(), labels):
        assert sorted(score.label for score in result.scores) == sorted(labels)
        found = [score.score for score in result.scores]
        assert found == sorted(found, reverse=True)
        assert math.isclose(sum(found), 1.0, abs_tol=1e-5)
        assert result.label == result.scores[0].label
    sets = model.family.prompt_sets()
    for prompts in sets.values():
        assert prompts
        assert all(prompt.count("{}") == 1 for prompt in prompts)
    for bad in ([], ["cat", "cat"], ["cat", " "]):
        with pytest.raises(UsageError):
            model.classify([picture()], bad)


@owed_by("embed")
def check_matching_agrees_with_the_vectors(name: str, folder: Path) -> None:
    model = build(name)
    image, text = vectors(model)
    found = model.match(pictures(), list(TEXTS))
    expected = (image * text).sum(-1)
    torch.testing.assert_close(
        torch.tensor([pair.itc for pair in found]), expected, atol=1e-5, rtol=0
    )
    assert len(model.match(picture(), list(TEXTS))) == len(TEXTS)
    with pytest.raises(UsageError, match="pair"):
        model.match(pictures()[:2], ["a", "b", "c"])


@owed_by("relevance")
def check_relevance_lies_in_the_picture(name: str, folder: Path) -> None:
    model = build(name)
    image = picture(90, 60)
    found = model.relevance(image, "a red square")
    flat = [value for row in found.grid for value in row]
    assert 0 <= min(flat) <= max(flat) <= 1
    x0, y0, x1, y1 = found.box
    assert 0 <= x0 < x1 <= 90
    assert 0 <= y0 < y1 <= 60
    assert x0 <= found.peak[0] <= x1
    assert y0 <= found.peak[1] <= y1
    [expected] = model.match(image, "a red square")
    if found.itc is not None:
        assert found.draw().size == (90, 60)
        assert math.isclose(found.itc, expected.itc, abs_tol=1e-4)
    else:
        assert [word.word for word in found.words] == ["a", "red", "square"]
        assert max(word.strength for word in found.words) == 1
        assert math.isclose(found.itm, expected.itm, abs_tol=1e-4)
