"""Folders of transformers' SiglipModel give its features, logits and loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import seesay
from parity.siglip_models import (
    FEATURES,
    LOGITS,
    TEXT,
    VISION,
    close,
    every_parameter_counts,
    logits,
    redrawn,
    texts,
)
from seesay.checkpoints.convert import convert
from seesay.checkpoints.load import read
from seesay.errors import CheckpointError
from seesay.processing.image import open_picture

transformers = pytest.importorskip("transformers")

ODD: dict[str, dict[str, Any]] = {
    "as released": {},
    "one width, other eps, exact gelu": {
        "vision": {"hidden_act": "gelu", "layer_norm_eps": 1e-3, "image_size": 33},
        "text": {"hidden_act": "gelu", "layer_norm_eps": 1e-2, "hidden_size": 40}
        | {"num_attention_heads": 4, "projection_size": None},
    },
    "padded with another id": {"text": {"pad_token_id": 0, "num_hidden_layers": 3}},
}


def build(name: str) -> Any:
    odd = ODD[name]
    config = transformers.SiglipConfig(
        vision_config=VISION | {"image_size": 24} | odd.get("vision", {}),
        text_config=TEXT | odd.get("text", {}),
    )
    return redrawn(transformers.SiglipModel(config))


def pixels_for(model: Any) -> torch.Tensor:
    size = model.config.vision_config.image_size
    return torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ODD)
def test_features_logits_and_loss(name: str, tmp_path: Path) -> None:
    from seesay.train.objectives import sigmoid

    model = build(name)
    model.save_pretrained(tmp_path)
    loaded = read(tmp_path)
    assert loaded.layout == "hf"
    module: Any = loaded.module.eval()
    pixels = pixels_for(model)
    padded, ids, mask = texts(model.config.text_config.pad_token_id)
    with torch.no_grad():
        # no attention mask: the model was trained to read its padding
        wanted = model(input_ids=padded, pixel_values=pixels, return_loss=True)
        image, text = module.embed_image(pixels), module.embed_text(ids, mask)
        found = logits(module, image, text)
        loss = sigmoid(image, text, module.logit_scale, module.logit_bias)
        hidden = wanted.text_model_output.last_hidden_state
        assert close(module.encode_text(ids, mask), hidden) < FEATURES
        hidden = wanted.vision_model_output.last_hidden_state
        assert close(module.encode_image(pixels), hidden) < FEATURES
        pooled = wanted.vision_model_output.pooler_output
        assert close(module.pool_image(pixels), pooled) < FEATURES
    assert close(image, wanted.image_embeds) < FEATURES
    assert close(text, wanted.text_embeds) < FEATURES
    assert float((found - wanted.logits_per_image).abs().max()) < LOGITS
    torch.testing.assert_close(loss, wanted.loss, rtol=1e-5, atol=0)


def test_padding_is_read_as_in_training_however_a_batch_is_padded(tmp_path: Path) -> None:
    model = build("as released")
    model.save_pretrained(tmp_path)
    module: Any = read(tmp_path).module.eval()
    padded, ids, mask = texts(pad=1)
    whole = torch.arange(11) < mask.sum(1, keepdim=True)
    with torch.no_grad():
        found = module.embed_text(ids, mask)
        # to full length, with other rubbish, and one by one without any padding
        torch.testing.assert_close(module.embed_text(padded, whole), found)
        torch.testing.assert_close(module.embed_text(padded.where(whole, 50), whole), found)
        for row, (line, length) in enumerate(zip(ids, mask.sum(1).tolist(), strict=True)):
            alone = module.embed_text(line[None, :length], mask[row : row + 1, :length])
            torch.testing.assert_close(alone[0], found[row], atol=1e-6, rtol=0)
        # a mask over the padding, which CLIP needs, gives other vectors
        masked = model(
            input_ids=padded, pixel_values=pixels_for(model), attention_mask=whole.long()
        ).text_embeds
    assert close(found, masked) > 0.05
    with pytest.raises(ValueError, match="12 tokens, but there are 11 positions"):
        module.embed_text(torch.ones(1, 12, dtype=torch.long), torch.ones(1, 12).bool())


def test_images_of_another_size_get_resampled_positions(tmp_path: Path) -> None:
    model = build("as released")
    model.save_pretrained(tmp_path)
    module: Any = read(tmp_path).module.eval()
    pixels = torch.randn(2, 3, 40, 56, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        wanted = model.vision_model(pixel_values=pixels, interpolate_pos_encoding=True)
        assert close(module.pool_image(pixels), wanted.pooler_output) < FEATURES


def test_every_parameter_moves_the_output(tmp_path: Path) -> None:
    model = build("as released")
    model.save_pretrained(tmp_path)
    module: Any = read(tmp_path).module.double().eval()
    pixels = pixels_for(model).double()
    _, ids, mask = texts(pad=1)

    def output() -> torch.Tensor:
        with torch.no_grad():
            return logits(module, module.embed_image(pixels), module.embed_text(ids, mask))

    every_parameter_counts(module, output)


def test_from_files_and_words_to_probabilities(tmp_path: Path) -> None:
    tiny: Any = seesay.create("siglip-tiny")
    redrawn(tiny.module)
    tiny.save(tmp_path / "native")
    folder = convert(tmp_path / "native", tmp_path / "hf", "hf")
    model = seesay.load(folder, dtype="float32")
    noise = np.random.default_rng(0)
    sizes = [(50, 37), (33, 64), (32, 32), (7, 90)]
    images = [Image.fromarray(noise.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]
    words = ["a photo of a cat", "Two DOGS", "", "much longer than the tower can read, by far"]
    pil = pytest.importorskip("transformers.models.siglip.image_processing_pil_siglip")
    processor = pil.SiglipImageProcessorPil.from_pretrained(folder)
    wanted = processor(images, return_tensors="pt")["pixel_values"]
    pixels = model.processor.images([open_picture(image) for image in images])
    assert float((pixels - wanted).abs().max()) < 1e-5
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.padding_side = "right"
    cut = [tokenizer(word.lower(), add_special_tokens=False)["input_ids"][:19] for word in words]
    rows = [[*row, tokenizer.eos_token_id] + [tokenizer.pad_token_id] * 20 for row in cut]
    ids = torch.tensor([row[:20] for row in rows])
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    assert type(theirs) is transformers.SiglipModel
    with torch.no_grad():
        expected = theirs(input_ids=ids, pixel_values=wanted).logits_per_image.sigmoid().diagonal()
    found = model.match(images, words)
    probabilities = torch.tensor([pair.probability for pair in found])
    assert float((probabilities - expected).abs().max()) < LOGITS


@pytest.mark.parametrize("kind", ["SiglipTextModel", "SiglipVisionModel"])
def test_one_tower_alone_is_refused_with_its_name(kind: str, tmp_path: Path) -> None:
    config = build("as released").config
    part = config.text_config if "Text" in kind else config.vision_config
    getattr(transformers, kind)(part).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="one tower of SigLIP alone") as caught:
        read(tmp_path)
    assert part.model_type in caught.value.what


@pytest.mark.parametrize(
    ("section", "fields", "complaint"),
    [
        ("vision_config", {"vision_use_head": False}, "not pooled"),
        ("vision_config", {"num_channels": 1}, "other colours"),
        ("vision_config", {"hidden_act": "mish"}, "'mish' is not known"),
        ("text_config", {"projection_size": 7}, "texts become 7 numbers, images 40"),
    ],
)
def test_what_we_do_not_build_is_refused(
    section: str, fields: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    build("as released").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    data = json.loads(path.read_text())
    data[section] |= fields
    path.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=complaint):
        read(tmp_path)


@pytest.mark.parametrize(
    "fields",
    [{"resample": 9}, {"do_resize": False}, {"rescale_factor": 1}, {"size": {"shortest_edge": 9}}],
    ids=str,
)
def test_pixels_we_do_not_make_are_refused(fields: dict[str, Any], tmp_path: Path) -> None:
    build("as released").save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(fields))
    with pytest.raises(CheckpointError):
        read(tmp_path)
