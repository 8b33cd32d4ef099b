"""Florence-2 as transformers has it: config.json, preprocessor_config.json, its keys.

Pictures stand in its prompts as so many `<image>` tokens, the first id after the vocabulary; the
tables of tokens are filled up to a multiple of 64 rows. Both are left out here, unless tokens were
added behind `<image>`: then it is one token of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from seesay.checkpoints.files import Source, write_json
from seesay.checkpoints.keymap import KeyMap, Rename
from seesay.checkpoints.published import FILTERS, HF_FILES, hf_filter, hf_image_processor
from seesay.errors import CheckpointError
from seesay.families.florence2.configs import VOCAB_SIZE, Florence2Config
from seesay.families.florence2.keys import (
    OFFSET,
    are_tied,
    stored_tables,
    tables,
    text_rules,
    vision_rules,
)
from seesay.families.florence2.processing import (
    IMAGE_TOKEN,
    MEAN,
    STD,
    Florence2Processor,
    published_settings,
    unsaid_settings,
)
from seesay.families.florence2.prompts import OPTIONS
from seesay.family import Layout
from seesay.networks.bart import BartConfig
from seesay.networks.davit import DavitConfig
from seesay.protocols import Processor

NETWORK, HEAD, PROJECTOR = "model.language_model", "lm_head", "model.multi_modal_projector"
TEXT: dict[str, Any] = {
    "vocab_size": 50265,
    "d_model": 1024,
    "encoder_layers": 12,
    "decoder_layers": 12,
    "encoder_attention_heads": 16,
    "decoder_attention_heads": 16,
    "encoder_ffn_dim": 4096,
    "decoder_ffn_dim": 4096,
    "max_position_embeddings": 1024,
    "activation_function": "gelu",
    "dropout": 0.1,
    "scale_embedding": False,
    "normalize_before": False,
}
IMAGE: dict[str, Any] = {
    "embed_dim": (128, 256, 512, 1024),
    "depths": (1, 1, 9, 1),
    "num_heads": (4, 8, 16, 32),
    "num_groups": (4, 8, 16, 32),
    "patch_size": (7, 3, 3, 3),
    "patch_stride": (4, 2, 2, 2),
    "patch_padding": (3, 1, 1, 1),
    "patch_prenorm": (False, True, True, True),
    "window_size": 12,
    "mlp_ratio": 4.0,
    "projection_dim": 1024,
    "max_position_embeddings": 50,
    "max_temporal_embeddings": 100,
    "activation_function": "gelu",
    "qkv_bias": True,
}
"""What a config.json leaves out has these values (transformers, configuration_florence2.py and
configuration_bart.py)."""

STAGES = {
    "depths": "depths",
    "num_heads": "num_heads",
    "num_groups": "num_groups",
    "patch_sizes": "patch_size",
    "strides": "patch_stride",
    "paddings": "patch_padding",
    "norms_first": "patch_prenorm",
}
"""What is told of each stage of DaViT: our names to those of both layouts."""

ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "quick_gelu": "quick_gelu"}


def hf_config(source: Source) -> Florence2Config:
    """Read config.json, and what shapes tell better.

    Raises:
        CheckpointError: It describes something we do not build.
    """
    data = source.json("config.json") or {}
    text = TEXT | (data.get("text_config") or {})
    known = max(data.get("image_token_id", VOCAB_SIZE), _added_after(source))
    text["vocab_size"] = min(text["vocab_size"], known)
    return described(source, IMAGE | (data.get("vision_config") or {}), text, NETWORK, HEAD)


def _added_after(source: Source) -> int:
    """Return the id after the last token that somebody added; `<image>` alone needs no row."""
    whole = source.json("tokenizer.json") or {}
    added = {token["content"]: token["id"] for token in whole.get("added_tokens", ())}
    added |= source.json("added_tokens.json") or {}
    return 1 + max((i for token, i in added.items() if token != IMAGE_TOKEN), default=-1)


def described(
    source: Source, image: Mapping[str, Any], text: Mapping[str, Any], network: str, head: str
) -> Florence2Config:
    """Return the configuration that both parts of a config.json, and the shapes, tell.

    There are as many positions as the file has, whatever the configuration says: later releases of
    a size have four times those of the first.

    Raises:
        CheckpointError: It is something we do not build.
    """
    _check(source, image, text)
    positions = source.tensors.get(f"{network}.encoder.embed_positions.weight")
    found = stored_tables(source, network, head, text["vocab_size"])
    pixels = hf_image_processor(source)
    stages: dict[str, Any] = {ours: tuple(image[theirs]) for ours, theirs in STAGES.items()}
    return Florence2Config(
        image=DavitConfig(
            image_size=(768, 768) if pixels is None else _size(source, pixels),
            widths=tuple(image["embed_dim"]),
            **stages,
            window_size=image["window_size"],
            mlp_ratio=image["mlp_ratio"],
        ),
        text=BartConfig(
            vocab_size=min([text["vocab_size"], *map(len, found.values())]),
            max_length=text["max_position_embeddings"]
            if positions is None
            else len(positions) - OFFSET,
            width=text["d_model"],
            encoder_depth=text["encoder_layers"],
            decoder_depth=text["decoder_layers"],
            num_heads=text["encoder_attention_heads"],
            mlp_width=text["encoder_ffn_dim"],
            activation=ACTIVATIONS[text["activation_function"]],
            dropout=text["dropout"],
            tied=are_tied(found, source.path),
        ),
        max_grid=image["max_position_embeddings"],
        max_frames=image["max_temporal_embeddings"],
    )


def _check(source: Source, image: Mapping[str, Any], text: Mapping[str, Any]) -> None:
    """Refuse what we do not build."""
    alike = all(text[f"encoder_{name}"] == text[f"decoder_{name}"] for name in _BOTH)
    if text["activation_function"] not in ACTIVATIONS:
        name = text["activation_function"]
        raise CheckpointError(f"{source.folder}: the activation {name!r} is not known")
    if not alike or text["scale_embedding"] or text["normalize_before"]:
        raise CheckpointError(f"{source.folder}: a text network that is not as BART's")
    if image["activation_function"] != "gelu" or not image["qkv_bias"]:
        raise CheckpointError(f"{source.folder}: an image tower that is not as DaViT's")
    if image["projection_dim"] != text["d_model"]:
        raise CheckpointError(
            f"{source.folder}: images become {image['projection_dim']} wide, texts "
            f"{text['d_model']}"
        )


_BOTH = ("attention_heads", "ffn_dim")


def hf_settings(source: Source, config: Florence2Config) -> dict[str, Any]:
    """Read preprocessor_config.json, or its newer place in processor_config.json.

    Raises:
        CheckpointError: It asks for pixels we do not make.
    """
    data = hf_image_processor(source)
    if data is None:
        return unsaid_settings(source, config, "preprocessor_config.json")
    normalise = data.get("do_normalize", True)
    return published_settings(
        size=_size(source, data),
        resample=hf_filter(source, data.get("resample", 3)),
        mean=(data.get("image_mean") or MEAN) if normalise else (0.0, 0.0, 0.0),
        std=(data.get("image_std") or STD) if normalise else (1.0, 1.0, 1.0),
    )


def _size(source: Source, data: Mapping[str, Any]) -> tuple[int, int]:
    """Return height and width of the pixels."""
    size = data.get("size") or {"height": 768, "width": 768}
    size = {"height": size, "width": size} if isinstance(size, int) else size
    crop = data.get("crop_size") if data.get("do_center_crop") else None
    if not {"height", "width"} <= size.keys() or crop not in (None, size):
        raise CheckpointError(f"{source.folder}: pixels of no fixed size (size {size})")
    return size["height"], size["width"]


def hf_files(config: Florence2Config, processor: Processor, folder: Path) -> str:
    """Write what transformers needs beside the weights; returns the weights' name.

    Raises:
        CheckpointError: transformers has no such model.
    """
    assert isinstance(processor, Florence2Processor)
    if not config.text.tied:
        raise CheckpointError("transformers has no Florence-2 whose tables of tokens differ")
    image, text, count = config.image, sizes_back(config.text), config.text.vocab_size
    tokenizer = processor.tokenizer and processor.tokenizer.with_tokens([IMAGE_TOKEN], count)
    write_json(
        folder / "config.json",
        {
            "architectures": ["Florence2ForConditionalGeneration"],
            "model_type": "florence2",
            "is_encoder_decoder": True,
            "image_token_id": tokenizer.vocabulary[IMAGE_TOKEN] if tokenizer else count,
            "text_config": text | {"model_type": "bart", "vocab_size": stored(count)},
            "vision_config": {
                "model_type": "florence_vision",
                "embed_dim": list(image.widths),
                "max_position_embeddings": config.max_grid,
                "max_temporal_embeddings": config.max_frames,
                "projection_dim": config.text.width,
                **stages_back(image),
            },
        },
    )
    write_pixels(processor, folder)
    write_json(folder / "generation_config.json", GENERATION)
    if tokenizer is not None:
        tokenizer.save(folder)
    write_tokens(config, folder, extra_special_tokens={"image_token": IMAGE_TOKEN})
    return "model.safetensors"


GENERATION = {
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_bos_token_id": OPTIONS.forced_bos_id,
    "forced_eos_token_id": OPTIONS.forced_eos_id,
    "num_beams": OPTIONS.num_beams,
    "early_stopping": OPTIONS.early_stopping,
    "no_repeat_ngram_size": OPTIONS.no_repeat_ngram_size,
}


def stored(count: int) -> int:
    """Return how many rows the tables of so many tokens and `<image>` are filled up to."""
    return -(-(count + 1) // 64) * 64


def sizes_back(text: BartConfig) -> dict[str, Any]:
    """Return the sizes of BART as config.json names them."""
    names = {ours: theirs for theirs, ours in ACTIVATIONS.items()}
    told: dict[str, Any] = {
        "vocab_size": text.vocab_size,
        "d_model": text.width,
        "encoder_layers": text.encoder_depth,
        "decoder_layers": text.decoder_depth,
        "max_position_embeddings": text.max_length,
        "activation_function": names[text.activation],
        "dropout": text.dropout,
        "attention_dropout": text.dropout,
        "activation_dropout": text.dropout,
        "scale_embedding": False,
    }
    for half in ("encoder", "decoder"):
        told |= {f"{half}_attention_heads": text.num_heads, f"{half}_ffn_dim": text.mlp_width}
    return told


def stages_back(image: DavitConfig) -> dict[str, Any]:
    """Return the sizes of DaViT that both layouts name alike."""
    told = {theirs: list(getattr(image, ours)) for ours, theirs in STAGES.items()}
    return told | {"window_size": image.window_size, "mlp_ratio": image.mlp_ratio}


def write_pixels(processor: Florence2Processor, folder: Path) -> None:
    """Write preprocessor_config.json.

    Raises:
        CheckpointError: Pictures are not squashed.
    """
    spec = processor.image
    if spec.resize != "squash":
        raise CheckpointError("the layouts of Florence-2 squash pictures, and crop none")
    size = {"height": spec.size[0], "width": spec.size[1]}
    pixels = {
        "image_processor_type": "CLIPImageProcessor",
        "processor_class": "Florence2Processor",
        "do_resize": True,
        "size": size,
        "resample": {name: number for number, name in FILTERS.items()}[spec.resample],
        "do_center_crop": False,
        "crop_size": size,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
        "do_convert_rgb": True,
        "image_seq_length": processor.image_tokens,
    }
    write_json(folder / "preprocessor_config.json", pixels)


def write_tokens(config: Florence2Config, folder: Path, **told: Any) -> None:
    """Write tokenizer_config.json."""
    tokens = {
        "tokenizer_class": "BartTokenizer",
        "processor_class": "Florence2Processor",
        "model_max_length": config.text.max_length,
        "add_prefix_space": False,
        "cls_token": "<s>",
        "sep_token": "</s>",
    }
    write_json(folder / "tokenizer_config.json", tokens | told)


def hf_keymap(config: Florence2Config) -> KeyMap:
    """Keys of transformers' Florence2ForConditionalGeneration."""
    parts = {
        "qkv": "{kind}_attn.qkv",
        "attention.out_proj": "{kind}_attn.proj",
        "attention_positions": "conv1",
        "attention_norm": "norm1",
        "mlp_positions": "conv2",
        "mlp_norm": "norm2",
        "mlp.fc1": "ffn.fc1",
        "mlp.fc2": "ffn.fc2",
    }
    grid = f"{PROJECTOR}.image_position_embed"
    return KeyMap(
        *vision_rules("model.vision_tower", "conv", parts),
        Rename(f"{grid}.column_embeddings.weight", "projector.columns"),
        Rename(f"{grid}.row_embeddings.weight", "projector.rows"),
        Rename(f"{PROJECTOR}.visual_temporal_embed.pos_idx_to_embed", "projector.frames"),
        Rename(f"{PROJECTOR}.image_projection.weight", "projector.projection.weight"),
        Rename(f"{PROJECTOR}.image_proj_norm.{{p}}", "projector.norm.{p}"),
        tables(config, NETWORK, HEAD, stored=stored(config.text.vocab_size)),
        *text_rules(NETWORK),
    )


def recognised(source: Source, *, network: str, hub: bool) -> bool:
    """Whether a checkpoint is of this layout, or of the hub's.

    Args:
        source: The folder or file.
        network: What BART is called there.
        hub: Whether it is the hub's; both have the same `model_type`.
    """
    data = source.json("config.json") or {}
    vision = data.get("vision_config") or {}
    if data.get("model_type") != "florence2" or ("dim_embed" in vision) != hub:
        return False
    # a file that was named is known by its keys
    return source.path.is_dir() or any(key.startswith(network) for key in source.tensors)


HF = Layout(
    name="hf",
    files=HF_FILES,
    recognises=partial(recognised, network=NETWORK, hub=False),
    config=hf_config,
    settings=hf_settings,
    keymap=hf_keymap,
    companions=hf_files,
)
