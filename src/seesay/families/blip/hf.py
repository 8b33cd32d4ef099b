"""BLIP as Hugging Face publishes it: config.json, preprocessor_config.json, transformers' keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from seesay.checkpoints.files import Source, write_json
from seesay.checkpoints.keymap import KeyMap, Temperature
from seesay.checkpoints.published import (
    FILTERS,
    HF_FILES,
    hf_filter,
    hf_image_processor,
    hf_sizes,
)
from seesay.errors import CheckpointError
from seesay.families.blip.configs import BlipConfig, Kind
from seesay.families.blip.keys import TEMPERATURE, head_rules, text_rules, vision_rules
from seesay.families.blip.processing import (
    MEAN,
    START_ID,
    STD,
    BlipProcessor,
    published_settings,
    unsaid_settings,
)
from seesay.family import Layout
from seesay.networks.bert import BertConfig
from seesay.networks.vit import VitConfig
from seesay.protocols import Processor

_TEXT = {
    "vocab_size": 30524,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 512,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.0,
    "bos_token_id": START_ID,
    "is_decoder": True,
}
_IMAGE = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 384,
    "patch_size": 16,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
}
"""What a config.json leaves out has these values (transformers, configuration_blip.py), also where
they are not what BLIP was trained with: eight heads, eps 1e-5."""

_CLASSES: dict[str, Kind] = {
    "BlipForConditionalGeneration": "captioning",
    "BlipForQuestionAnswering": "vqa",
    "BlipForImageTextRetrieval": "retrieval",
}
ACTIVATIONS = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "quick_gelu": "quick_gelu"}


def hf_config(source: Source) -> BlipConfig:
    """Read config.json.

    Raises:
        CheckpointError: It describes something we do not build.
    """
    data = source.json("config.json") or {}
    text = _TEXT | (data.get("text_config") or {})
    image = _IMAGE | (data.get("vision_config") or {})
    kind = _kind(source, data)
    size, patch = image["image_size"], image["patch_size"]
    if not text["is_decoder"]:
        raise CheckpointError(f"{source.folder}: a text network that looks at no image")
    if kind == "vqa" and text["hidden_size"] != image["hidden_size"]:
        raise CheckpointError(
            f"{source.folder}: texts are {text['hidden_size']} wide, images "
            f"{image['hidden_size']}; transformers builds no decoder for that"
        )
    vit = VitConfig(
        image_size=(size, size) if isinstance(size, int) else (size[0], size[1]),
        patch_size=patch if isinstance(patch, int) else patch[0],
        **hf_sizes(image, ACTIVATIONS),
    )
    bert = BertConfig(
        vocab_size=text["vocab_size"],
        max_length=text["max_position_embeddings"],
        dropout=text["hidden_dropout_prob"],
        source_width=vit.width,
        **hf_sizes(text, ACTIVATIONS),
    )
    width = data.get("image_text_hidden_size", 256)
    return BlipConfig(kind=kind, image=vit, text=bert, embed_width=width)


def _kind(source: Source, data: Mapping[str, Any]) -> Kind:
    """What the checkpoint is for: config.json names the class; if it does not, the keys tell."""
    named = [str(name) for name in data.get("architectures") or []]
    if "BlipModel" in named:
        raise CheckpointError(
            f"{source.folder} is a BlipModel, whose projections no release of BLIP has: they are "
            "random",
            "for vectors take Salesforce/blip-itm-base-coco, a BlipForImageTextRetrieval",
        )
    for name in named:
        if name in _CLASSES:
            return _CLASSES[name]
    if named:
        raise CheckpointError(f"{source.folder} is a {named[0]}", f"known: {', '.join(_CLASSES)}")
    parts = {key.split(".")[0] for key in source.tensors}
    if "text_decoder" not in parts:
        return "retrieval"
    return "vqa" if "text_encoder" in parts else "captioning"


def hf_settings(source: Source, config: BlipConfig) -> dict[str, Any]:
    """Read preprocessor_config.json, or its newer place in processor_config.json.

    Raises:
        CheckpointError: It asks for pixels we do not make.
    """
    text = (source.json("config.json") or {}).get("text_config") or {}
    start_id = text.get("bos_token_id", START_ID)
    data = hf_image_processor(source)
    if data is None:
        settings = unsaid_settings(source, config, "preprocessor_config.json")
        return settings | {"start_id": start_id}
    size = data.get("size") or {"height": 384, "width": 384}
    size = {"height": size, "width": size} if isinstance(size, int) else size
    if not {"height", "width"} <= size.keys() or data.get("do_center_crop", False):
        raise CheckpointError(f"{source.folder}: pixels of no fixed size (size {size})")
    normalise = data.get("do_normalize", True)
    return published_settings(
        size=(size["height"], size["width"]),
        start_id=start_id,
        resample=hf_filter(source, data.get("resample", 3)),
        mean=(data.get("image_mean") or MEAN) if normalise else (0.0, 0.0, 0.0),
        std=(data.get("image_std") or STD) if normalise else (1.0, 1.0, 1.0),
    )


def hf_files(config: BlipConfig, processor: Processor, folder: Path) -> str:
    """Write what transformers needs beside the weights; returns the weights' name.

    Raises:
        CheckpointError: transformers has no such model.
    """
    image, text = config.image, config.text
    named = {kind: name for name, kind in _CLASSES.items()}
    if config.kind not in named:
        raise CheckpointError(
            f"transformers has no BLIP for {config.kind}",
            f"it has {', '.join(named)}; the layout blip holds all of {', '.join(get_args(Kind))}",
        )
    if image.image_size[0] != image.image_size[1] or image.pre_norm or not image.patch_bias:
        raise CheckpointError("transformers has no BLIP with such an image tower")
    if config.kind == "vqa" and text.width != image.width:
        raise CheckpointError("transformers has no BLIP that answers with a ViT of another width")
    if text.token_width:
        raise CheckpointError("transformers has no BLIP with a narrow token table")
    assert isinstance(processor, BlipProcessor)
    tokenizer, settings = processor.tokenizer, processor.settings()
    write_json(
        folder / "config.json",
        {
            "architectures": [named[config.kind]],
            "model_type": "blip",
            "image_text_hidden_size": config.embed_width,
            "vision_config": _sizes_back(image)
            | {
                "model_type": "blip_vision_model",
                "image_size": image.image_size[0],
                "patch_size": image.patch_size,
            },
            "text_config": _sizes_back(text)
            | {
                "model_type": "blip_text_model",
                "vocab_size": text.vocab_size,
                "max_position_embeddings": text.max_length,
                "encoder_hidden_size": image.width,
                "hidden_dropout_prob": text.dropout,
                "attention_probs_dropout_prob": text.dropout,
                "is_decoder": True,
                "bos_token_id": settings["start_id"],
                "sep_token_id": tokenizer.sep_id if tokenizer else 102,
                "pad_token_id": tokenizer.pad_id if tokenizer else 0,
            },
        },
    )
    spec = processor.image
    if spec.resize != "squash":
        raise CheckpointError("transformers' BLIP squashes pictures, and crops none")
    pixels = {
        "image_processor_type": "BlipImageProcessor",
        "processor_class": "BlipProcessor",
        "do_resize": True,
        "size": {"height": spec.size[0], "width": spec.size[1]},
        "resample": {name: number for number, name in FILTERS.items()}[spec.resample],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
        "do_convert_rgb": True,
    }
    write_json(folder / "preprocessor_config.json", pixels)
    tokens = {
        "tokenizer_class": "BertTokenizer",
        "processor_class": "BlipProcessor",
        "model_max_length": text.max_length,
        "do_lower_case": tokenizer.lowercase if tokenizer else True,
    }
    write_json(folder / "tokenizer_config.json", tokens)
    processor.save(folder)
    return "model.safetensors"


def _sizes_back(sizes: VitConfig | BertConfig) -> dict[str, Any]:
    names = {ours: theirs for theirs, ours in ACTIVATIONS.items()}
    return {
        "hidden_size": sizes.width,
        "intermediate_size": sizes.mlp_width,
        "num_hidden_layers": sizes.depth,
        "num_attention_heads": sizes.num_heads,
        "hidden_act": names[sizes.activation],
        "layer_norm_eps": sizes.eps,
    }


def hf_keymap(config: BlipConfig) -> KeyMap:
    """Keys of transformers' three classes.

    They have no temperature. One that was learnt is written all the same, under its original name:
    transformers reads on past it.
    """
    embeddings = "vision_model.embeddings"
    top = {
        "class": f"{embeddings}.class_embedding",
        "positions": f"{embeddings}.position_embedding",
        "patches": f"{embeddings}.patch_embedding",
        "norm": "vision_model.post_layernorm",
    }
    parts = {
        "qkv": "self_attn.qkv",
        "out": "self_attn.projection",
        "norm1": "layer_norm1",
        "norm2": "layer_norm2",
    }
    return KeyMap(
        *vision_rules(config.image.width, top, "vision_model.encoder.layers.{i}", parts),
        *text_rules(config, copies=False),
        Temperature("temp", "logit_scale", unsaid=TEMPERATURE),
        *head_rules(config),
    )


def _recognises(source: Source) -> bool:
    if (source.json("config.json") or {}).get("model_type") != "blip":
        return False
    # a file that was named is known by its keys
    return source.path.is_dir() or "visual_encoder.cls_token" not in source.tensors


HF = Layout(
    name="hf",
    files=HF_FILES,
    recognises=_recognises,
    config=hf_config,
    settings=hf_settings,
    keymap=hf_keymap,
    companions=hf_files,
)
