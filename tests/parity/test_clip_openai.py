"""OpenAI's and open_clip's layouts give what a slow reference computes from the same tensors."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from reference import openai_clip as oracle
from seesay.checkpoints.load import Loaded, read

FEATURES = 1e-5
"""Largest difference of unit vectors' entries: fp32 kernels against float64 sums."""

TEXT = oracle.text_shapes(embed=48, width=64, depth=2, vocab=99, length=13, mlp=100)
VIT = TEXT | oracle.vit_shapes(embed=48, width=128, depth=3, patch=8, image=32, mlp=200)
RESNET = TEXT | oracle.resnet_shapes(embed=48, width=8, depths=(2, 1, 2, 1), image=64)
TOWERS = pytest.mark.parametrize("shapes", [VIT, RESNET], ids=["vit", "resnet"])


def inputs(shapes: oracle.Shapes) -> tuple[Tensor, Tensor, Tensor]:
    """Three images and four texts of different lengths, padded with 0 after their end token."""
    generator = torch.Generator().manual_seed(1)
    side = 32 if "visual.proj" in shapes else 64
    pixels = torch.randn(3, 3, side, side, generator=generator)
    ids = torch.randint(1, 98, (4, 13), generator=generator)
    mask = torch.arange(13) < torch.tensor([[13], [2], [7], [5]])
    ids[~mask] = 0
    ids[range(4), mask.sum(1) - 1] = 98
    return pixels, ids, mask


def check(
    loaded: Loaded, weights: dict[str, Tensor], activation: str = "quick_gelu", heads: int = 1
) -> None:
    pixels, ids, mask = inputs(weights)  # type: ignore[arg-type]
    module: Any = loaded.module.float().eval()
    with torch.no_grad():
        image, text = module.embed_image(pixels), module.embed_text(ids, mask)
    torch.testing.assert_close(
        image.double(), oracle.encode_image(weights, pixels, activation), atol=FEATURES, rtol=0
    )
    torch.testing.assert_close(
        text.double(), oracle.encode_text(weights, ids, activation, heads), atol=FEATURES, rtol=0
    )
    assert module.logit_scale.item() == float(weights["logit_scale"])


@TOWERS
def test_openai_state_dict(
    shapes: oracle.Shapes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = oracle.random_weights(shapes)
    torch.save(weights, tmp_path / "model.pt")
    torch.save(weights, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("model.pt", "old.pth"):
        with caplog.at_level(logging.WARNING):
            loaded = read(tmp_path / name)
        assert loaded.layout == "openai"
        assert "QuickGELU" in caplog.text  # the file cannot say it, so the user is told
        check(loaded, weights)
        caplog.clear()


@TOWERS
def test_openai_archive_is_read_without_running_it(shapes: oracle.Shapes, tmp_path: Path) -> None:
    extra = {name: torch.tensor(9) for name in ("input_resolution", "context_length")}
    extra |= {"transformer.resblocks.1.attn_mask": torch.zeros(13, 13)}
    weights = oracle.random_weights(shapes)
    weights = {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scripting is deprecated; released files are what they are
        torch.jit.script(tree(weights | extra)).save(tmp_path / "archive.pt")
    loaded = read(tmp_path / "archive.pt")
    assert loaded.layout == "openai"
    assert loaded.module.text.token_embedding.weight.dtype is torch.float16  # type: ignore[union-attr]
    check(loaded, weights)


@TOWERS
@pytest.mark.parametrize(
    ("activation", "prefix", "suffix"),
    [
        ("gelu", "", "safetensors"),
        ("quick_gelu", "", "bin"),
        ("gelu", "text.", "pt"),
    ],
)
def test_open_clip_folder(
    shapes: oracle.Shapes, activation: str, prefix: str, suffix: str, tmp_path: Path
) -> None:
    weights = oracle.random_weights(shapes)
    named = {
        (k if k.startswith("visual.") or k == "logit_scale" else prefix + k): v
        for k, v in weights.items()
    }
    vision: dict[str, Any] = {"image_size": 32, "layers": 3, "width": 128, "patch_size": 8}
    vision |= {"mlp_ratio": 200 / 128}
    if shapes is RESNET:
        vision = {"image_size": 64, "layers": [2, 1, 2, 1], "width": 8, "patch_size": None}
    text = {"context_length": 13, "vocab_size": 99, "width": 64, "heads": 4, "layers": 2}
    config = {
        "model_cfg": {
            "embed_dim": 48,
            "quick_gelu": activation == "quick_gelu",
            "vision_cfg": vision,
            "text_cfg": text | {"mlp_ratio": 100 / 64},
        },
        "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.1]},
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    if suffix == "safetensors":
        save_file(named, tmp_path / "open_clip_model.safetensors")
    else:
        wrapped = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in named.items()}}
        torch.save(wrapped, tmp_path / f"open_clip_pytorch_model.{suffix}")
    loaded = read(tmp_path)
    assert loaded.layout == "open_clip"
    assert loaded.processor.image.mean == (0.5, 0.4, 0.3)
    check(loaded, weights, activation, heads=4)


def test_pooling_is_at_the_first_end_token_however_the_row_is_padded(tmp_path: Path) -> None:
    torch.save(oracle.random_weights(VIT), tmp_path / "model.pt")
    module: Any = read(tmp_path / "model.pt").module.eval()
    ids = torch.tensor([[90, 5, 7, 98]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    alone = module.embed_text(ids, mask)
    for padding in (0, 98):
        padded = torch.cat([ids, torch.full((1, 5), padding)], 1)
        longer = torch.cat([mask, torch.zeros(1, 5, dtype=torch.bool)], 1)
        torch.testing.assert_close(module.embed_text(padded, longer), alone, atol=1e-6, rtol=0)


class Tree(nn.Module):
    """A module with nothing but tensors, which scripting can save."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def tree(weights: dict[str, Tensor]) -> nn.Module:
    root = Tree()
    for name, value in weights.items():
        *path, last = name.split(".")
        node: nn.Module = root
        for part in path:
            if part not in node._modules:
                node.add_module(part, Tree())
            node = node.get_submodule(part)
        if value.is_floating_point() and "running" not in last:
            node.register_parameter(last, nn.Parameter(value))
        else:
            node.register_buffer(last, value)
    return root
