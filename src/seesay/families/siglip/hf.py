"""SigLIP as Hugging Face publishes it: config.json, preprocessor_config.json, transformers' keys.

SigLIP 2 of a fixed size says model_type "siglip"; "siglip2" is what takes any size (NaFlex).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from seesay.checkpoints.files import Source, write_json
from seesay.checkpoints.keymap import Drop, KeyMap, Rename, Reshape, Rule, Split
from seesay.checkpoints.published import (
    FILTERS,
    HF_FILES,
    encoder_layers,
    hf_filter,
    hf_image_processor,
    hf_sizes,
)
from seesay.errors import CheckpointError
from seesay.families.siglip.configs import SiglipConfig, TextConfig, image_tower, published_pad
from seesay.families.siglip.processing import (
    GEMMA_SIZE,
    SiglipProcessor,
    published_settings,
    unsaid_settings,
)
from seesay.families.siglip.tokens import Cleaning
from seesay.family import Layout
from seesay.networks.vit import VitConfig
from seesay.protocols import Processor

_TOWER = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
_TEXT = _TOWER | {"vocab_size": 32000, "max_position_embeddings": 64}
_IMAGE = _TOWER | {
    "image_size": 224,
    "patch_size": 16,
    "num_channels": 3,
    "num_patches": 256,
    "vision_use_head": True,
}
"""What a config.json leaves out has these values (transformers, configuration_siglip(2).py)."""

_ACTIVATIONS = {"gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "quick_gelu": "quick_gelu"}
_KINDS = ("siglip", "siglip2")


def hf_config(source: Source) -> SiglipConfig:
    """Read config.json.

    Raises:
        CheckpointError: It describes one tower alone, or something we do not build.
    """
    data = source.json("config.json") or {}
    kind = data.get("model_type")
    if kind not in _KINDS:
        raise CheckpointError(
            f"{source.folder} holds one tower of SigLIP alone ({kind})",
            "give a folder with both, as SiglipModel.save_pretrained writes it",
        )
    text = _TEXT | (data.get("text_config") or {})
    image = _IMAGE | (data.get("vision_config") or {})
    any_size, patch = kind == "siglip2", image["patch_size"]
    size = math.isqrt(image["num_patches"]) * patch if any_size else image["image_size"]
    size = (size, size) if isinstance(size, int) else (size[0], size[1])
    if not image["vision_use_head"] or image["num_channels"] != 3:
        raise CheckpointError(f"{source.folder}: an image tower of other colours, or not pooled")
    if text.get("projection_size") not in (None, image["hidden_size"]):
        raise CheckpointError(
            f"{source.folder}: texts become {text['projection_size']} numbers, images "
            f"{image['hidden_size']}"
        )
    return SiglipConfig(
        image=image_tower(patch, size, any_size=any_size, **hf_sizes(image, _ACTIVATIONS)),
        text=TextConfig(
            vocab_size=text["vocab_size"],
            max_length=text["max_position_embeddings"],
            pad_id=_pad_id(source, text),
            **hf_sizes(text, _ACTIVATIONS),
        ),
    )


def _pad_id(source: Source, text: Mapping[str, Any]) -> int:
    """Find the id that texts are padded with.

    The tokenizer's files know it. `pad_token_id` in config.json is 1 in all of transformers'
    configurations, SigLIP 2's among them, where the tokenizer pads with 0.
    """
    told = source.json("tokenizer_config.json") or {}
    pad = told.get("pad_token")
    pad = pad.get("content") if isinstance(pad, Mapping) else pad
    if pad is not None:
        for number, token in (told.get("added_tokens_decoder") or {}).items():
            if token.get("content") == pad:
                return int(number)
        for token in (source.json("tokenizer.json") or {}).get("added_tokens") or []:
            if token.get("content") == pad:
                return int(token["id"])
    said, usual = text.get("pad_token_id"), published_pad(text["vocab_size"])
    return usual if said is None or usual == 0 else int(said)


def hf_settings(source: Source, config: SiglipConfig) -> dict[str, Any]:
    """Read preprocessor_config.json, or its newer place in processor_config.json.

    Raises:
        CheckpointError: It asks for pixels we do not make.
    """
    data = hf_image_processor(source)
    if data is None:
        return unsaid_settings(source, config, "preprocessor_config.json")
    any_size = config.image.resampling == "bilinear"
    default = config.image.image_size
    size = data.get("size") or {"height": default[0], "width": default[1]}
    if not any_size and not (isinstance(size, Mapping) and {"height", "width"} <= size.keys()):
        raise CheckpointError(f"{source.folder}: pixels of no fixed size (size {size})")
    if any_size and data.get("patch_size", 16) != config.image.patch_size:
        raise CheckpointError(f"{source.folder}: pixels for patches of {data['patch_size']}")
    normalise = data.get("do_normalize", True)
    half = (0.5, 0.5, 0.5)
    return published_settings(
        size=default if any_size else (size["height"], size["width"]),
        vocab_size=config.text.vocab_size,
        max_patches=data.get("max_num_patches", 256) if any_size else None,
        cleaning=_cleaning(source, config),
        resample=hf_filter(source, data.get("resample", 2 if any_size else 3)),
        mean=(data.get("image_mean") or half) if normalise else (0.0, 0.0, 0.0),
        std=(data.get("image_std") or half) if normalise else (1.0, 1.0, 1.0),
    )


def _cleaning(source: Source, config: SiglipConfig) -> Cleaning:
    """The first SigLIP's tokenizer removes punctuation; Gemma's, which SigLIP 2 has, does not."""
    kind = (source.json("tokenizer_config.json") or {}).get("tokenizer_class") or ""
    if kind.startswith("SiglipTokenizer"):
        return "canonicalize"
    if kind.startswith(("Gemma", "Siglip2Tokenizer")) or config.text.vocab_size == GEMMA_SIZE:
        return "lower"
    return published_settings(8, config.text.vocab_size)["cleaning"]  # type: ignore[no-any-return]


def hf_files(config: SiglipConfig, processor: Processor, folder: Path) -> str:
    """Write what transformers needs beside the weights; returns the weights' name.

    Raises:
        CheckpointError: transformers has no such model.
    """
    image, text = config.image, config.text
    height, width = image.image_size
    if height != width or image.pre_norm or not image.patch_bias or image.class_token:
        raise CheckpointError("transformers has no SigLIP with such an image tower")
    any_size = image.resampling == "bilinear"
    kind = "siglip2" if any_size else "siglip"
    data = {
        "architectures": ["Siglip2Model" if any_size else "SiglipModel"],
        "model_type": kind,
        "vision_config": _tower_back(image)
        | {"model_type": f"{kind}_vision_model", "patch_size": image.patch_size}
        | ({"num_patches": math.prod(image.grid)} if any_size else {"image_size": height}),
        "text_config": _tower_back(text)
        | {
            "model_type": f"{kind}_text_model",
            "vocab_size": text.vocab_size,
            "max_position_embeddings": text.max_length,
            "projection_size": image.width,
            "pad_token_id": text.pad_id,
        },
    }
    spec = processor.image
    pixels: dict[str, Any] = {
        "image_processor_type": "Siglip2ImageProcessor" if any_size else "SiglipImageProcessor",
        "do_resize": True,
        "resample": {name: number for number, name in FILTERS.items()}[spec.resample],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
        "do_convert_rgb": True,
    }
    settings = processor.settings()
    if any_size:
        pixels |= {"patch_size": image.patch_size, "max_num_patches": settings["max_patches"]}
    else:
        pixels |= {"size": {"height": spec.size[0], "width": spec.size[1]}}
    if spec.resize != "squash":
        raise CheckpointError("transformers' SigLIP squashes pictures, and crops none")
    write_json(folder / "config.json", data)
    write_json(folder / "preprocessor_config.json", pixels)
    write_json(folder / "tokenizer_config.json", _tokens(text, processor))
    processor.save(folder)
    return "model.safetensors"


def _tokens(text: TextConfig, processor: Processor) -> dict[str, Any]:
    told: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": text.max_length,
        "padding_side": "right",
        # the tower was trained without a mask over its padding
        "model_input_names": ["input_ids"],
    }
    if not isinstance(processor, SiglipProcessor) or processor.tokenizer is None:
        return told
    tokenizer = processor.tokenizer
    if processor.cleaning == "lower":
        told |= {"tokenizer_class": "GemmaTokenizerFast", "do_lower_case": True}
        told |= {"add_bos_token": False, "add_eos_token": True}
    elif tokenizer.spiece is not None:
        told |= {"tokenizer_class": "SiglipTokenizer", "do_lower_case": True}
    name = tokenizer.pipeline.id_to_token
    return told | {
        "pad_token": name(text.pad_id),
        "eos_token": name(tokenizer.end_id),
        "unk_token": "<unk>",
        "added_tokens_decoder": {
            str(i): {"content": name(i), "special": True, "normalized": False}
            for i in sorted({text.pad_id, tokenizer.end_id})
        },
    }


def _tower_back(tower: VitConfig | TextConfig) -> dict[str, Any]:
    names = {ours: theirs for theirs, ours in _ACTIVATIONS.items()}
    return {
        "hidden_size": tower.width,
        "intermediate_size": tower.mlp_width,
        "num_hidden_layers": tower.depth,
        "num_attention_heads": tower.num_heads,
        "hidden_act": names[tower.activation],
        "layer_norm_eps": tower.eps,
    }


@dataclass(frozen=True)
class Patches(Rule):
    """A matrix over flattened patches, colours last, as the weight of a convolution.

    Attributes:
        patch_size: Side of a patch in pixels.
    """

    patch_size: int

    def forward(self, tensors: list[Tensor]) -> list[Tensor]:
        """[D, patch * patch * 3] to [D, 3, patch, patch]."""
        side = self.patch_size
        return [tensors[0].reshape(-1, side, side, 3).permute(0, 3, 1, 2).contiguous()]

    def inverse(self, tensors: list[Tensor]) -> list[Tensor]:
        """Flatten again."""
        return [tensors[0].permute(0, 2, 3, 1).flatten(1).contiguous()]


def hf_keymap(config: SiglipConfig) -> KeyMap:
    """Keys of transformers' SiglipModel and Siglip2Model."""
    theirs, ours = "vision_model.embeddings.patch_embedding.weight", "image.patch_embedding.weight"
    patches: Rule = Rename(theirs, ours)
    if config.image.resampling == "bilinear":
        patches = Patches((theirs,), (ours,), config.image.patch_size)
    width, head, pooling = config.image.width, "vision_model.head", "image_pooling"
    heads = tuple(f"{pooling}.attention.{part}_proj.{{kind}}" for part in "qkv")
    query = (f"{pooling}.query",)
    return KeyMap(
        patches,
        Rename("vision_model.embeddings.patch_embedding.bias", "image.patch_embedding.bias"),
        Rename("vision_model.embeddings.position_embedding.weight", "image.position_embedding"),
        *encoder_layers("vision_model", "image"),
        Rename("vision_model.post_layernorm.{p}", "image.final_norm.{p}"),
        Reshape((f"{head}.probe",), query, into=(1, width), back=(1, 1, width)),
        Rename(f"{head}.attention.out_proj.{{p}}", f"{pooling}.attention.out_proj.{{p}}"),
        *(
            Split(
                f"{head}.attention.in_proj_{kind}",
                [name.replace("{kind}", kind) for name in heads],
            )
            for kind in ("weight", "bias")
        ),
        Rename(f"{head}.layernorm.{{p}}", f"{pooling}.norm.{{p}}"),
        Rename(f"{head}.mlp.{{part}}.{{p}}", f"{pooling}.mlp.{{part}}.{{p}}"),
        Rename("text_model.embeddings.token_embedding.{p}", "text.token_embedding.{p}"),
        Rename("text_model.embeddings.position_embedding.weight", "text.position_embedding"),
        *encoder_layers("text_model", "text"),
        Rename("text_model.final_layer_norm.{p}", "text.final_norm.{p}"),
        Rename("text_model.head.{p}", "text_projection.{p}"),
        Reshape(("logit_scale",), ("logit_scale",), into=(), back=(1,)),
        Reshape(("logit_bias",), ("logit_bias",), into=(), back=(1,)),
        Drop("{tower}.embeddings.position_ids", why="0, 1, 2 ...; older releases stored it"),
    )


def _recognises(source: Source) -> bool:
    kind = str((source.json("config.json") or {}).get("model_type"))
    known = {f"{k}{part}" for k in _KINDS for part in ("", "_text_model", "_vision_model")}
    if kind not in known:
        return False
    # some folders hold open_clip's weights too; a file that was named is known by its keys
    return source.path.is_dir() or not any(key.startswith("visual.") for key in source.tensors)


HF = Layout(
    name="hf",
    files=HF_FILES,
    recognises=_recognises,
    config=hf_config,
    settings=hf_settings,
    keymap=hf_keymap,
    companions=hf_files,
)
