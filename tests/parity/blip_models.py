"""BLIP models of transformers with every tensor drawn anew, and what they are compared on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seesay.checkpoints.load import read
from seesay.processing.wordpiece import SPECIAL

transformers = pytest.importorskip("transformers")

FEATURES = 1e-5
"""Relative to the largest entry; both sides are fp32 with sums in another order."""
LOGITS = 1e-4

V, DEC, ENC, CLS, SEP = 61, 59, 60, 2, 3
"""A vocabulary of 59 words, and what BLIP adds to it."""
WORDS = [*SPECIAL, *(chr(ord("a") + i) for i in range(26)), "##s", "?", ",", *map(str, range(10))]
WORDS += [f"word{i}" for i in range(DEC - len(WORDS))]

VISION = {
    "hidden_size": 40,
    "num_attention_heads": 5,
    "intermediate_size": 72,
    "num_hidden_layers": 3,
    "image_size": 24,
    "patch_size": 8,
}
TEXT = {
    "vocab_size": V,
    "hidden_size": 24,
    "num_attention_heads": 3,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "max_position_embeddings": 32,
    "bos_token_id": DEC,
    "sep_token_id": SEP,
}
ODD: dict[str, dict[str, Any]] = {
    "as released": {},
    "other heads, eps and activation": {
        "vision": {"layer_norm_eps": 1e-3, "num_attention_heads": 4, "image_size": 33},
        "text": {"layer_norm_eps": 1e-2, "num_attention_heads": 6, "num_hidden_layers": 3}
        | {"hidden_act": "quick_gelu"},
    },
}


def build(kind: str, name: str = "as released", seed: int = 0) -> Any:
    """A model of transformers, "BlipFor" + kind."""
    odd = ODD[name]
    vision, text = VISION | odd.get("vision", {}), TEXT | odd.get("text", {})
    if kind == "QuestionAnswering":  # which transformers cannot build otherwise
        text |= {"hidden_size": vision["hidden_size"], "num_attention_heads": 5}
    config = transformers.BlipConfig(
        vision_config=vision, text_config=text, image_text_hidden_size=14
    )
    return redrawn(getattr(transformers, f"BlipFor{kind}")(config), seed)


def redrawn(model: Any, seed: int = 0) -> Any:
    """The model with every parameter away from its initial value, and sensitive to what it sees."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict(keep_vars=True).items():
            if not tensor.is_floating_point():
                continue
            drawn = torch.randn(tensor.shape, generator=generator)
            if tensor.ndim > 1:
                tensor.copy_(drawn * 1.5 / tensor[0].numel() ** 0.5)
            else:
                tensor.copy_(
                    drawn * 0.3 + (1 if "norm" in name.lower() and "weight" in name else 0)
                )
    return model.eval()


def saved(model: Any, folder: Path) -> Path:
    """A folder with the model and a tokenizer."""
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    size = model.config.vision_config.image_size
    pixels = {"size": {"height": size, "width": size}, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
    return folder


def loaded(model: Any, folder: Path, compat: str | None = None) -> Any:
    return read(saved(model, folder), compat=compat)


def pixels_for(model: Any, count: int = 3) -> Tensor:
    size = model.config.vision_config.image_size
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def texts(first: int, lengths: tuple[int, ...] = (9, 4, 7)) -> tuple[Tensor, Tensor]:
    """Ids and mask of texts of several lengths; the first token and [SEP] included."""
    generator = torch.Generator().manual_seed(2)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    ids = torch.randint(5, DEC, mask.shape, generator=generator)
    ids[:, 0] = first
    ids[torch.arange(len(ids)), mask.sum(1) - 1] = SEP
    return ids.masked_fill(~mask, 0), mask


def close(found: Tensor, wanted: Tensor) -> float:
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max() / wanted.abs().max())
