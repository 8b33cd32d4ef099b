"""CLIP as Hugging Face publishes it: config.json, preprocessor_config.json, transformers' keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seesay.checkpoints.files import Source, write_json
from seesay.checkpoints.keymap import Drop, KeyMap, Rename
from seesay.checkpoints.published import (
    FILTERS,
    HF_FILES,
    encoder_layers,
    hf_filter,
    hf_image_processor,
    hf_sizes,
)
from seesay.errors import CheckpointError
from seesay.families.clip.configs import ClipConfig, check_plain, pair
from seesay.families.clip.processing import (
    MEAN,
    STD,
    published_settings,
    unsaid_settings,
)
from seesay.family import Layout
from seesay.networks.causaltext import CausalTextConfig
from seesay.networks.vit import VitConfig
from seesay.nn.mlp import ACTIVATIONS
from seesay.processing.bytepairs import PUBLISHED_SIZE, BytePairProcessor, published_end
from seesay.processing.tokens import END, START
from seesay.protocols import Processor

_HF_TEXT = {
    "vocab_size": PUBLISHED_SIZE,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "eos_token_id": 49407,
}
_HF_IMAGE = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
"""What a config.json leaves out has these values (transformers, configuration_clip.py)."""

_ACTIVATIONS = {name: name for name in ACTIVATIONS}

_TOWERS = {
    "clip_text_model": "the text tower (CLIPTextModel, CLIPTextModelWithProjection)",
    "clip_vision_model": "the image tower (CLIPVisionModel, CLIPVisionModelWithProjection)",
}


def hf_config(source: Source) -> ClipConfig:
    """Read config.json.

    Raises:
        CheckpointError: It describes one tower alone, or something we do not build.
    """
    data = source.json("config.json") or {}
    if data.get("model_type") in _TOWERS:
        raise CheckpointError(
            f"{source.folder} holds one tower of CLIP alone: {_TOWERS[data['model_type']]}",
            "give a folder with both, as CLIPModel.save_pretrained writes it",
        )
    # where both are given, older versions of transformers let the second win
    text = _HF_TEXT | (data.get("text_config_dict") or data.get("text_config") or {})
    image = _HF_IMAGE | (data.get("vision_config_dict") or data.get("vision_config") or {})
    end_id = text["eos_token_id"]
    end_id = end_id[0] if isinstance(end_id, list) else end_id
    return ClipConfig(
        embed_width=data.get("projection_dim", 512),
        image=VitConfig(
            image_size=pair(image["image_size"]),
            patch_size=image["patch_size"],
            pre_norm=True,
            patch_bias=False,
            **hf_sizes(image, _ACTIVATIONS),
        ),
        text=CausalTextConfig(
            vocab_size=text["vocab_size"],
            max_length=text["max_position_embeddings"],
            # 2 is what releases from before the id was recorded say, and means "the highest id"
            end_id=published_end(text["vocab_size"]) if end_id == 2 else end_id,
            **hf_sizes(text, _ACTIVATIONS),
        ),
    )


def hf_settings(source: Source, config: ClipConfig) -> dict[str, Any]:
    """Read preprocessor_config.json, or its newer place in processor_config.json.

    Raises:
        CheckpointError: It asks for pixels we do not make.
    """
    data = hf_image_processor(source)
    if data is None:
        return unsaid_settings(source, config, "preprocessor_config.json")
    size = data.get("size", config.image.image_size[0])
    crop = data.get("crop_size", config.image.image_size[0])
    squash = isinstance(size, Mapping) and "height" in size
    shortest = size.get("shortest_edge") if isinstance(size, Mapping) else size
    wanted = pair(size if squash else crop)
    if (squash and data.get("do_center_crop", True) and pair(crop) != wanted) or (
        not squash and (shortest is None or not data.get("do_center_crop", True))
    ):
        raise CheckpointError(f"{source.folder}: pixels of no fixed size (size {size})")
    normalise = data.get("do_normalize", True)
    return published_settings(
        size=wanted,
        mean=data.get("image_mean", MEAN) if normalise else (0.0, 0.0, 0.0),
        std=data.get("image_std", STD) if normalise else (1.0, 1.0, 1.0),
        resize="squash" if squash else "shortest",
        resample=hf_filter(source, data.get("resample", 3)),
        shortest_edge=None if squash or shortest == min(wanted) else shortest,
    )


def hf_files(config: ClipConfig, processor: Processor, folder: Path) -> str:
    """Write what transformers needs beside the weights; returns the weights' name.

    Raises:
        CheckpointError: transformers has no such model.
    """
    image, text = config.image, config.text
    if not isinstance(image, VitConfig) or not image.pre_norm:
        raise CheckpointError("transformers has no CLIP with such an image tower")
    check_plain(config, "transformers")
    data: dict[str, Any] = {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": config.embed_width,
        "vision_config": _hf_tower_back(image)
        | {
            "model_type": "clip_vision_model",
            "image_size": image.image_size[0],
            "patch_size": image.patch_size,
            "projection_dim": config.embed_width,
        },
        "text_config": _hf_tower_back(text)
        | {
            "model_type": "clip_text_model",
            "vocab_size": text.vocab_size,
            "max_position_embeddings": text.max_length,
            "eos_token_id": 2 if text.end_id is None else text.end_id,
            "projection_dim": config.embed_width,
        },
    }
    if isinstance(processor, BytePairProcessor) and processor.tokenizer is not None:
        data["text_config"]["bos_token_id"] = processor.tokenizer.start_id
        write_json(folder / "tokenizer_config.json", _tokens(text))
    spec = processor.image
    height, width = spec.size
    squash = spec.resize == "squash"
    edge = spec.shortest_edge or min(spec.size)
    pixels = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"height": height, "width": width} if squash else {"shortest_edge": edge},
        "resample": {name: number for number, name in FILTERS.items()}[spec.resample],
        "do_center_crop": not squash,
        "crop_size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
        "do_convert_rgb": True,
    }
    write_json(folder / "config.json", data)
    write_json(folder / "preprocessor_config.json", pixels)
    processor.save(folder)
    return "model.safetensors"


def _tokens(text: CausalTextConfig) -> dict[str, Any]:
    return {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": text.max_length,
        "bos_token": START,
        "eos_token": END,
        "pad_token": END,
        "unk_token": END,
    }


def _hf_tower_back(tower: VitConfig | CausalTextConfig) -> dict[str, Any]:
    return {
        "hidden_size": tower.width,
        "intermediate_size": tower.mlp_width,
        "num_hidden_layers": tower.depth,
        "num_attention_heads": tower.num_heads,
        "hidden_act": tower.activation,
        "layer_norm_eps": tower.eps,
    }


def hf_keymap(config: ClipConfig) -> KeyMap:
    """Keys of transformers' CLIPModel."""
    return KeyMap(
        *encoder_layers("vision_model", "image"),
        Rename("vision_model.embeddings.class_embedding", "image.class_embedding"),
        Rename("vision_model.embeddings.patch_embedding.{p}", "image.patch_embedding.{p}"),
        Rename("vision_model.embeddings.position_embedding.weight", "image.position_embedding"),
        Rename("vision_model.pre_layrnorm.{p}", "image.pre_norm.{p}"),
        Rename("vision_model.post_layernorm.{p}", "image.final_norm.{p}"),
        Rename("visual_projection.weight", "image_projection.weight"),
        *encoder_layers("text_model", "text"),
        Rename("text_model.embeddings.token_embedding.{p}", "text.token_embedding.{p}"),
        Rename("text_model.embeddings.position_embedding.weight", "text.position_embedding"),
        Rename("text_model.final_layer_norm.{p}", "text.final_norm.{p}"),
        Rename("text_projection.weight", "text_projection.weight"),
        Rename("logit_scale", "logit_scale"),
        Drop("{tower}.embeddings.position_ids", why="0, 1, 2 ...; older releases stored it"),
    )


def _recognises(source: Source) -> bool:
    kind = (source.json("config.json") or {}).get("model_type")
    if kind != "clip" and kind not in _TOWERS:
        return False
    # some folders hold open_clip's weights too; a file that was named is known by its keys
    return source.path.is_dir() or "visual.conv1.weight" not in source.tensors


HF = Layout(
    name="hf",
    files=HF_FILES,
    recognises=_recognises,
    config=hf_config,
    settings=hf_settings,
    keymap=hf_keymap,
    companions=hf_files,
)
