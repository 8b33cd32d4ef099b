"""Maps of words are attention times its gradient, whatever the heads, layers and word pieces."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import seesay
from contract.probes import build, picture
from seesay.errors import UsageError
from seesay.model import Model
from seesay.nn.attention import SourceAttention, heads
from seesay.processing.image import open_picture
from seesay.tasks.match import pair_ids
from seesay.tasks.wordmaps import word_maps, words_of

TEXT = "two dogs asleep on a catamaran"


@pytest.fixture(scope="module")
def model() -> Model:
    return build("blip-tiny-retrieval")


def tokens_of(model: Model) -> Tensor:
    with torch.no_grad():
        return model.module.encode_image(model.processor.images([open_picture(picture())]))


@pytest.mark.parametrize("layer", [None, 0, 2])
def test_maps_are_attention_times_its_gradient_by_the_book(
    model: Model, layer: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against attention written out, whose weights autograd differentiates by itself."""
    tokens = tokens_of(model)
    [found] = word_maps(model, tokens, [TEXT], layer)
    weights: list[Tensor] = []

    def written_out(self: SourceAttention, x: Tensor, read: Any, mask: Any = None) -> Tensor:
        query = heads(self.q_proj(x), self.num_heads)
        key, value = read
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        weights.append(scores.softmax(-1))
        return self.out_proj((weights[-1] @ value).transpose(1, 2).flatten(2))

    monkeypatch.setattr(SourceAttention, "forward", written_out)
    ids, mask = pair_ids(model, [TEXT])
    logit = model.module.match(tokens.requires_grad_(), ids, mask)[0, 1]
    chosen = weights[1 if layer is None else layer]  # of three layers, the middle one
    (gradient,) = torch.autograd.grad(logit, chosen)
    expected = (chosen * gradient.clamp_min(0)).mean(1)[0].detach()  # [L, P]
    words = words_of(ids[0].tolist(), lambda some: model.processor.decode([some])[0])
    assert found.words == TEXT.split()
    for row, (_, places) in zip(found.maps, words, strict=True):
        torch.testing.assert_close(row, expected[places].mean(0), atol=1e-7, rtol=1e-4)


def test_texts_of_one_image_have_the_maps_they_have_alone(model: Model) -> None:
    tokens, texts = tokens_of(model), [TEXT, "a cat", "one red catamaran, moored"]
    for together, text in zip(word_maps(model, tokens, texts), texts, strict=True):
        [alone] = word_maps(model, tokens, [text])
        assert together.words == alone.words
        torch.testing.assert_close(together.maps, alone.maps, atol=1e-7, rtol=1e-3)
        torch.testing.assert_close(together.logits, alone.logits, atol=1e-5, rtol=0)


def test_pieces_of_a_word_are_one_word_and_starts_and_ends_are_none() -> None:
    pieces = {1: "", 2: "a", 3: " cat", 4: "ama", 5: "ran", 6: ",", 7: " red", 8: ""}
    found = words_of([1, 2, 3, 4, 5, 6, 7, 8], lambda ids: "".join(pieces[i] for i in ids).strip())
    assert found == [("a", [1]), ("catamaran,", [2, 3, 4, 5]), ("red", [6])]
    assert words_of([1, 8], lambda ids: "") == []


def test_a_sheet_has_a_tile_for_each_word_and_one_for_the_mean(model: Model) -> None:
    found = model.relevance(picture(120, 60), "two red dogs")
    drawn = found.draw()
    assert len(found.words) == 3
    assert drawn.width % 384 == 0
    tiles = drawn.width // 384 * (drawn.height // (192 + 20))
    assert tiles >= 4
    grid = torch.tensor([word.grid for word in found.words])
    assert grid.amax((1, 2)).tolist() == [1, 1, 1]
    strengths = torch.tensor([word.strength for word in found.words])
    mean = (grid * strengths[:, None, None]).mean(0)
    torch.testing.assert_close(mean / mean.max(), torch.tensor(found.grid), atol=1e-3, rtol=0)


def test_a_text_without_words_has_an_empty_map(model: Model) -> None:
    found = model.relevance(picture(), "")
    assert found.words == []
    assert max(max(row) for row in found.grid) == 0
    assert found.draw().size == picture().size


def test_nothing_stays_behind(model: Model) -> None:
    model.relevance(picture(), "a cat")
    for module in model.module.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert all(parameter.grad is None for parameter in model.module.parameters())


def test_a_layer_that_is_not_there_and_a_packed_model_are_refused(
    model: Model, tmp_path: Any
) -> None:
    with pytest.raises(UsageError, match="layer=3 is none of 0 to 2"):
        model.relevance(picture(), "a cat", layer=3)
    model.save(tmp_path / "saved")
    packed = seesay.load(tmp_path / "saved", dtype="float32", optimize=True)
    with pytest.raises(UsageError, match="without optimize"):
        packed.relevance(picture(), "a cat")
