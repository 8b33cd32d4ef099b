"""Florence-2 models of transformers with every tensor drawn anew, and what they are compared on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from parity.blip_models import FEATURES, LOGITS, close, redrawn
from seesay.types import Prompt

transformers = pytest.importorskip("transformers")

__all__ = ["FEATURES", "LOGITS", "close", "redrawn"]

V = 90
"""How many tokens there are; the next id is `<image>`, and rows go on to 96."""

VISION: dict[str, Any] = {
    "embed_dim": (6, 10, 12, 20),
    "num_heads": (2, 5, 3, 4),
    "num_groups": (3, 2, 4, 5),
    "depths": (1, 1, 2, 1),
    "window_size": 3,
    "projection_dim": 24,
    "max_position_embeddings": 7,
    "max_temporal_embeddings": 5,
}
TEXT: dict[str, Any] = {
    "model_type": "bart",
    "vocab_size": 96,
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 60,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
SIZES = {"whole windows": (96, 96), "odd": (52, 90), "one token": (32, 32)}
"""Height and width in pixels."""


def build(vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None) -> Any:
    """A model of transformers."""
    config = transformers.Florence2Config(
        vision_config=VISION | (vision or {}), text_config=TEXT | (text or {}), image_token_id=V
    )
    config._attn_implementation = "eager"
    return redrawn(transformers.Florence2ForConditionalGeneration(config))


def saved(model: Any, folder: Path, size: tuple[int, int] = (52, 90)) -> Path:
    """A folder with the model."""
    model.save_pretrained(folder)
    pixels = {"size": {"height": size[0], "width": size[1]}, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
    return folder


def pixels_for(size: tuple[int, int], count: int = 3) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def asked(lengths: tuple[int, ...] = (9, 4, 7)) -> tuple[Tensor, Tensor]:
    """Ids and mask of prompts of several lengths, `<s>` and `</s>` included."""
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    ids = torch.randint(4, V, mask.shape, generator=torch.Generator().manual_seed(2))
    ids[:, 0] = 0
    ids[torch.arange(len(ids)), mask.sum(1) - 1] = 2
    return ids.masked_fill(~mask, 1), mask


def begun(count: int = 3, length: int = 5) -> Tensor:
    """The first ids of what is written."""
    ids = torch.randint(4, V, (count, length), generator=torch.Generator().manual_seed(3))
    ids[:, :2] = torch.tensor([2, 0])
    return ids


def theirs(model: Any, pixels: Tensor, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """What transformers is called with: image tokens stand in the prompt."""
    count = model.model.get_image_features(pixels[:1]).pooler_output.shape[1]
    image = torch.full((len(ids), count), V)
    return {
        "input_ids": torch.cat([image, ids], 1),
        "attention_mask": torch.cat([torch.ones_like(image), mask.long()], 1),
        "pixel_values": pixels,
    }


def prompt(pixels: Tensor, ids: Tensor, mask: Tensor, prefix: Tensor | None = None) -> Prompt:
    """What ours is called with."""
    start = torch.full((len(ids), 1), 2) if prefix is None else prefix
    return Prompt(pixels, start, torch.ones_like(start, dtype=torch.bool), ids, mask)
