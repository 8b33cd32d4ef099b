"""What the releases of several families have in common: file names, and keys of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seesay.checkpoints.files import Source
from seesay.checkpoints.keymap import Rename, Rule
from seesay.errors import CheckpointError

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

FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's numbers, which transformers' image processors are written with."""


def hf_sizes(data: Mapping[str, Any], activations: Mapping[str, str]) -> dict[str, Any]:
    """Return the sizes of a network from its part of config.json, under our names.

    Args:
        data: That part.
        activations: The names of activations there, to those in `nn.mlp`.

    Raises:
        CheckpointError: Its activation is none of these.
    """
    if data["hidden_act"] not in activations:
        raise CheckpointError(f"config.json: the activation {data['hidden_act']!r} is not known")
    return {
        "width": data["hidden_size"],
        "depth": data["num_hidden_layers"],
        "num_heads": data["num_attention_heads"],
        "mlp_width": data["intermediate_size"],
        "activation": activations[data["hidden_act"]],
        "eps": data["layer_norm_eps"],
    }


def hf_image_processor(source: Source) -> dict[str, Any] | None:
    """Return preprocessor_config.json, or its newer place in processor_config.json; None for none.

    Raises:
        CheckpointError: It does not resize, or does not scale by 1/255.
    """
    data = source.json("preprocessor_config.json")
    if data is None:
        data = (source.json("processor_config.json") or {}).get("image_processor")
    if data is None:
        return None
    scale = data.get("rescale_factor", 1 / 255) if data.get("do_rescale", True) else 1
    if not data.get("do_resize", True) or abs(scale - 1 / 255) > 1e-6:
        raise CheckpointError(f"{source.folder}: pixels are not resized, or not scaled by 1/255")
    return data


def hf_filter(source: Source, number: int) -> str:
    """Return the name of a resampling filter.

    Raises:
        CheckpointError: There is none of this number.
    """
    if number not in FILTERS:
        raise CheckpointError(f"{source.folder}: resample {number!r} is no filter's number")
    return FILTERS[number]


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
