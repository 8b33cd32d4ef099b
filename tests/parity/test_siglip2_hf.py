"""SigLIP 2: pictures of any proportions (NaFlex) as transformers' Siglip2Model sees them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

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
from seesay.errors import CheckpointError, InputError
from seesay.families.siglip.processing import fitted
from seesay.processing.image import open_picture

transformers = pytest.importorskip("transformers")

GRIDS = [(4, 4), (2, 8), (5, 3), (1, 9), (16, 1)]
"""Rows and columns of patches: the trained grid, and narrower, smaller and longer ones."""


def build() -> Any:
    config = transformers.Siglip2Config(
        vision_config=VISION | {"num_patches": 16}, text_config=TEXT | {"pad_token_id": 0}
    )
    return redrawn(transformers.Siglip2Model(config))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build().save_pretrained(tmp_path)
    return tmp_path


def sequences(pixels: list[Tensor]) -> dict[str, Tensor]:
    """Pictures [3, h, w] as transformers takes them: patches padded to 16, mask, grids."""
    patches, mask, grids = torch.zeros(len(pixels), 16, 8 * 8 * 3), torch.zeros(5, 16).int(), []
    for row, picture in enumerate(pixels):
        rows, columns = picture.shape[1] // 8, picture.shape[2] // 8
        cut = picture.view(3, rows, 8, columns, 8).permute(1, 3, 2, 4, 0).flatten(2).flatten(0, 1)
        patches[row, : len(cut)], mask[row, : len(cut)] = cut, 1
        grids.append((rows, columns))
    shapes = torch.tensor(grids)
    return {"pixel_values": patches, "pixel_attention_mask": mask, "spatial_shapes": shapes}


def test_features_logits_and_loss_of_a_batch_of_all_proportions(folder: Path) -> None:
    from seesay.train.objectives import sigmoid

    model = transformers.Siglip2Model.from_pretrained(folder).eval()
    loaded = read(folder)
    assert loaded.layout == "hf"
    module: Any = loaded.module.eval()
    generator = torch.Generator().manual_seed(1)
    pixels = [torch.randn(3, 8 * r, 8 * c, generator=generator) for r, c in GRIDS]
    padded, ids, mask = texts(pad=0)
    padded, ids, mask = (torch.cat([t, t[:1]]) for t in (padded, ids, mask))
    with torch.no_grad():
        wanted = model(input_ids=padded, **sequences(pixels), return_loss=True)
        image = torch.cat([module.embed_image(picture[None]) for picture in pixels])
        text = module.embed_text(ids, mask)
        found = logits(module, image, text)
        loss = sigmoid(image, text, module.logit_scale, module.logit_bias)
    assert close(image, wanted.image_embeds) < FEATURES
    assert close(text, wanted.text_embeds) < FEATURES
    assert float((found - wanted.logits_per_image).abs().max()) < LOGITS
    torch.testing.assert_close(loss, wanted.loss, rtol=1e-5, atol=0)


def test_every_parameter_moves_the_output(folder: Path) -> None:
    module: Any = read(folder).module.double().eval()
    pixels = torch.randn(2, 3, 24, 40, dtype=torch.double)
    _, ids, mask = texts(pad=0)

    def output() -> Tensor:
        with torch.no_grad():
            return logits(module, module.embed_image(pixels), module.embed_text(ids, mask))

    every_parameter_counts(module, output)


def test_pictures_become_the_same_patches(tmp_path: Path) -> None:
    pil = pytest.importorskip("transformers.models.siglip2.image_processing_pil_siglip2")
    tiny: Any = seesay.create("siglip-tiny-naflex")
    redrawn(tiny.module)
    tiny.save(tmp_path / "native")
    place = convert(tmp_path / "native", tmp_path / "hf", "hf")
    assert json.loads((place / "config.json").read_text())["model_type"] == "siglip2"
    model = seesay.load(place, dtype="float32")
    noise = np.random.default_rng(0)
    sizes = [(50, 37), (33, 64), (32, 32), (7, 90), (300, 20)]
    images = [Image.fromarray(noise.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]
    batch = pil.Siglip2ImageProcessorPil.from_pretrained(place)(images, return_tensors="pt")
    opened = [open_picture(image) for image in images]
    pixels = [model.processor.images([picture])[0] for picture in opened]
    ours = sequences(pixels)
    assert torch.equal(ours["spatial_shapes"], batch["spatial_shapes"])
    assert torch.equal(ours["pixel_attention_mask"], batch["pixel_attention_mask"])
    assert float((ours["pixel_values"] - batch["pixel_values"]).abs().max()) < 1e-5
    theirs = transformers.AutoModel.from_pretrained(place).eval()
    with torch.no_grad():
        wanted = theirs.get_image_features(**batch).pooler_output
    # one call for pictures of five sizes, in their order
    found = model.embed_images(images)
    assert close(found, torch.nn.functional.normalize(wanted, dim=-1)) < FEATURES
    same = [images[0], images[0].copy()]
    assert model.processor.images([open_picture(image) for image in same]).shape[0] == 2
    with pytest.raises(InputError, match="5 different sizes do not make one batch"):
        model.processor.images(opened)


def test_sizes_are_those_of_the_original_search() -> None:
    pil = pytest.importorskip("transformers.models.siglip2.image_processing_pil_siglip2")
    generator = np.random.default_rng(0)
    sizes = [tuple(int(n) for n in generator.integers(1, 4000, 2)) for _ in range(300)]
    sizes += [(1, 1), (1, 4000), (4000, 1), (224, 224), (256, 256), (640, 480), (480, 640)]
    for width, height in sizes:
        for patch, most in ((16, 256), (16, 1024), (14, 100)):
            wanted = pil.get_image_size_for_max_num_patches(height, width, patch, most)
            found = fitted((width, height), patch, most)
            assert found == wanted, (width, height)
            assert found[0] * found[1] <= most * patch**2


def test_patches_of_another_size_are_refused(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps({"patch_size": 16}))
    with pytest.raises(CheckpointError, match="pixels for patches of 16"):
        read(folder)


def test_a_fixed_size_of_the_second_generation_is_the_first_with_another_vocabulary(
    tmp_path: Path,
) -> None:
    config = transformers.SiglipConfig(
        vision_config=VISION | {"image_size": 24},
        # its pad id in config.json is the default, which is not what the tokenizer pads with
        text_config=TEXT | {"vocab_size": 256000, "hidden_size": 4, "num_attention_heads": 1},
    )
    model = redrawn(transformers.SiglipModel(config))
    model.save_pretrained(tmp_path)
    loaded = read(tmp_path)
    assert loaded.config.text.pad_id == 0
    assert loaded.settings["cleaning"] == "lower"
    assert loaded.processor.image.resample == "bilinear"
    module: Any = loaded.module.eval()
    padded, ids, mask = texts(pad=0)
    with torch.no_grad():
        wanted = model.get_text_features(input_ids=padded).pooler_output
        found = module.text_projection(module.pool_text(ids, mask))
    assert close(found, wanted) < FEATURES
