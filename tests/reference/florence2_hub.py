"""Florence-2 by its equations, slowly, on state dicts with the names of Microsoft's files.

Independent of `seesay`: one image, one window, one group and one head at a time. As the published
code does, it looks at all that it is given, padding too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]

VOCAB, POSITIONS, GRID, FRAMES, WIDTH, MLP = 83, 40, 6, 4, 18, 30
WIDTHS, HEADS, GROUPS, DEPTHS = (4, 6, 12, 14), (2, 3, 4, 7), (2, 1, 3, 2), (1, 2, 1, 1)
PATCHES, STRIDES, PADDINGS, WINDOW, TEXT_HEADS, LAYERS = (
    (7, 3, 3, 3),
    (4, 2, 2, 2),
    (3, 1, 1, 1),
    3,
    3,
    2,
)

CONFIG: dict[str, Any] = {
    "model_type": "florence2",
    "vision_config": {
        "model_type": "davit",
        "dim_embed": WIDTHS,
        "num_heads": HEADS,
        "num_groups": GROUPS,
        "depths": DEPTHS,
        "window_size": WINDOW,
        "projection_dim": WIDTH,
        "image_pos_embed": {"type": "learned_abs_2d", "max_pos_embeddings": GRID},
        "visual_temporal_embedding": {"type": "COSINE", "max_temporal_embeddings": FRAMES},
        "image_feature_source": ["spatial_avg_pool", "temporal_avg_pool"],
    },
    "text_config": {
        "model_type": "florence2_language",
        "vocab_size": VOCAB,
        "d_model": WIDTH,
        "encoder_layers": LAYERS,
        "decoder_layers": LAYERS,
        "encoder_attention_heads": TEXT_HEADS,
        "decoder_attention_heads": TEXT_HEADS,
        "encoder_ffn_dim": MLP,
        "decoder_ffn_dim": MLP,
        # what files say may be older than their weights
        "max_position_embeddings": 1024,
    },
}
"""The config.json of such a file."""

# -- what files are made of ------------------------------------------------------------------------


def linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def conv(name: str, inputs: int, outputs: int, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs, size, size), f"{name}.bias": (outputs,)}


def shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor of such a file."""
    found: dict[str, tuple[int, ...]] = {}
    for i, width in enumerate(WIDTHS):
        source = WIDTHS[i - 1] if i else 3
        found |= conv(f"vision_tower.convs.{i}.proj", source, width, PATCHES[i])
        found |= norm(f"vision_tower.convs.{i}.norm", source if i else width)
        for j in range(DEPTHS[i]):
            for kind, name in (("spatial", "window"), ("channel", "channel")):
                block = f"vision_tower.blocks.{i}.{j}.{kind}_block"
                found |= conv(f"{block}.conv1.fn.dw", 1, width, 3)
                found |= norm(f"{block}.{name}_attn.norm", width)
                found |= linear(f"{block}.{name}_attn.fn.qkv", width, 3 * width)
                found |= linear(f"{block}.{name}_attn.fn.proj", width, width)
                found |= conv(f"{block}.conv2.fn.dw", 1, width, 3)
                found |= norm(f"{block}.ffn.norm", width)
                found |= linear(f"{block}.ffn.fn.net.fc1", width, 4 * width)
                found |= linear(f"{block}.ffn.fn.net.fc2", 4 * width, width)
    last = WIDTHS[-1]
    found["image_projection"] = (last, WIDTH)
    found |= norm("image_proj_norm", WIDTH)
    found["image_pos_embed.row_embeddings.weight"] = (GRID, last - last // 2)
    found["image_pos_embed.column_embeddings.weight"] = (GRID, last // 2)
    found["visual_temporal_embed.pos_idx_to_embed"] = (FRAMES, last)
    found["language_model.final_logits_bias"] = (1, VOCAB)
    text = "language_model.model"
    found[f"{text}.shared.weight"] = (VOCAB, WIDTH)
    for half in ("encoder", "decoder"):
        found[f"{text}.{half}.embed_tokens.weight"] = (VOCAB, WIDTH)
        found[f"{text}.{half}.embed_positions.weight"] = (POSITIONS + 2, WIDTH)
        found |= norm(f"{text}.{half}.layernorm_embedding", WIDTH)
        for i in range(LAYERS):
            layer = f"{text}.{half}.layers.{i}"
            for attention in ("self_attn", "encoder_attn")[: 1 + (half == "decoder")]:
                for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    found |= linear(f"{layer}.{attention}.{part}", WIDTH, WIDTH)
                found |= norm(f"{layer}.{attention}_layer_norm", WIDTH)
            found |= linear(f"{layer}.fc1", WIDTH, MLP) | linear(f"{layer}.fc2", MLP, WIDTH)
            found |= norm(f"{layer}.final_layer_norm", WIDTH)
    found["language_model.lm_head.weight"] = (VOCAB, WIDTH)
    return found


def random_weights(seed: int = 0) -> dict[str, Tensor]:
    """All of them, sensitive to what they see; the four tables of tokens are one."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes().items():
        drawn = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            found[name] = drawn * 1.5 / math.prod(shape[1:]) ** 0.5
        else:
            found[name] = drawn * 0.3 + ("norm" in name and name.endswith("weight"))
    found["language_model.final_logits_bias"].zero_()
    rates = torch.exp(-math.log(10000) * torch.arange(0, WIDTHS[-1], 2) / WIDTHS[-1])
    frames = found["visual_temporal_embed.pos_idx_to_embed"]
    for time in range(FRAMES):
        frames[time, 0::2], frames[time, 1::2] = (time * rates).sin(), (time * rates).cos()
    for name in tables():
        found[name] = found["language_model.model.shared.weight"].clone()
    return found


def tables() -> list[str]:
    halves = [f"language_model.model.{half}.embed_tokens.weight" for half in ("encoder", "decoder")]
    return ["language_model.model.shared.weight", *halves, "language_model.lm_head.weight"]


# -- what they compute -----------------------------------------------------------------------------


def affine(w: Weights, name: str, x: Tensor) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def normed(w: Weights, name: str, x: Tensor) -> Tensor:
    x = x - x.mean(-1, keepdim=True)
    x = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def convolved(w: Weights, name: str, x: Tensor, **how: Any) -> Tensor:
    """[rows, columns, C] to the same, of other sizes."""
    found = F.conv2d(x.permute(2, 0, 1)[None], w[f"{name}.weight"], w[f"{name}.bias"], **how)
    return found[0].permute(1, 2, 0)


def windowed(w: Weights, name: str, x: Tensor, heads: int) -> Tensor:
    """Attention in windows; what is missing of the last ones is zeros, which take part."""
    rows, columns, width = x.shape
    down, across = -rows % WINDOW, -columns % WINDOW
    x = F.pad(x, (0, 0, 0, across, 0, down))
    found, size = torch.zeros_like(x), width // heads
    for top in range(0, len(x), WINDOW):
        for left in range(0, x.shape[1], WINDOW):
            place = (slice(top, top + WINDOW), slice(left, left + WINDOW))
            tokens = x[place].reshape(-1, width)
            query, key, value = affine(w, f"{name}.qkv", tokens).split(width, -1)
            parts = []
            for head in range(heads):
                own = slice(head * size, (head + 1) * size)
                scores = query[:, own] @ key[:, own].T / math.sqrt(size)
                parts.append(scores.softmax(-1) @ value[:, own])
            found[place] = affine(w, f"{name}.proj", torch.cat(parts, -1)).view(WINDOW, -1, width)
    return found[:rows, :columns]


def channelled(w: Weights, name: str, x: Tensor, groups: int) -> Tensor:
    """Attention of channels on each other."""
    rows, columns, width = x.shape
    tokens, size = x.reshape(-1, width), width // groups
    query, key, value = affine(w, f"{name}.qkv", tokens).split(width, -1)
    parts = []
    for group in range(groups):
        own = slice(group * size, (group + 1) * size)
        scores = (query[:, own] / math.sqrt(rows * columns)).T @ key[:, own]
        parts.append((scores.softmax(-1) @ value[:, own].T).T)
    return affine(w, f"{name}.proj", torch.cat(parts, -1)).view(x.shape)


def image_map(w: Weights, pixels: Tensor) -> Tensor:
    """Pixels [3, h, w] to the last map [rows, columns, C]."""
    x = pixels.permute(1, 2, 0)
    for i in range(len(WIDTHS)):
        name = f"vision_tower.convs.{i}"
        x = normed(w, f"{name}.norm", x) if i else x
        x = convolved(w, f"{name}.proj", x, stride=STRIDES[i], padding=PADDINGS[i])
        x = x if i else normed(w, f"{name}.norm", x)
        for j in range(DEPTHS[i]):
            for kind, part in (("spatial", "window"), ("channel", "channel")):
                block = f"vision_tower.blocks.{i}.{j}.{kind}_block"
                how = {"padding": 1, "groups": x.shape[-1]}
                x = x + convolved(w, f"{block}.conv1.fn.dw", x, **how)
                calm = normed(w, f"{block}.{part}_attn.norm", x)
                name = f"{block}.{part}_attn.fn"
                if kind == "spatial":
                    x = x + windowed(w, name, calm, HEADS[i])
                else:
                    x = x + channelled(w, name, calm, GROUPS[i])
                x = x + convolved(w, f"{block}.conv2.fn.dw", x, **how)
                calm = normed(w, f"{block}.ffn.norm", x)
                inner = gelu(affine(w, f"{block}.ffn.fn.net.fc1", calm))
                x = x + affine(w, f"{block}.ffn.fn.net.fc2", inner)
    return x


def image_tokens(w: Weights, pixels: Tensor) -> Tensor:
    """Pixels [3, h, w] to tokens [1 + P, D]."""
    x = image_map(w, pixels)
    placed = torch.zeros_like(x)
    half = x.shape[-1] // 2
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            placed[row, column, :half] = w["image_pos_embed.column_embeddings.weight"][column]
            placed[row, column, half:] = w["image_pos_embed.row_embeddings.weight"][row]
    tokens = (x + placed).flatten(0, 1) + w["visual_temporal_embed.pos_idx_to_embed"][0]
    tokens = torch.cat([tokens.mean(0, keepdim=True), tokens])
    return normed(w, "image_proj_norm", tokens @ w["image_projection"])


def attended(w: Weights, name: str, x: Tensor, source: Tensor, causal: bool = False) -> Tensor:
    query, key, value = (
        affine(w, f"{name}.{part}_proj", y)
        for part, y in zip("qkv", (x, source, source), strict=True)
    )
    size, parts = WIDTH // TEXT_HEADS, []
    for head in range(TEXT_HEADS):
        own = slice(head * size, (head + 1) * size)
        scores = query[:, own] @ key[:, own].T / math.sqrt(size)
        if causal:
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -math.inf)
        parts.append(scores.softmax(-1) @ value[:, own])
    return affine(w, f"{name}.out_proj", torch.cat(parts, -1))


def network(w: Weights, half: str, x: Tensor, source: Tensor | None = None) -> Tensor:
    """Embedded tokens [L, D], without positions, to features [L, D]."""
    name = f"language_model.model.{half}"
    x = x + w[f"{name}.embed_positions.weight"][2 : 2 + len(x)]
    x = normed(w, f"{name}.layernorm_embedding", x)
    for i in range(LAYERS):
        layer = f"{name}.layers.{i}"
        x = x + attended(w, f"{layer}.self_attn", x, x, causal=source is not None)
        x = normed(w, f"{layer}.self_attn_layer_norm", x)
        if source is not None:
            x = x + attended(w, f"{layer}.encoder_attn", x, source)
            x = normed(w, f"{layer}.encoder_attn_layer_norm", x)
        x = x + affine(w, f"{layer}.fc2", gelu(affine(w, f"{layer}.fc1", x)))
        x = normed(w, f"{layer}.final_layer_norm", x)
    return x


def read(w: Weights, pixels: Tensor, ids: Tensor) -> Tensor:
    """An image [3, h, w] and a prompt [S], padding included, to features [1 + P + S, D]."""
    embedded = w["language_model.model.encoder.embed_tokens.weight"][ids]
    return network(w, "encoder", torch.cat([image_tokens(w, pixels), embedded]))


def logits(w: Weights, source: Tensor, prefix: Tensor) -> Tensor:
    """What follows each id of a prefix [L]: [L, V]."""
    embedded = w["language_model.model.decoder.embed_tokens.weight"][prefix]
    hidden = network(w, "decoder", embedded, source)
    return hidden @ w["language_model.lm_head.weight"].T + w["language_model.final_logits_bias"][0]
