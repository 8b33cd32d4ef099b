"""The Swin network gives what transformers gives from the same tensors, on images of any size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from seesay.checkpoints.keymap import KeyMap, Rename
from seesay.networks.swin import Swin, SwinConfig

transformers = pytest.importorskip("transformers")

CONFIG = SwinConfig(
    image_size=(60, 60),
    patch_size=4,
    width=15,
    depths=(2, 3, 2),
    num_heads=(3, 2, 5),
    window_size=3,
    mlp_ratio=2.6,
)
LAYER = "encoder.layers.{s}.blocks.{b}"
OURS = "stages.{s}.blocks.{b}"
KEYS = KeyMap(
    Rename("embeddings.patch_embeddings.projection.{p}", "patch_embedding.{p}"),
    Rename("embeddings.norm.{p}", "patch_norm.{p}"),
    Rename(f"{LAYER}.layernorm_before.{{p}}", f"{OURS}.attention_norm.{{p}}"),
    Rename(f"{LAYER}.layernorm_after.{{p}}", f"{OURS}.mlp_norm.{{p}}"),
    Rename(f"{LAYER}.attention.o_proj.{{p}}", f"{OURS}.attention.out_proj.{{p}}"),
    Rename(
        f"{LAYER}.attention.relative_position_bias.relative_position_bias_table",
        f"{OURS}.position_bias",
    ),
    Rename(f"{LAYER}.attention.{{part}}.{{p}}", f"{OURS}.attention.{{part}}.{{p}}"),
    Rename(f"{LAYER}.mlp.{{part}}.{{p}}", f"{OURS}.mlp.{{part}}.{{p}}"),
    Rename("encoder.layers.{s}.downsample.{part}.{p}", "stages.{s}.halving.{part}.{p}"),
    Rename("layernorm.{p}", "final_norm.{p}"),
)


def reference() -> Any:
    """A model with every tensor drawn anew; a new one each time, for it changes when it is used.

    (transformers keeps the smaller window that one small image asked for.)
    """
    config = transformers.SwinConfig(
        image_size=CONFIG.image_size[0],
        patch_size=CONFIG.patch_size,
        embed_dim=CONFIG.width,
        depths=list(CONFIG.depths),
        num_heads=list(CONFIG.num_heads),
        window_size=CONFIG.window_size,
        mlp_ratio=CONFIG.mlp_ratio,
        layer_norm_eps=CONFIG.eps,
        attn_implementation="eager",
    )
    model = transformers.SwinModel(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict(keep_vars=True).items():
            if tensor.is_floating_point():
                drawn = torch.randn(tensor.shape, generator=generator)
                if tensor.ndim < 2:
                    tensor.copy_(0.3 * drawn + name.endswith("weight"))
                else:
                    tensor.copy_(drawn * (1 if "table" in name else tensor[0].numel() ** -0.5))
    return model


def loaded(model: Any) -> Swin:
    network = Swin(CONFIG).eval()
    state = network.state_dict()
    network.load_state_dict(KEYS.forward(model.state_dict(), state, "transformers"))
    return network


def images(height: int, width: int) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(height + width))


def far(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, in units of the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize(
    ("height", "width"),
    [
        (48, 48),  # whole windows at every stage; the last map is one window
        (60, 60),  # 15, 8 and 4 tokens on a side: odd halves, and windows to fill up
        (60, 100),
        (93, 50),  # no whole patches either
        (49, 130),
    ],
)
def test_maps_are_those_of_transformers(height: int, width: int) -> None:
    model = reference()
    pixels = images(height, width)
    with torch.no_grad():
        theirs = model(pixels).last_hidden_state  # [B, P, D]
        ours = loaded(reference())(pixels)
    assert ours.shape[2] * ours.shape[3] == theirs.shape[1]
    assert far(ours.flatten(2).transpose(1, 2), theirs) < 1e-5


def test_gradients_of_every_parameter_are_those_of_transformers() -> None:
    model = reference()
    network = loaded(model)
    pixels = images(60, 100)
    theirs, ours = model(pixels).last_hidden_state, network(pixels)
    weights = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(3))
    (theirs * weights).sum().backward()
    (ours.flatten(2).transpose(1, 2) * weights).sum().backward()
    wanted = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    found = {name: p.grad for name, p in network.named_parameters()}
    wanted = KEYS.forward(wanted, network.state_dict(), "gradients")
    for name, gradient in wanted.items():
        if not name.endswith("k_proj.bias"):  # softmax does not see it: zero but for rounding
            assert far(found[name], gradient) < 1e-4, name


def test_every_parameter_counts() -> None:
    network = loaded(reference())
    pixels = images(60, 100)
    with torch.no_grad():
        before = network(pixels)
        for name, parameter in network.named_parameters():
            if name.endswith("k_proj.bias"):
                continue
            kept = parameter.clone()
            parameter.mul_(1.3).add_(0.1)
            assert far(network(pixels), before) > 1e-5, name
            parameter.copy_(kept)
