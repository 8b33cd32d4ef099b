"""SigLIP as open_clip publishes it: an image tower that timm builds, open_clip's own text tower."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seesay.checkpoints.files import Source, write_json
from seesay.checkpoints.keymap import KeyMap, Rename, Reshape, Rule, Split
from seesay.checkpoints.published import OPEN_CLIP_FILES
from seesay.errors import CheckpointError
from seesay.families.siglip.configs import SiglipConfig, TextConfig, image_tower, published_pad
from seesay.families.siglip.processing import published_settings, unsaid_settings
from seesay.family import Layout
from seesay.processing.image import RESAMPLE
from seesay.protocols import Processor

TOWERS = {
    "base": (768, 12, 12, 3072),
    "large": (1024, 24, 16, 4096),
    "so400m": (1152, 27, 16, 4304),
    "giantopt": (1536, 40, 16, 6144),
}
"""What timm calls a size: width, depth, num_heads, mlp_width."""

_NAME = re.compile(r"vit_(?P<size>\w+)_patch(?P<patch>\d+)_siglip_\d+")
_MODEL = {
    "embed_dim", "vision_cfg", "text_cfg", "custom_text", "init_logit_scale", "init_logit_bias",
}  # fmt: skip
_TEXT = {
    "context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "norm_kwargs",
    "act_kwargs", "hf_tokenizer_name", "tokenizer_kwargs", "pad_id", "eos_id",
}  # fmt: skip
_TRAITS = {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
"""What makes open_clip's text tower SigLIP's."""
_IMAGE = {"image_size", "timm_model_name", "timm_model_pretrained", "timm_pool", "timm_proj"}
_NOTHING: tuple[Any, ...] = (None, False, 0, 0.0, {})


def open_clip_config(source: Source) -> SiglipConfig:
    """Read `model_cfg` of open_clip_config.json.

    The towers were trained with the tanh form of GELU, so that is what they are built with, though
    open_clip and timm run some of them with the other.

    Raises:
        CheckpointError: It asks for a tower we do not build.
    """
    data = (source.json("open_clip_config.json") or {}).get("model_cfg") or {}
    image, text = data.get("vision_cfg") or {}, data.get("text_cfg") or {}
    found = _NAME.fullmatch(str(image.get("timm_model_name")))
    if found is None or found["size"] not in TOWERS:
        raise CheckpointError(
            f"open_clip_config.json: the image tower {image.get('timm_model_name')!r} is not known",
            f"known: vit_SIZE_patchN_siglip_N, of the sizes {', '.join(TOWERS)}",
        )
    _reject(data, "model_cfg", _MODEL)
    _reject(image, "vision_cfg", _IMAGE)
    _reject(text, "text_cfg", _TEXT | _TRAITS.keys())
    for key, wanted in (*_TRAITS.items(), ("timm_pool", "map"), ("timm_proj", "none")):
        section = text if key in _TRAITS else image
        if section.get(key) != wanted:
            raise CheckpointError(
                f"open_clip_config.json: {key} = {section.get(key)!r}, SigLIP has {wanted!r}"
            )
    width, depth, num_heads, mlp_width = TOWERS[found["size"]]
    if data.get("embed_dim") != width:
        raise CheckpointError(
            f"open_clip_config.json: embed_dim {data.get('embed_dim')}, not {width}"
        )
    text_width = text["width"]
    vocab_size = text["vocab_size"]
    return SiglipConfig(
        image=image_tower(
            int(found["patch"]), image["image_size"], width, depth, num_heads, mlp_width
        ),
        text=TextConfig(
            vocab_size=vocab_size,
            max_length=text.get("context_length", 77),
            width=text_width,
            depth=text["layers"],
            num_heads=text["heads"],
            mlp_width=int(text_width * text.get("mlp_ratio", 4.0)),
            eps=(text.get("norm_kwargs") or {}).get("eps", 1e-5),
            pad_id=published_pad(vocab_size),
        ),
    )


def _reject(section: Mapping[str, Any], name: str, known: set[str]) -> None:
    for key, value in section.items():
        if key not in known and value not in _NOTHING:
            raise CheckpointError(
                f"open_clip_config.json: {name}.{key} = {value!r} is not supported"
            )


def open_clip_settings(source: Source, config: SiglipConfig) -> dict[str, Any]:
    """Read `preprocess_cfg` of open_clip_config.json, and how texts are cleaned.

    Raises:
        CheckpointError: It asks for pixels or words we do not make.
    """
    whole = source.json("open_clip_config.json") or {}
    data = whole.get("preprocess_cfg")
    if data is None:
        return unsaid_settings(source, config, "preprocess_cfg in open_clip_config.json")
    text = whole["model_cfg"]["text_cfg"]
    cleaning = (text.get("tokenizer_kwargs") or {}).get("clean", "canonicalize")
    resample = data.get("interpolation") or "bicubic"
    if data.get("resize_mode") != "squash" or resample not in RESAMPLE:
        raise CheckpointError(
            f"{source.folder}: no pixels are made by {data.get('resize_mode')}, {resample}"
        )
    if cleaning not in ("canonicalize", "lower"):
        raise CheckpointError(f"{source.folder}: texts are not cleaned by {cleaning!r}")
    size = data.get("size") or config.image.image_size
    return published_settings(
        size=size if isinstance(size, int) else (size[0], size[1]),
        vocab_size=config.text.vocab_size,
        cleaning=cleaning,
        resample=resample,
        mean=data.get("mean") or (0.5, 0.5, 0.5),
        std=data.get("std") or (0.5, 0.5, 0.5),
    )


def open_clip_files(config: SiglipConfig, processor: Processor, folder: Path) -> str:
    """Write what open_clip needs beside the weights; returns the weights' name.

    Raises:
        CheckpointError: timm has no such image tower.
    """
    image, text = config.image, config.text
    names = {facts: size for size, facts in TOWERS.items()}
    size = names.get((image.width, image.depth, image.num_heads, image.mlp_width))
    side = image.image_size[0]
    if size is None or image != image_tower(image.patch_size, side, *TOWERS[size]):
        raise CheckpointError("timm has no SigLIP image tower like this one")
    if text.activation != "gelu_tanh" or text.pad_id != published_pad(text.vocab_size):
        raise CheckpointError("open_clip's SigLIP has another activation, or pads otherwise")
    spec, cleaning = processor.image, processor.settings()["cleaning"]
    ratio = text.mlp_width / text.width
    data = {
        "model_cfg": {
            "embed_dim": config.embed_width,
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": {
                "image_size": side,
                "timm_model_name": f"vit_{size}_patch{image.patch_size}_siglip_{side}",
                "timm_model_pretrained": False,
                "timm_pool": "map",
                "timm_proj": "none",
            },
            "text_cfg": {
                "context_length": text.max_length,
                "vocab_size": text.vocab_size,
                "tokenizer_kwargs": {"clean": cleaning},
                "width": text.width,
                "heads": text.num_heads,
                "layers": text.depth,
                "mlp_ratio": ratio
                if int(text.width * ratio) == text.mlp_width
                else (text.mlp_width + 0.5) / text.width,
                "norm_kwargs": {"eps": text.eps},
                "act_kwargs": {"approximate": "tanh"},
            }
            | _TRAITS,
        },
        "preprocess_cfg": {
            "size": list(spec.size),
            "mean": list(spec.mean),
            "std": list(spec.std),
            "interpolation": spec.resample,
            "resize_mode": spec.resize,
        },
    }
    write_json(folder / "open_clip_config.json", data)
    processor.save(folder)
    return "open_clip_model.safetensors"


def open_clip_keymap(config: SiglipConfig) -> KeyMap:
    """Keys of open_clip's CustomTextCLIP with timm's VisionTransformer."""
    patches, width = config.image.grid[0] * config.image.grid[1], config.image.width
    trunk, pool, ours = "visual.trunk", "visual.trunk.attn_pool", "image_pooling"
    block, text = "image.blocks.{i}", "text.transformer.resblocks.{i}"
    return KeyMap(
        _reshape(f"{trunk}.pos_embed", "image.position_embedding", (patches, width)),
        Rename(f"{trunk}.patch_embed.proj.{{p}}", "image.patch_embedding.{p}"),
        Rename(f"{trunk}.blocks.{{i}}.norm1.{{p}}", f"{block}.attention_norm.{{p}}"),
        Split(f"{trunk}.blocks.{{i}}.attn.qkv.{{p}}", _heads(block, "qkv", "{p}")),
        Rename(f"{trunk}.blocks.{{i}}.attn.proj.{{p}}", f"{block}.attention.out_proj.{{p}}"),
        Rename(f"{trunk}.blocks.{{i}}.norm2.{{p}}", f"{block}.mlp_norm.{{p}}"),
        Rename(f"{trunk}.blocks.{{i}}.mlp.{{part}}.{{p}}", f"{block}.mlp.{{part}}.{{p}}"),
        Rename(f"{trunk}.norm.{{p}}", "image.final_norm.{p}"),
        _reshape(f"{pool}.latent", f"{ours}.query", (1, width)),
        Rename(f"{pool}.q.{{p}}", f"{ours}.attention.q_proj.{{p}}"),
        Split(f"{pool}.kv.{{p}}", _heads(ours, "kv", "{p}")),
        Rename(f"{pool}.proj.{{p}}", f"{ours}.attention.out_proj.{{p}}"),
        Rename(f"{pool}.norm.{{p}}", f"{ours}.norm.{{p}}"),
        Rename(f"{pool}.mlp.{{part}}.{{p}}", f"{ours}.mlp.{{part}}.{{p}}"),
        Rename("text.token_embedding.{p}", "text.token_embedding.{p}"),
        Rename("text.positional_embedding", "text.position_embedding"),
        Rename(f"{text}.ln_1.{{p}}", "text.blocks.{i}.attention_norm.{p}"),
        Split(f"{text}.attn.in_proj_weight", _heads("text.blocks.{i}", "qkv", "weight")),
        Split(f"{text}.attn.in_proj_bias", _heads("text.blocks.{i}", "qkv", "bias")),
        Rename(f"{text}.attn.out_proj.{{p}}", "text.blocks.{i}.attention.out_proj.{p}"),
        Rename(f"{text}.ln_2.{{p}}", "text.blocks.{i}.mlp_norm.{p}"),
        Rename(f"{text}.mlp.c_fc.{{p}}", "text.blocks.{i}.mlp.fc1.{p}"),
        Rename(f"{text}.mlp.c_proj.{{p}}", "text.blocks.{i}.mlp.fc2.{p}"),
        Rename("text.ln_final.{p}", "text.final_norm.{p}"),
        Rename("text.text_projection.{p}", "text_projection.{p}"),
        Reshape(("logit_scale",), ("logit_scale",), into=(), back=()),
        Reshape(("logit_bias",), ("logit_bias",), into=(), back=()),
    )


def _heads(prefix: str, parts: str, kind: str) -> list[str]:
    return [f"{prefix}.attention.{part}_proj.{kind}" for part in parts]


def _reshape(theirs: str, ours: str, shape: tuple[int, int]) -> Rule:
    return Reshape((theirs,), (ours,), into=shape, back=(1, *shape))


def _recognises(source: Source) -> bool:
    data = (source.json("open_clip_config.json") or {}).get("model_cfg") or {}
    return "siglip" in str((data.get("vision_cfg") or {}).get("timm_model_name"))


OPEN_CLIP = Layout(
    name="open_clip",
    files=OPEN_CLIP_FILES,
    recognises=_recognises,
    config=open_clip_config,
    settings=open_clip_settings,
    keymap=open_clip_keymap,
    companions=open_clip_files,
)
