"""Folders written by transformers give transformers' features, whatever the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import seesay
from seesay.checkpoints.convert import convert
from seesay.checkpoints.load import Loaded, read

transformers = pytest.importorskip("transformers")

FEATURES = 1e-5
"""Relative to the largest entry; both sides are fp32 with sums in another order."""
LOGITS = 1e-4

ODD: dict[str, dict[str, Any]] = {
    "heads of 8, deep text": {
        "vision": {"hidden_size": 40, "num_attention_heads": 5, "intermediate_size": 72},
        "text": {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 3},
    },
    "gelu, other eps": {
        "vision": {"hidden_act": "gelu", "layer_norm_eps": 1e-3, "image_size": 33},
        "text": {"hidden_act": "gelu", "layer_norm_eps": 1e-2},
    },
    "towers of different activation, narrow feed-forward": {
        "vision": {"hidden_act": "gelu", "intermediate_size": 11, "patch_size": 5},
        "text": {"hidden_act": "quick_gelu", "intermediate_size": 7},
    },
    "the end token of old releases": {"text": {"eos_token_id": 2}},
    "an end token that is not the highest id": {"text": {"eos_token_id": 50}},
}


def build(name: str) -> Any:
    """A transformers model with every parameter and buffer drawn anew."""
    odd = ODD[name]
    vision = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48}
    text = {"hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 40}
    config = transformers.CLIPConfig(
        projection_dim=19,
        vision_config={"image_size": 24, "patch_size": 8, "num_hidden_layers": 2}
        | vision
        | odd.get("vision", {}),
        text_config={"vocab_size": 99, "max_position_embeddings": 17, "num_hidden_layers": 2}
        | {"eos_token_id": 98, "bos_token_id": 97}
        | text
        | odd.get("text", {}),
    )
    model = transformers.CLIPModel(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in model.state_dict(keep_vars=True).values():
            if tensor.is_floating_point():
                spread = 0.5 if tensor.ndim < 2 else 2 / tensor[0].numel() ** 0.5
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * spread)
    return model


def inputs(model: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Three images; four texts of different lengths, with rubbish after the mask."""
    generator = torch.Generator().manual_seed(1)
    size = model.config.vision_config.image_size
    pixels = torch.randn(3, 3, size, size, generator=generator)
    ids = torch.randint(3, 49, (4, 17), generator=generator)
    mask = torch.arange(17) < torch.tensor([[17], [2], [9], [5]])
    end = model.config.text_config.eos_token_id
    ids[range(4), mask.sum(1) - 1] = 98 if end == 2 else end
    return pixels, ids, mask


def check(model: Any, loaded: Loaded) -> None:
    pixels, ids, mask = inputs(model)
    module: Any = loaded.module.eval()
    with torch.no_grad():
        wanted = model(input_ids=ids, attention_mask=mask.long(), pixel_values=pixels)
        image, text = module.embed_image(pixels), module.embed_text(ids, mask)
        logits = module.logit_scale.exp() * image @ text.T
        tokens = model.text_model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        patches = model.vision_model(pixel_values=pixels).last_hidden_state
        patches = model.vision_model.post_layernorm(patches)
        assert close(module.encode_text(ids, mask), tokens) < FEATURES
        assert close(module.encode_image(pixels), patches) < FEATURES
    assert close(image, wanted.image_embeds) < FEATURES
    assert close(text, wanted.text_embeds) < FEATURES
    assert float((logits - wanted.logits_per_image).abs().max()) < LOGITS


def close(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("name", ODD)
def test_features_and_logits(name: str, tmp_path: Path) -> None:
    model = build(name)
    model.save_pretrained(tmp_path)
    loaded = read(tmp_path)
    assert loaded.layout == "hf"
    check(model, loaded)


def test_sharded_and_pickled_weights(tmp_path: Path) -> None:
    model = build("heads of 8, deep text")
    model.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    assert len(list((tmp_path / "sharded").glob("model-*.safetensors"))) > 3
    model.config.save_pretrained(tmp_path / "bin")
    state = model.state_dict() | {
        "text_model.embeddings.position_ids": torch.arange(17)[None],
        "vision_model.embeddings.position_ids": torch.arange(10)[None],
    }
    torch.save(state, tmp_path / "bin" / "pytorch_model.bin")
    prints = set()
    for folder in ("sharded", "bin"):
        loaded = read(tmp_path / folder)
        check(model, loaded)
        prints.add(loaded.fingerprint)
    prints.add(read(tmp_path / "bin" / "pytorch_model.bin").fingerprint)
    assert len(prints) == 1


def test_images_of_another_size_get_resampled_positions(tmp_path: Path) -> None:
    model = build("heads of 8, deep text")
    model.save_pretrained(tmp_path)
    module: Any = read(tmp_path).module.eval()
    pixels = torch.randn(2, 3, 40, 56, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        wanted = model.get_image_features(pixel_values=pixels, interpolate_pos_encoding=True)
        wanted = getattr(wanted, "pooler_output", wanted)
        wanted = wanted / wanted.norm(dim=-1, keepdim=True)
        assert close(module.embed_image(pixels), wanted) < FEATURES


def test_from_files_and_words_to_logits(tmp_path: Path) -> None:
    pil = pytest.importorskip("transformers.models.clip.image_processing_pil_clip")
    import numpy as np
    from PIL import Image

    from seesay.processing.image import open_picture

    torch.manual_seed(0)
    tiny: Any = seesay.create("clip-tiny")
    for parameter in tiny.module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    tiny.save(tmp_path / "native")
    convert(tmp_path / "native", tmp_path / "hf", "hf")
    loaded = read(tmp_path / "hf", compat="hf")
    noise = np.random.default_rng(0)
    sizes = [(50, 37), (33, 64), (32, 32), (7, 90), (101, 35)]
    images = [Image.fromarray(noise.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]
    texts = ["a photo of a cat", "Two dogs, 3 birds!", "", "fish &amp; chips"]
    theirs = transformers.CLIPModel.from_pretrained(tmp_path / "hf").eval()
    tokens = transformers.CLIPTokenizer.from_pretrained(tmp_path / "hf")(
        texts, padding=True, return_tensors="pt"
    )
    processor = pil.CLIPImageProcessorPil.from_pretrained(tmp_path / "hf")
    wanted = processor(images, return_tensors="pt")["pixel_values"]
    pixels = loaded.processor.images([open_picture(image) for image in images])
    assert float((pixels - wanted).abs().max()) < 1e-5
    batch = loaded.processor.texts(texts)
    assert torch.equal(batch.ids, tokens["input_ids"])
    module: Any = loaded.module.eval()
    with torch.no_grad():
        found = module.logit_scale.exp() * (
            module.embed_image(pixels) @ module.embed_text(*batch).T
        )
        logits = theirs(pixel_values=wanted, **tokens).logits_per_image
    assert float((found - logits).abs().max()) < LOGITS


INERT = {
    "k_proj.bias": "adds the same to every score of a query, and the softmax does not see it",
}


def test_every_parameter_moves_the_output(tmp_path: Path) -> None:
    model = build("heads of 8, deep text")
    model.save_pretrained(tmp_path)
    module: Any = read(tmp_path).module.double().eval()
    pixels, ids, mask = inputs(model)
    pixels = pixels.double()

    def output() -> Tensor:
        with torch.no_grad():
            image, text = module.embed_image(pixels), module.embed_text(ids, mask)
            return module.logit_scale.exp() * image @ text.T

    before, generator = output(), torch.Generator().manual_seed(3)
    for name, tensor in module.named_parameters():
        kept = tensor.detach().clone()
        with torch.no_grad():
            tensor += 0.3 * torch.randn(tensor.shape, generator=generator)
            moved = float((output() - before).abs().max())
            tensor.copy_(kept)
        if any(name.endswith(suffix) for suffix in INERT):
            assert moved < 1e-10, name
        else:
            assert moved > 1e-5, name


@pytest.mark.parametrize("tower", ["text", "image"])
@pytest.mark.parametrize("projected", [True, False])
def test_one_tower_alone_is_refused_with_its_name(
    tower: str, projected: bool, tmp_path: Path
) -> None:
    from seesay.errors import CheckpointError

    config = build("heads of 8, deep text").config
    part = config.text_config if tower == "text" else config.vision_config
    name = "CLIPTextModel" if tower == "text" else "CLIPVisionModel"
    kind = getattr(transformers, name + "WithProjection" if projected else name)
    kind(part).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=f"one tower of CLIP alone: the {tower} tower") as e:
        read(tmp_path)
    assert kind.__name__ in e.value.what
    assert e.value.hint is not None
