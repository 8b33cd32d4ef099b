"""SigLIP in the keys of open_clip and timm, slow and plain, in float64.

Written after the key names and the order of fused projections in open_clip (transformer.py and
convert.py) and timm (vision_transformer.py, attention_pool.py); shares no code with what it tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

EPS = 1e-6


@dataclass(frozen=True)
class Sizes:
    """Of both towers; `pixels` is the side of an image, `length` the number of text positions."""

    width: int
    depth: int
    heads: int
    mlp: int
    patch: int
    pixels: int
    vocab: int
    text_width: int
    text_depth: int
    text_heads: int
    text_mlp: int
    length: int = 64


def shapes(s: Sizes) -> dict[str, tuple[int, ...]]:
    """Names and shapes of every tensor, in the order of the published files."""
    d, e = s.width, s.text_width
    found: dict[str, tuple[int, ...]] = {"logit_scale": (), "logit_bias": ()}
    trunk, pool = "visual.trunk", "visual.trunk.attn_pool"
    found[f"{trunk}.pos_embed"] = (1, (s.pixels // s.patch) ** 2, d)
    found |= {f"{trunk}.patch_embed.proj.weight": (d, 3, s.patch, s.patch)}
    found |= {f"{trunk}.patch_embed.proj.bias": (d,)}
    for i in range(s.depth):
        block = f"{trunk}.blocks.{i}"
        found |= _norm(f"{block}.norm1", d) | _linear(f"{block}.attn.qkv", d, 3 * d)
        found |= _linear(f"{block}.attn.proj", d, d) | _norm(f"{block}.norm2", d)
        found |= _linear(f"{block}.mlp.fc1", d, s.mlp) | _linear(f"{block}.mlp.fc2", s.mlp, d)
    found |= _norm(f"{trunk}.norm", d) | {f"{pool}.latent": (1, 1, d)}
    found |= _linear(f"{pool}.q", d, d) | _linear(f"{pool}.kv", d, 2 * d)
    found |= _linear(f"{pool}.proj", d, d) | _norm(f"{pool}.norm", d)
    found |= _linear(f"{pool}.mlp.fc1", d, s.mlp) | _linear(f"{pool}.mlp.fc2", s.mlp, d)
    found |= {"text.positional_embedding": (s.length, e)}
    found |= {"text.token_embedding.weight": (s.vocab, e)}
    for i in range(s.text_depth):
        block = f"text.transformer.resblocks.{i}"
        found |= _norm(f"{block}.ln_1", e)
        found |= {
            f"{block}.attn.in_proj_weight": (3 * e, e),
            f"{block}.attn.in_proj_bias": (3 * e,),
        }
        found |= _linear(f"{block}.attn.out_proj", e, e) | _norm(f"{block}.ln_2", e)
        found |= _linear(f"{block}.mlp.c_fc", e, s.text_mlp)
        found |= _linear(f"{block}.mlp.c_proj", s.text_mlp, e)
    return found | _norm("text.ln_final", e) | _linear("text.text_projection", e, d)


def _linear(name: str, inside: int, outside: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outside, inside), f"{name}.bias": (outside,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def random_weights(s: Sizes, seed: int = 0) -> dict[str, Tensor]:
    """Every tensor drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes(s).items():
        spread = 0.5 if len(shape) < 2 else 2 / math.prod(shape[1:]) ** 0.5
        weights[name] = torch.randn(shape, generator=generator) * spread
    return weights


def image_vectors(weights: dict[str, Tensor], s: Sizes, pixels: Tensor) -> Tensor:
    """Unit vectors of pixels [B, 3, h, w]."""
    w = {name: tensor.double() for name, tensor in weights.items()}
    p, side = "visual.trunk", s.pixels // s.patch
    kernel = w[f"{p}.patch_embed.proj.weight"].flatten(1)
    rows = []
    for picture in pixels.double():
        tokens = [
            kernel @ picture[:, y : y + s.patch, x : x + s.patch].flatten()
            for y in range(0, side * s.patch, s.patch)
            for x in range(0, side * s.patch, s.patch)
        ]
        x = torch.stack(tokens) + w[f"{p}.patch_embed.proj.bias"] + w[f"{p}.pos_embed"][0]
        for i in range(s.depth):
            x = _block(x, w, f"{p}.blocks.{i}", s.heads, TIMM)
        x = _normed(x, w, f"{p}.norm")
        pool = f"{p}.attn_pool"
        query = _dense(w[f"{pool}.latent"][0], w, f"{pool}.q")
        key, value = _dense(x, w, f"{pool}.kv").split(s.width, dim=1)
        y = _dense(_attend(query, key, value, s.heads), w, f"{pool}.proj")
        y = y + _mlp(_normed(y, w, f"{pool}.norm"), w, f"{pool}.mlp", ("fc1", "fc2"))
        rows.append(y[0] / y[0].norm())
    return torch.stack(rows)


def text_vectors(weights: dict[str, Tensor], s: Sizes, ids: Tensor) -> Tensor:
    """Unit vectors of ids [B, length], padded as in training."""
    w = {name: tensor.double() for name, tensor in weights.items()}
    rows = []
    for row in ids:
        x = w["text.token_embedding.weight"][row] + w["text.positional_embedding"]
        for i in range(s.text_depth):
            x = _block(x, w, f"text.transformer.resblocks.{i}", s.text_heads, OPEN_CLIP)
        y = _dense(_normed(x, w, "text.ln_final")[-1], w, "text.text_projection")
        rows.append(y / y.norm())
    return torch.stack(rows)


TIMM = ("norm1", "attn.qkv.", "attn.proj", "norm2", ("fc1", "fc2"))
OPEN_CLIP = ("ln_1", "attn.in_proj_", "attn.out_proj", "ln_2", ("c_fc", "c_proj"))


def _block(x: Tensor, w: dict[str, Tensor], name: str, heads: int, names: tuple) -> Tensor:  # type: ignore[type-arg]
    norm1, fused, out, norm2, layers = names
    inner = _normed(x, w, f"{name}.{norm1}")
    qkv = inner @ w[f"{name}.{fused}weight"].T + w[f"{name}.{fused}bias"]
    query, key, value = qkv.split(x.shape[1], dim=1)
    x = x + _dense(_attend(query, key, value, heads), w, f"{name}.{out}")
    return x + _mlp(_normed(x, w, f"{name}.{norm2}"), w, f"{name}.mlp", layers)


def _attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    size = query.shape[1] // heads
    mixed = []
    for h in range(heads):
        q, k, v = (t[:, h * size : (h + 1) * size] for t in (query, key, value))
        scores = (q @ k.T / math.sqrt(size)).exp()
        mixed.append(scores / scores.sum(1, keepdim=True) @ v)
    return torch.cat(mixed, 1)


def _mlp(x: Tensor, w: dict[str, Tensor], name: str, layers: tuple[str, str]) -> Tensor:
    h = _dense(x, w, f"{name}.{layers[0]}")
    h = 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
    return _dense(h, w, f"{name}.{layers[1]}")


def _dense(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def _normed(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    centred = x - x.mean(1, keepdim=True)
    spread = (centred.square().mean(1, keepdim=True) + EPS).sqrt()
    return centred / spread * w[f"{name}.weight"] + w[f"{name}.bias"]
