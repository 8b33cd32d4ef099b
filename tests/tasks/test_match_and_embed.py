"""Pairs are scored by the cosine of their vectors; vectors come back in the order of requests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import seesay
from contract.probes import picture
from seesay.errors import InputError, ItemsFailed, UsageError
from seesay.model import Model
from seesay.tasks import embed, match


@pytest.fixture(scope="module")
def model() -> Model:
    return seesay.create("clip-tiny", seed=4)


def test_one_image_meets_many_texts_and_one_text_many_images(model: Model) -> None:
    images, texts = [picture(seed=i) for i in range(3)], ["a", "b b", "c c c"]
    cosines = model.embed_images(images) @ model.embed_texts(texts).T
    for found, expected in (
        (model.match(images, texts), cosines.diagonal()),
        (model.match(images[1], texts), cosines[1]),
        (model.match(images, "b b"), cosines[:, 1]),
        (model.match(images[2], "a"), cosines[2, :1]),
    ):
        torch.testing.assert_close(
            torch.tensor([pair.itc for pair in found]), expected, atol=1e-5, rtol=0
        )


def test_a_model_of_a_sigmoid_loss_gives_probabilities_of_each_pair_alone() -> None:
    siglip = seesay.create("siglip-tiny", seed=4)
    with torch.no_grad():
        siglip.module.logit_scale.fill_(3.0)
        siglip.module.logit_bias.fill_(-2.5)
    many = siglip.match(picture(), ["a", "b b", "c c c"])
    for pair in many:
        logit = torch.tensor(3.0).exp() * pair.itc - 2.5
        assert pair.probability == pytest.approx(float(logit.sigmoid()), abs=1e-6)
    [alone] = siglip.match(picture(), "b b")
    assert alone.probability == pytest.approx(many[1].probability, abs=1e-5)
    assert alone.show() == f"{alone.itc:.3f}   {alone.probability:.1%}"
    for bias, wanted in ((1e4, 1.0), (-1e4, 0.0)):
        siglip.module.logit_bias.data.fill_(bias)
        assert siglip.match(picture(), "a")[0].probability == wanted


def test_a_model_that_only_compares_texts_gives_no_probability(model: Model) -> None:
    [pair] = model.match(picture(), "a")
    assert pair.probability is None
    assert pair.show() == f"{pair.itc:.3f}"


@pytest.mark.parametrize(("images", "texts"), [(2, 3), (0, 1), (1, 0), (3, 2)])
def test_numbers_that_do_not_pair_up_are_refused(model: Model, images: int, texts: int) -> None:
    with pytest.raises(UsageError, match=f"{images} images and {texts} texts"):
        model.match([picture()] * images, ["a"] * texts)


def test_what_comes_again_is_encoded_once(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {"images": 0, "texts": 0}
    embed_image, embed_text = model.module.embed_image, model.module.embed_text

    def count_images(pixels: torch.Tensor) -> torch.Tensor:
        seen["images"] += len(pixels)
        return embed_image(pixels)

    def count_texts(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        seen["texts"] += len(ids)
        return embed_text(ids, mask)

    monkeypatch.setattr(model.module, "embed_image", count_images)
    monkeypatch.setattr(model.module, "embed_text", count_texts)
    array = np.asarray(picture())
    model.match([array] * 4, ["a", "b", "a", "b"])
    assert seen == {"images": 1, "texts": 2}


def test_two_arrays_of_equal_shape_are_two_images(model: Model) -> None:
    first, second = model.match([np.asarray(picture(seed=i)) for i in (1, 2)], "a")
    assert first.itc != second.itc


def test_a_bad_image_fails_its_own_pairs_alone(model: Model, tmp_path: Path) -> None:
    (tmp_path / "bad.gif").write_bytes(b"GIF89a")
    items = [picture(), tmp_path / "bad.gif", picture(seed=1)]
    results = list(match.run(model, [match.MatchInput(image=item, text="a") for item in items]))
    assert [isinstance(result, InputError) for result in results] == [False, True, False]
    with pytest.raises(ItemsFailed, match=r"bad\.gif"):
        model.match(items, "a")


def test_embeddings_come_back_in_the_order_of_mixed_requests(model: Model) -> None:
    requests = [
        embed.EmbedInput(text="a longer text than the other"),
        embed.EmbedInput(image=picture()),
        embed.EmbedInput(image=b"broken"),
        embed.EmbedInput(text="b"),
        embed.EmbedInput(image=picture(seed=1)),
    ]
    results = list(embed.run(model, requests))
    assert isinstance(results[2], InputError)
    texts = model.embed_texts(["a longer text than the other", "b"])
    images = model.embed_images([picture(), picture(seed=1)])
    for i, expected in ((0, texts[0]), (1, images[0]), (3, texts[1]), (4, images[1])):
        found = torch.tensor(results[i].vector)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("request_", [{}, {"image": "a.png", "text": "a"}])
def test_a_request_is_an_image_or_a_text(model: Model, request_: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="one of the two"):
        list(embed.run(model, [embed.EmbedInput(**request_)]))


def test_vectors_do_not_depend_on_how_many_are_decoded_ahead(model: Model) -> None:
    images = [picture(20 + i, 30, i) for i in range(11)]
    whole = model.embed_images(images)
    for batch_size in (1, 4, 11):
        torch.testing.assert_close(
            whole, model.embed_images(images, batch_size=batch_size), atol=1e-5, rtol=0
        )
    chunks = list(model.stream_images(images, batch_size=4))
    assert [chunk.start for chunk in chunks] == [0, 4, 8]
