"""Folders of transformers' Florence-2 give its features, logits and texts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from parity.florence2_models import (
    FEATURES,
    LOGITS,
    SIZES,
    TEXT,
    VISION,
    V,
    asked,
    begun,
    build,
    close,
    pixels_for,
    prompt,
    saved,
    theirs,
    transformers,
)
from seesay.checkpoints.load import read
from seesay.families.florence2.model import waves
from seesay.families.florence2.prompts import OPTIONS
from seesay.generation.decoding import decode

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A model of transformers, and ours read from its files."""
    model = build()
    found = read(saved(model, tmp_path_factory.mktemp("florence2")))
    assert (found.layout, found.config.text.vocab_size, found.config.text.tied) == ("hf", V, True)
    assert found.config.text.max_length == 60
    return model, found.module.eval()


@pytest.mark.parametrize("name", SIZES)
def test_features(name: str, pair: tuple[Any, Any]) -> None:
    model, module = pair
    pixels = pixels_for(SIZES[name])
    with torch.no_grad():
        map_ = model.model.vision_tower(pixels).last_hidden_state
        assert close(module.image(pixels).permute(0, 3, 1, 2), map_) < FEATURES
        tokens = model.model.get_image_features(pixels).pooler_output
        assert close(module.encode_image(pixels), tokens) < FEATURES
        # each picture alone is the same
        alone = torch.cat([module.encode_image(one[None]) for one in pixels])
        assert close(alone, tokens) < FEATURES


@pytest.mark.parametrize("name", SIZES)
def test_logits(name: str, pair: tuple[Any, Any]) -> None:
    model, module = pair
    pixels, (ids, mask), prefix = pixels_for(SIZES[name]), asked(), begun()
    with torch.no_grad():
        wanted = model(**theirs(model, pixels, ids, mask), decoder_input_ids=prefix)
        told = prompt(pixels, ids, mask, prefix)
        read_ = module.read(told)
        counted = torch.cat([torch.ones(3, read_.shape[1] - mask.shape[1]).bool(), mask], 1)
        last = wanted.encoder_last_hidden_state
        assert close(read_[counted], last[counted]) < FEATURES
        assert float((module(told) - wanted.logits[..., :V]).abs().max()) < LOGITS
        for i, length in enumerate(mask.sum(1).tolist()):
            alone = prompt(pixels[i : i + 1], ids[i : i + 1, :length], mask[i : i + 1, :length])
            alone = alone._replace(prefix=prefix[i : i + 1])
            alone = alone._replace(prefix_mask=torch.ones_like(alone.prefix).bool())
            assert float((module(alone) - wanted.logits[i : i + 1, :, :V]).abs().max()) < LOGITS


def test_norms_add_as_much_to_the_variance_as_theirs(pair: tuple[Any, Any]) -> None:
    """What comes out hardly shows it where variances are large, as in front of the last norms."""
    model, module = pair
    added = [
        sorted(part.eps for part in one.modules() if isinstance(part, torch.nn.LayerNorm))
        for one in (model, module)
    ]
    assert added[0] == added[1]


def without_spare_rows(module: Any, inputs: Any, logits: Tensor) -> None:
    logits[..., V:] = -torch.inf


@pytest.fixture(scope="module")
def ending(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Such a pair whose texts mostly end by themselves, at several lengths."""
    model = build()
    table = model.model.language_model.shared.weight
    with torch.no_grad():
        table[2] = table[61] * 1.02
    return model, read(saved(model, tmp_path_factory.mktemp("ending"))).module.eval()


@pytest.mark.parametrize("which", ["pair", "ending"])
@pytest.mark.parametrize("beams", [1, 3])
def test_texts(beams: int, which: str, request: pytest.FixtureRequest) -> None:
    model, module = request.getfixturevalue(which)
    pixels, (ids, mask) = pixels_for(SIZES["odd"]), asked()
    options = OPTIONS.changed(num_beams=beams, max_new_tokens=16)
    how: dict[str, Any] = {
        "num_beams": beams,
        "no_repeat_ngram_size": 3,
        "early_stopping": True,
        "forced_bos_token_id": 0,
        "forced_eos_token_id": 2,
        "max_new_tokens": 16,
        "do_sample": False,
    }
    with torch.no_grad():
        # rows of its table that no token has would take part in the probabilities
        hook = model.lm_head.register_forward_hook(without_spare_rows)
        wanted = model.generate(**theirs(model, pixels, ids, mask), **how)
        hook.remove()
        found = decode(module, prompt(pixels, ids, mask), options, end_ids=[2])
        lengths = {len(row[0].ids) for row in found}
        assert len(lengths) > 1 if which == "ending" else lengths == {15}
        for i, length in enumerate(mask.sum(1).tolist()):
            row = [token for token in wanted[i].tolist()[1:] if token not in (1, 2)]
            assert found[i][0].ids == row
            one = slice(i, i + 1)
            alone = prompt(pixels[one], ids[one, :length], mask[one, :length])
            assert decode(module, alone, options, end_ids=[2])[0][0].ids == row


@pytest.mark.parametrize("width", [20, 1024])
def test_what_is_added_for_the_first_frame_is_not_zero(width: int, pair: tuple[Any, Any]) -> None:
    vision = {"embed_dim": (6, 10, 12, width), "max_temporal_embeddings": 100}
    config = transformers.Florence2Config(vision_config=VISION | vision, text_config=TEXT)
    theirs_ = transformers.models.florence2.modeling_florence2
    buffer = theirs_.Florence2VisionPositionalEmbeddingCosine1D(config).pos_idx_to_embed
    assert close(waves(100, width), buffer) < FEATURES
    assert waves(100, width)[0].tolist() == [0.0, 1.0] * (width // 2)


def test_each_part_of_the_projector_counts(pair: tuple[Any, Any]) -> None:
    module = pair[1].projector
    map_ = torch.randn(2, 3, 4, VISION["embed_dim"][-1], generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        wanted = module(map_)
        assert wanted.shape == (2, 1 + 12, TEXT["d_model"])
        half = map_.shape[-1] // 2
        placed = map_.clone()
        for row in range(3):
            for column in range(4):
                placed[:, row, column, :half] += module.columns[column]  # across first
                placed[:, row, column, half:] += module.rows[row]
        placed = (placed + module.frames[0]).flatten(1, 2)
        # the mean of all comes first
        by_hand = torch.cat([placed.mean(1, keepdim=True), placed], 1)
        assert close(wanted, module.norm(by_hand @ module.projection.weight.T)) < FEATURES
    with pytest.raises(ValueError, match="8 x 4 image tokens, but there are positions for 7"):
        module(torch.zeros(1, 8, 4, map_.shape[-1]))


def test_more_to_read_than_there_are_positions_is_refused(pair: tuple[Any, Any]) -> None:
    _, module = pair
    pixels, ids = pixels_for(SIZES["odd"], 1), torch.full((1, 57), 5)
    fits = ids[:, : 60 - module.encode_image(pixels).shape[1]]
    module.read(prompt(pixels, fits, torch.ones_like(fits).bool()))
    with pytest.raises(ValueError, match="but there are 60 positions"):
        module.read(prompt(pixels, ids, torch.ones_like(ids).bool()))
