"""The losses that transformers' models return for a batch, and their gradients, are ours."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from seesay.train.objectives import info_nce, sigmoid

transformers = pytest.importorskip("transformers")

TOWER = {"hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1}
VISION = {**TOWER, "intermediate_size": 20, "image_size": 16, "patch_size": 8}
TEXT = {**TOWER, "intermediate_size": 28, "vocab_size": 50, "max_position_embeddings": 9}


def drawn_anew(model: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        model.logit_scale.fill_(1.3)
    return model.eval()


def inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "pixel_values": torch.randn(5, 3, 16, 16, generator=generator),
        "input_ids": torch.randint(3, 45, (5, 9), generator=generator),
    }


def check(out: Any, ours: Tensor, parameters: list[Tensor]) -> None:
    assert out.loss > 0.1
    torch.testing.assert_close(out.loss, ours, rtol=1e-6, atol=0)
    theirs = torch.autograd.grad(out.loss, parameters, retain_graph=True)
    for found, wanted in zip(torch.autograd.grad(ours, parameters), theirs, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("chunk", [None, 2])
def test_clip(chunk: int | None) -> None:
    text = TEXT | {"eos_token_id": 49, "bos_token_id": 48}
    config = transformers.CLIPConfig(projection_dim=7, vision_config=VISION, text_config=text)
    model = drawn_anew(transformers.CLIPModel(config))
    out = model(**inputs(), return_loss=True)
    ours = info_nce(out.image_embeds, out.text_embeds, model.logit_scale, chunk=chunk)
    check(out, ours, [model.logit_scale, model.visual_projection.weight])


@pytest.mark.parametrize("chunk", [None, 2])
def test_siglip(chunk: int | None) -> None:
    config = transformers.SiglipConfig(vision_config=VISION, text_config=TEXT)
    model = drawn_anew(transformers.SiglipModel(config))
    out = model(**inputs(), return_loss=True)
    scale, bias = model.logit_scale, model.logit_bias
    ours = sigmoid(out.image_embeds, out.text_embeds, scale, bias, chunk=chunk)
    check(out, ours, [scale, bias, model.text_model.head.weight])
