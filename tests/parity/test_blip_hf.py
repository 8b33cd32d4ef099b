"""Folders of transformers' three BLIP classes give its features, scores and logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from parity.blip_models import (
    CLS,
    DEC,
    ENC,
    FEATURES,
    LOGITS,
    ODD,
    build,
    close,
    loaded,
    pixels_for,
    saved,
    texts,
    transformers,
)
from seesay.checkpoints.files import Source, read_json, write_json
from seesay.checkpoints.load import read
from seesay.errors import CheckpointError
from seesay.families.blip.hf import hf_config
from seesay.types import Prompt

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.parametrize("name", ODD)
def test_matching(name: str, tmp_path: Path) -> None:
    model = build("ImageTextRetrieval", name)
    found = loaded(model, tmp_path)
    assert found.layout == "hf"
    module: Any = found.module.eval()
    pixels, (ids, mask) = pixels_for(model), texts(CLS)
    with torch.no_grad():
        wanted = model(ids, pixels, attention_mask=mask.long())
        tokens = module.encode_image(pixels)
        assert close(tokens, wanted.last_hidden_state) < FEATURES
        fused = module.fuse(tokens, ids, mask)
        assert close(fused[mask], wanted.question_embeds[mask]) < FEATURES
        scores = module.match(tokens, ids, mask)
        assert float((scores - wanted.itm_score).abs().max()) < LOGITS
        cosines = model(ids, pixels, attention_mask=mask.long(), use_itm_head=False)
        alone = module.encode_text(ids, mask)
        assert close(alone[mask], cosines.question_embeds[mask]) < FEATURES
        vectors = module.embed_image(pixels), module.embed_text(ids, mask)
        assert close(vectors[0] @ vectors[1].T, cosines.itm_score) < FEATURES
        # with [ENC], as in training, it is another score
        ids[:, 0] = ENC
        assert close(module.match(tokens, ids, mask), wanted.itm_score) > 1e-3


@pytest.mark.parametrize("name", ODD)
def test_captions(name: str, tmp_path: Path) -> None:
    model = build("ConditionalGeneration", name)
    module: Any = loaded(model, tmp_path).module.eval()
    pixels, (ids, mask) = pixels_for(model), texts(DEC)
    with torch.no_grad():
        wanted = model(pixels, ids, mask.long()).logits
        found = module(Prompt(pixels, ids, mask))
        assert float((found[mask] - wanted[mask]).abs().max()) < LOGITS
        # encoded once, and several texts of an image side by side
        tokens = module.encode_image(pixels)
        twice = [t.repeat_interleave(2, 0) for t in (ids, mask)]
        found = module(Prompt(None, *twice, tokens=tokens))
        assert float((found[::2][mask] - wanted[mask]).abs().max()) < LOGITS


def question(model: Any, ids: torch.Tensor, mask: torch.Tensor, pixels: torch.Tensor) -> Any:
    """The logits of an answer that begins with three tokens, by transformers."""
    answer = torch.tensor([[DEC, 7, 9]]).expand(len(ids), -1)
    image = model.vision_model(pixels)[0]
    read_ = model.text_encoder(ids, attention_mask=mask.long(), encoder_hidden_states=image)[0]
    whole = torch.ones_like(mask).long()
    return answer, model.text_decoder(
        answer, encoder_hidden_states=read_, encoder_attention_mask=whole
    ).logits


@pytest.mark.parametrize("name", ODD)
def test_answers_to_questions_without_padding(name: str, tmp_path: Path) -> None:
    model = build("QuestionAnswering", name)
    module: Any = loaded(model, tmp_path).module.eval()
    pixels, (ids, mask) = pixels_for(model), texts(CLS, (6, 6, 6))
    with torch.no_grad():
        answer, wanted = question(model, ids, mask, pixels)
        told = Prompt(pixels, answer, torch.ones_like(answer).bool(), ids=ids, mask=mask)
        assert float((module(told) - wanted).abs().max()) < LOGITS


def test_images_of_another_size_get_resampled_positions(tmp_path: Path) -> None:
    model = build("ImageTextRetrieval")
    module: Any = loaded(model, tmp_path).module.eval()
    pixels = torch.randn(2, 3, 40, 56, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        wanted = model.vision_model(pixels, interpolate_pos_encoding=True)[0]
        assert close(module.encode_image(pixels), wanted) < FEATURES


def test_what_the_configuration_leaves_out_is_as_transformers_has_it(tmp_path: Path) -> None:
    class_name = "BlipForConditionalGeneration"
    parts = {"vision_config": {"num_hidden_layers": 1}, "text_config": {"num_hidden_layers": 1}}
    config = transformers.BlipConfig(**parts, architectures=[class_name])
    config.save_pretrained(tmp_path)
    found = hf_config(Source(tmp_path))
    bare = {"architectures": [class_name], "model_type": "blip", **parts}
    write_json(tmp_path / "config.json", bare)
    assert hf_config(Source(tmp_path)) == found
    assert (found.text.num_heads, found.text.eps) == (8, 1e-12)
    assert (found.image.num_heads, found.image.eps, found.embed_width) == (12, 1e-5, 256)


def test_keys_tell_the_class_when_nothing_else_does(tmp_path: Path) -> None:
    kinds = {
        "ConditionalGeneration": "captioning",
        "QuestionAnswering": "vqa",
        "ImageTextRetrieval": "retrieval",
    }
    for name, kind in kinds.items():
        folder = saved(build(name), tmp_path / name)
        data = read_json(folder / "config.json")
        del data["architectures"]
        write_json(folder / "config.json", data)
        assert read(folder).config.kind == kind


def test_blip_model_is_refused_because_its_projections_are_random(tmp_path: Path) -> None:
    config = build("ImageTextRetrieval").config
    transformers.BlipModel(config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="random") as caught:
        read(tmp_path)
    assert "blip-itm-base-coco" in str(caught.value)
