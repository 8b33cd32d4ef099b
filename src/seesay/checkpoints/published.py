"""What the releases of several families have in common: file names, and keys of transformers."""

from __future__ import annotations

from seesay.checkpoints.keymap import Rename, Rule

HF_FILES = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)
"""Weights in a folder of transformers, the preferred ones first."""

OPEN_CLIP_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_model.bin",
    "open_clip_model.pt",
    "*.safetensors",
    "*.bin",
    "*.pt",
)
"""Weights in a folder of open_clip, the preferred ones first."""


def encoder_layers(theirs: str, ours: str) -> list[Rule]:
    """Return the rules of a tower's blocks, as transformers' CLIP and its descendants name them.

    Args:
        theirs: The tower in the release.
        ours: The tower in our module.
    """
    layer, block = f"{theirs}.encoder.layers.{{i}}", f"{ours}.blocks.{{i}}"
    return [
        Rename(f"{layer}.self_attn.{{part}}.{{p}}", f"{block}.attention.{{part}}.{{p}}"),
        Rename(f"{layer}.layer_norm1.{{p}}", f"{block}.attention_norm.{{p}}"),
        Rename(f"{layer}.mlp.{{part}}.{{p}}", f"{block}.mlp.{{part}}.{{p}}"),
        Rename(f"{layer}.layer_norm2.{{p}}", f"{block}.mlp_norm.{{p}}"),
    ]
