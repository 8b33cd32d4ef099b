"""Florence-2 as Microsoft publishes it on the hub, and whoever fine-tuned it with that code."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from seesay.checkpoints.files import Source, write_json
from seesay.checkpoints.keymap import Computed, KeyMap, Rename, Transpose
from seesay.checkpoints.published import HF_FILES
from seesay.errors import CheckpointError
from seesay.families.florence2.configs import VOCAB_SIZE, Florence2Config
from seesay.families.florence2.hf import (
    GENERATION,
    IMAGE,
    TEXT,
    described,
    hf_settings,
    recognised,
    sizes_back,
    stages_back,
    write_pixels,
    write_tokens,
)
from seesay.families.florence2.keys import tables, text_rules, vision_rules
from seesay.families.florence2.processing import Florence2Processor
from seesay.family import Layout
from seesay.protocols import Processor

NETWORK, HEAD = "language_model.model", "language_model.lm_head"
_TEXT = TEXT | {"vocab_size": VOCAB_SIZE}
_GRID = {"type": "learned_abs_2d", "max_pos_embeddings": 50}
_FRAMES = {"type": "COSINE", "max_temporal_embeddings": 100}
_SOURCES = ["spatial_avg_pool", "temporal_avg_pool"]
_IMAGE = IMAGE | {
    "dim_embed": (256, 512, 1024, 2048),
    "num_heads": (8, 16, 32, 64),
    "num_groups": (8, 16, 32, 64),
    "image_pos_embed": _GRID,
    "visual_temporal_embedding": _FRAMES,
    "image_feature_source": _SOURCES,
}
"""What a config.json leaves out has these values (configuration_florence2.py on the hub)."""


def hub_config(source: Source) -> Florence2Config:
    """Read config.json, and what shapes tell better.

    Raises:
        CheckpointError: It describes something we do not build.
    """
    data = source.json("config.json") or {}
    text = _TEXT | (data.get("text_config") or {})
    image = _IMAGE | (data.get("vision_config") or {})
    grid, frames = image["image_pos_embed"], image["visual_temporal_embedding"]
    if image["image_feature_source"] != _SOURCES or (grid["type"], frames["type"]) != (
        _GRID["type"],
        _FRAMES["type"],
    ):
        raise CheckpointError(f"{source.folder}: image tokens that are not as Florence-2's")
    image |= {
        "embed_dim": image["dim_embed"],
        "max_position_embeddings": grid["max_pos_embeddings"],
        "max_temporal_embeddings": frames["max_temporal_embeddings"],
    }
    return described(source, image, text, NETWORK, HEAD)


def hub_files(config: Florence2Config, processor: Processor, folder: Path) -> str:
    """Write what lies beside the weights on the hub, but for code; returns the weights' name."""
    assert isinstance(processor, Florence2Processor)
    image, count = config.image, config.text.vocab_size
    write_json(
        folder / "config.json",
        {
            "architectures": ["Florence2ForConditionalGeneration"],
            "model_type": "florence2",
            "is_encoder_decoder": True,
            "bos_token_id": 0,
            "pad_token_id": 1,
            "eos_token_id": 2,
            "vocab_size": count,
            "projection_dim": config.text.width,
            "text_config": sizes_back(config.text)
            | GENERATION
            | {"model_type": "florence2_language", "normalize_before": False},
            "vision_config": {
                "model_type": "davit",
                "dim_embed": list(image.widths),
                "projection_dim": config.text.width,
                "image_pos_embed": _GRID | {"max_pos_embeddings": config.max_grid},
                "visual_temporal_embedding": _FRAMES
                | {"max_temporal_embeddings": config.max_frames},
                "image_feature_source": _SOURCES,
                **stages_back(image),
            },
        },
    )
    write_pixels(processor, folder)
    processor.save(folder)
    write_tokens(config, folder)
    return "model.safetensors"


def hub_keymap(config: Florence2Config) -> KeyMap:
    """Keys of the code on the hub."""
    parts = {
        "qkv": "{kind}_attn.fn.qkv",
        "attention.out_proj": "{kind}_attn.fn.proj",
        "attention_positions": "conv1.fn.dw",
        "attention_norm": "{kind}_attn.norm",
        "mlp_positions": "conv2.fn.dw",
        "mlp_norm": "ffn.norm",
        "mlp.fc1": "ffn.fn.net.fc1",
        "mlp.fc2": "ffn.fn.net.fc2",
    }
    count = config.text.vocab_size
    return KeyMap(
        *vision_rules("vision_tower", "proj", parts),
        Rename("image_pos_embed.column_embeddings.weight", "projector.columns"),
        Rename("image_pos_embed.row_embeddings.weight", "projector.rows"),
        Rename("visual_temporal_embed.pos_idx_to_embed", "projector.frames"),
        Transpose("image_projection", "projector.projection.weight"),
        Rename("image_proj_norm.{p}", "projector.norm.{p}"),
        # readers of this layout have broken where one of these two was not there
        tables(config, NETWORK, HEAD, stored=count, copies=2),
        *text_rules(NETWORK),
        Computed(
            "language_model.final_logits_bias",
            lambda: torch.zeros(1, count),
            why="it is added to all logits, and is zero in all releases",
        ),
    )


HUB = Layout(
    name="hub",
    files=HF_FILES,
    recognises=partial(recognised, network=NETWORK, hub=True),
    config=hub_config,
    settings=hf_settings,
    keymap=hub_keymap,
    companions=hub_files,
)
