"""CLIP as open_clip publishes it: open_clip_config.json beside OpenAI's keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seesay.checkpoints.files import Source, write_json
from seesay.checkpoints.published import OPEN_CLIP_FILES
from seesay.errors import CheckpointError, nearest
from seesay.families.clip.configs import ClipConfig, check_plain, pair
from seesay.families.clip.openai import openai_keymap
from seesay.families.clip.processing import (
    MEAN,
    STD,
    published_settings,
    unsaid_settings,
)
from seesay.family import Layout
from seesay.networks.causaltext import CausalTextConfig
from seesay.networks.resnet import ResNetConfig
from seesay.networks.vit import VitConfig
from seesay.processing.bytepairs import PUBLISHED_SIZE, published_end
from seesay.processing.image import RESAMPLE
from seesay.protocols import Processor

_MODEL = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text", "init_logit_scale"}
_VISION = {"layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size", "norm_kwargs"}
_VISION |= {"no_ln_pre", "patch_dropout", "output_tokens", "final_ln_after_pool"}
_TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "norm_kwargs"}
_TEXT |= {"output_tokens", "final_ln_after_pool", "pad_id", "eos_id"}
_USUAL: tuple[Any, ...] = (None, False, 0, {}, "learnable", "tok", "argmax", "default", "linear")
"""Values of other fields that change nothing."""


def open_clip_config(source: Source) -> ClipConfig:
    """Read `model_cfg` of open_clip_config.json.

    Raises:
        CheckpointError: It asks for a tower we do not build.
    """
    data = _section(source.json("open_clip_config.json") or {}, "model_cfg", None)
    vision, text = _section(data, "vision_cfg", _VISION), _section(data, "text_cfg", _TEXT)
    _reject(data, "model_cfg", _MODEL)
    activation = "quick_gelu" if data.get("quick_gelu") else "gelu"
    width, layers = vision.get("width", 768), vision.get("layers", 12)
    size, head_width = pair(vision.get("image_size", 224)), vision.get("head_width", 64)
    image: VitConfig | ResNetConfig
    if isinstance(layers, list):
        image = ResNetConfig(
            image_size=size,
            depths=tuple(layers),
            width=width,
            num_heads=width * 32 // head_width,
        )
    else:
        image = VitConfig(
            image_size=size,
            patch_size=vision.get("patch_size", 16),
            width=width,
            depth=layers,
            num_heads=width // head_width,
            mlp_width=int(width * vision.get("mlp_ratio", 4.0)),
            activation=activation,
            eps=(vision.get("norm_kwargs") or {}).get("eps", 1e-5),
            pre_norm=not vision.get("no_ln_pre", False),
            patch_bias=False,
        )
    text_width = text.get("width", 512)
    vocab_size = text.get("vocab_size", PUBLISHED_SIZE)
    return ClipConfig(
        embed_width=data["embed_dim"],
        image=image,
        text=CausalTextConfig(
            vocab_size=vocab_size,
            max_length=text.get("context_length", 77),
            width=text_width,
            depth=text.get("layers", 12),
            num_heads=text.get("heads", 8),
            mlp_width=int(text_width * text.get("mlp_ratio", 4.0)),
            activation=activation,
            eps=(text.get("norm_kwargs") or {}).get("eps", 1e-5),
            end_id=published_end(vocab_size),
        ),
    )


def open_clip_settings(source: Source, config: ClipConfig) -> dict[str, Any]:
    """Read `preprocess_cfg` of open_clip_config.json.

    Raises:
        CheckpointError: It asks for pixels we do not make.
    """
    data = (source.json("open_clip_config.json") or {}).get("preprocess_cfg")
    if data is None:
        return unsaid_settings(source, config, "preprocess_cfg in open_clip_config.json")
    resize = data.get("resize_mode") or "shortest"
    resample = data.get("interpolation") or "bicubic"
    if resize not in ("shortest", "squash") or resample not in RESAMPLE:
        raise CheckpointError(f"{source.folder}: no pixels are made by {resize}, {resample}")
    return published_settings(
        size=pair(data.get("size") or config.image.image_size),
        mean=data.get("mean") or MEAN,
        std=data.get("std") or STD,
        resize=resize,
        resample=resample,
    )


def open_clip_files(config: ClipConfig, processor: Processor, folder: Path) -> str:
    """Write what open_clip needs beside the weights; returns the weights' name.

    Raises:
        CheckpointError: open_clip has no such model.
    """
    image, text = config.image, config.text
    check_plain(config, "open_clip")
    vision: dict[str, Any] = {"image_size": image.image_size[0], "width": image.width}
    if isinstance(image, ResNetConfig):
        head_width = image.width * 32 // image.num_heads
        vision |= {"layers": list(image.depths), "patch_size": None, "head_width": head_width}
    else:
        if image.activation != text.activation:
            raise CheckpointError("open_clip has one activation for both towers")
        vision |= {
            "layers": image.depth,
            "patch_size": image.patch_size,
            "head_width": image.width // image.num_heads,
            "mlp_ratio": _ratio(image.mlp_width, image.width),
            "no_ln_pre": not image.pre_norm,
            "norm_kwargs": {"eps": image.eps},
        }
    spec = processor.image
    data = {
        "model_cfg": {
            "embed_dim": config.embed_width,
            "quick_gelu": text.activation == "quick_gelu",
            "vision_cfg": vision,
            "text_cfg": {
                "context_length": text.max_length,
                "vocab_size": text.vocab_size,
                "width": text.width,
                "heads": text.num_heads,
                "layers": text.depth,
                "mlp_ratio": _ratio(text.mlp_width, text.width),
                "norm_kwargs": {"eps": text.eps},
            },
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


def _section(data: Mapping[str, Any], name: str, known: set[str] | None) -> dict[str, Any]:
    section = data.get(name)
    if not isinstance(section, dict):
        raise CheckpointError(f"open_clip_config.json has no {name}")
    if known is not None:
        _reject(section, name, known)
    return section


def _reject(section: Mapping[str, Any], name: str, known: set[str]) -> None:
    for key, value in section.items():
        if key not in known and value not in _USUAL:
            raise CheckpointError(
                f"open_clip_config.json: {name}.{key} = {value!r} is not supported."
                f"{nearest(key, known)}"
            )


def _ratio(mlp_width: int, width: int) -> float:
    """A ratio from which int(width * ratio) gives the width back in floating point."""
    ratio = mlp_width / width
    return ratio if int(width * ratio) == mlp_width else (mlp_width + 0.5) / width


def _recognises(source: Source) -> bool:
    """Whether open_clip wrote it; towers that timm builds for a sigmoid loss are another family."""
    data = source.json("open_clip_config.json")
    return data is not None and "siglip" not in str(data.get("model_cfg"))


OPEN_CLIP = Layout(
    name="open_clip",
    files=OPEN_CLIP_FILES,
    recognises=_recognises,
    config=open_clip_config,
    settings=open_clip_settings,
    keymap=openai_keymap,
    companions=open_clip_files,
)
