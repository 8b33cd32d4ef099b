"""open_clip's layout of SigLIP: timm's image tower, its own text tower, against plain float64."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import seesay
from reference import timm_siglip as oracle
from seesay.checkpoints.convert import convert
from seesay.checkpoints.load import read
from seesay.config import to_dict
from seesay.errors import CheckpointError
from seesay.families.siglip import open_clip

SIZES = oracle.Sizes(
    width=24,
    depth=2,
    heads=3,
    mlp=40,
    patch=8,
    pixels=30,
    vocab=61,
    text_width=20,
    text_depth=2,
    text_heads=2,
    text_mlp=37,
    length=9,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A released folder in everything but its size."""
    sizes = (SIZES.width, SIZES.depth, SIZES.heads, SIZES.mlp)
    monkeypatch.setitem(open_clip.TOWERS, "base", sizes)
    data = {
        "model_cfg": {
            "embed_dim": SIZES.width,
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": {
                "image_size": SIZES.pixels,
                "timm_model_name": "vit_base_patch8_siglip_30",
                "timm_model_pretrained": False,
                "timm_pool": "map",
                "timm_proj": "none",
            },
            "text_cfg": {
                "context_length": SIZES.length,
                "vocab_size": SIZES.vocab,
                "hf_tokenizer_name": "timm/ViT-B-16-SigLIP",
                "tokenizer_kwargs": {"clean": "canonicalize"},
                "width": SIZES.text_width,
                "heads": SIZES.text_heads,
                "layers": SIZES.text_depth,
                "mlp_ratio": 1.86,
                "no_causal_mask": True,
                "proj_bias": True,
                "pool_type": "last",
                "norm_kwargs": {"eps": 1e-6},
            },
        },
        "preprocess_cfg": {
            "size": [30, 30],
            "mode": "RGB",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic",
            "resize_mode": "squash",
            "fill_color": 0,
        },
    }
    place = tmp_path / "released"
    place.mkdir()
    (place / "open_clip_config.json").write_text(json.dumps(data))
    save_file(oracle.random_weights(SIZES), place / "open_clip_model.safetensors")
    return place


def test_vectors(folder: Path) -> None:
    loaded = read(folder)
    assert (loaded.family.name, loaded.layout) == ("siglip", "open_clip")
    module: Any = loaded.module.eval()
    weights = oracle.random_weights(SIZES)
    pixels = torch.randn(3, 3, 30, 30)
    ids = torch.tensor([[5, 9, 60, 1], [7, 1, 33, 44]])
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    padded = torch.tensor([[5, 9, 60, 1, 1, 1, 1, 1, 1], [7, 1, 1, 1, 1, 1, 1, 1, 1]])
    with torch.no_grad():
        image, text = module.embed_image(pixels).double(), module.embed_text(ids, mask).double()
    for found, wanted in (
        (image, oracle.image_vectors(weights, SIZES, pixels)),
        (text, oracle.text_vectors(weights, SIZES, padded)),
    ):
        assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-5
    assert module.logit_scale.item() == weights["logit_scale"].item()
    assert module.logit_bias.item() == weights["logit_bias"].item()


def test_there_and_back_and_to_transformers(folder: Path, tmp_path: Path) -> None:
    native = convert(folder, tmp_path / "native", "native")
    back = convert(native, tmp_path / "back", "open_clip")
    hf = convert(native, tmp_path / "hf", "hf")
    sound = read(folder)
    for place in (native, back, hf):
        loaded = read(place)
        assert loaded.fingerprint == sound.fingerprint, place.name
        assert to_dict(loaded.config) == to_dict(sound.config)
    assert read(back).layout == "open_clip"


def change(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (lambda d: d["model_cfg"]["text_cfg"].update(no_causal_mask=False), "no_causal_mask"),
        (lambda d: d["model_cfg"]["text_cfg"].update(pool_type="argmax"), "pool_type"),
        (lambda d: d["model_cfg"]["text_cfg"].update(use_pad_mask=True), "use_pad_mask"),
        (lambda d: d["model_cfg"]["vision_cfg"].update(timm_pool="avg"), "timm_pool"),
        (lambda d: d["model_cfg"]["vision_cfg"].update(timm_drop=0.1), "timm_drop"),
        (lambda d: d["model_cfg"].update(embed_dim=7), "embed_dim"),
        (lambda d: d["model_cfg"].update(quick_gelu=True), "quick_gelu"),
        (
            lambda d: d["model_cfg"]["vision_cfg"].update(
                timm_model_name="naflexvit_base_patch16_siglip"
            ),
            "naflexvit",
        ),
        (lambda d: d["preprocess_cfg"].update(resize_mode="longest"), "longest"),
        (
            lambda d: d["model_cfg"]["text_cfg"].update(tokenizer_kwargs={"clean": "whitespace"}),
            "whitespace",
        ),
    ],
)
def test_what_we_do_not_build_is_refused(
    edit: Callable[[dict[str, Any]], Any], complaint: str, folder: Path
) -> None:
    change(folder / "open_clip_config.json", edit)
    with pytest.raises(CheckpointError, match=complaint):
        read(folder)


def test_what_the_layout_cannot_say_is_not_written(tmp_path: Path) -> None:
    seesay.create("siglip-tiny").save(tmp_path / "tiny")
    with pytest.raises(CheckpointError, match="timm has no SigLIP image tower like this"):
        convert(tmp_path / "tiny", tmp_path / "out", "open_clip")
