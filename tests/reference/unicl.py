"""UniCL on Swin in its published layout, slowly and from the formulas: an oracle for tests.

Works on a state dict in float64 with explicit loops over windows and heads: no fused kernels, no
modules, nothing shared with the package. Images are square and filled by whole windows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Weights = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]


def encode_image(w: Weights, pixels: Tensor) -> Tensor:
    """Unit vectors of images."""
    w = {name: tensor.double() for name, tensor in w.items()}
    kernel = w["image_encoder.patch_embed.proj.weight"]
    patch = kernel.shape[-1]
    side = pixels.shape[-1] // patch
    x = torch.zeros(len(pixels), side, side, len(kernel)).double()
    for i in range(side):
        for j in range(side):
            cut = pixels[:, :, i * patch : (i + 1) * patch, j * patch : (j + 1) * patch].double()
            x[:, i, j] = torch.einsum("bchw,dchw->bd", cut, kernel)
    x = _norm(w, "image_encoder.patch_embed.norm", x + w["image_encoder.patch_embed.proj.bias"])
    stage = 0
    while (p := f"image_encoder.layers.{stage}") + ".blocks.0.norm1.weight" in w:
        block = 0
        while f"{p}.blocks.{block}.norm1.weight" in w:
            x = _swin_block(w, f"{p}.blocks.{block}", x, shifted=block % 2 == 1)
            block += 1
        if f"{p}.downsample.norm.weight" in w:
            corners = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
            joined = _norm(w, f"{p}.downsample.norm", torch.cat(corners, -1))
            x = joined @ w[f"{p}.downsample.reduction.weight"].T
        stage += 1
    x = _norm(w, "image_encoder.norm", x)
    return _unit(x.flatten(1, 2).sum(1) / (x.shape[1] * x.shape[2]) @ w["image_projection"])


def _swin_block(w: Weights, p: str, x: Tensor, shifted: bool) -> Tensor:
    table = w[f"{p}.attn.relative_position_bias_table"]
    window, side, heads = (math.isqrt(len(table)) + 1) // 2, x.shape[1], table.shape[1]
    by = window // 2 if shifted and side > window else 0
    normed = _norm(w, f"{p}.norm1", x)
    query, key, value = _linear(w, f"{p}.attn.qkv", normed).split(x.shape[-1], -1)
    mixed = torch.zeros_like(x)
    for top in range(0, side, window):
        for left in range(0, side, window):
            # the tokens that a window holds after the shift, by where they stood before
            places = [
                ((top + i + by) % side, (left + j + by) % side, top + i, left + j)
                for i in range(window)
                for j in range(window)
            ]
            rows, columns = (
                torch.tensor([q[0] for q in places]),
                torch.tensor([q[1] for q in places]),
            )
            bias = torch.zeros(heads, len(places), len(places)).double()
            for a, (_, _, i, j) in enumerate(places):
                for b, (_, _, k, m) in enumerate(places):
                    bias[:, a, b] = table[
                        (i - k + window - 1) * (2 * window - 1) + j - m + window - 1
                    ]
                    strangers = any(
                        by and (u >= side - by) != (v >= side - by) for u, v in ((i, k), (j, m))
                    )
                    bias[:, a, b] -= 100 * strangers
            parts = (t[:, rows, columns] for t in (query, key, value))
            mixed[:, rows, columns] = _attend(*parts, heads, bias)
    x = x + _linear(w, f"{p}.attn.proj", mixed)
    hidden = _linear(w, f"{p}.mlp.fc1", _norm(w, f"{p}.norm2", x))
    return x + _linear(w, f"{p}.mlp.fc2", hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2)


def encode_text(w: Weights, ids: Tensor) -> Tensor:
    """Unit vectors of texts, each of as many ids as there are positions; 64 wide heads."""
    w = {name: tensor.double() for name, tensor in w.items()}
    x = w["text_encoder.token_embedding.weight"][ids] + w["text_encoder.positional_embedding"]
    heads = x.shape[-1] // 64
    future = torch.full((ids.shape[1], ids.shape[1]), -math.inf).double().triu(1)
    layer = 0
    while (p := f"text_encoder.resblocks.{layer}") + ".ln_1.weight" in w:
        fused = _norm(w, f"{p}.ln_1", x, 1e-12) @ w[f"{p}.attn.in_proj_weight"].T
        query, key, value = (fused + w[f"{p}.attn.in_proj_bias"]).split(x.shape[-1], -1)
        mixed = _attend(query, key, value, heads, future.expand(heads, -1, -1))
        x = x + _linear(w, f"{p}.attn.out_proj", mixed)
        hidden = _linear(w, f"{p}.mlp.c_fc", _norm(w, f"{p}.ln_2", x, 1e-12))
        x = x + _linear(w, f"{p}.mlp.c_proj", hidden / (1 + torch.exp(-1.702 * hidden)))
        layer += 1
    x = _norm(w, "text_encoder.ln_final", x, 1e-12)
    pooled = torch.stack([row[int(i.argmax())] for row, i in zip(x, ids, strict=True)])
    return _unit(pooled @ w["text_projection"])


def _attend(query: Tensor, key: Tensor, value: Tensor, heads: int, bias: Tensor) -> Tensor:
    size = query.shape[-1] // heads
    mixed = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(size) + bias[head]
        weights = torch.exp(scores - scores.amax(-1, keepdim=True))
        mixed.append(weights / weights.sum(-1, keepdim=True) @ value[..., part])
    return torch.cat(mixed, -1)


def _norm(w: Weights, p: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred**2).mean(-1, keepdim=True)
    return centred / torch.sqrt(variance + eps) * w[f"{p}.weight"] + w[f"{p}.bias"]


def _linear(w: Weights, p: str, x: Tensor) -> Tensor:
    return x @ w[f"{p}.weight"].T + w[f"{p}.bias"]


def _unit(x: Tensor) -> Tensor:
    return x / (x * x).sum(-1, keepdim=True).sqrt()


# -- names and shapes -----------------------------------------------------------------------------


def shapes(
    embed: int,
    width: int,
    depths: tuple[int, ...],
    heads: tuple[int, ...],
    text_width: int,
    text_depth: int,
    window: int = 7,
    mlp: int = 4,
    vocab: int = 49408,
    length: int = 77,
) -> Shapes:
    """What a checkpoint holds, without its buffers."""
    out: Shapes = {
        "text_projection": (text_width, embed),
        "image_projection": (width << (len(depths) - 1), embed),
        "logit_scale": (),
        "text_encoder.positional_embedding": (length, text_width),
        "text_encoder.token_embedding.weight": (vocab, text_width),
    }
    for i in range(text_depth):
        p = f"text_encoder.resblocks.{i}"
        out |= {
            f"{p}.attn.in_proj_weight": (3 * text_width, text_width),
            f"{p}.attn.in_proj_bias": (3 * text_width,),
            **_pair(f"{p}.attn.out_proj", (text_width, text_width)),
            **_pair(f"{p}.ln_1", (text_width,)),
            **_pair(f"{p}.mlp.c_fc", (4 * text_width, text_width)),
            **_pair(f"{p}.mlp.c_proj", (text_width, 4 * text_width)),
            **_pair(f"{p}.ln_2", (text_width,)),
        }
    out |= _pair("text_encoder.ln_final", (text_width,))
    out |= _pair("image_encoder.patch_embed.proj", (width, 3, 4, 4))
    out |= _pair("image_encoder.patch_embed.norm", (width,))
    for stage, depth in enumerate(depths):
        now = width << stage
        for block in range(depth):
            p = f"image_encoder.layers.{stage}.blocks.{block}"
            out |= {
                **_pair(f"{p}.norm1", (now,)),
                f"{p}.attn.relative_position_bias_table": ((2 * window - 1) ** 2, heads[stage]),
                **_pair(f"{p}.attn.qkv", (3 * now, now)),
                **_pair(f"{p}.attn.proj", (now, now)),
                **_pair(f"{p}.norm2", (now,)),
                **_pair(f"{p}.mlp.fc1", (mlp * now, now)),
                **_pair(f"{p}.mlp.fc2", (now, mlp * now)),
            }
        if stage < len(depths) - 1:
            p = f"image_encoder.layers.{stage}.downsample"
            out |= {f"{p}.reduction.weight": (2 * now, 4 * now), **_pair(f"{p}.norm", (4 * now,))}
    return out | _pair("image_encoder.norm", (now,))


def buffers(depths: tuple[int, ...], window: int, image: int) -> dict[str, Tensor]:
    """What the reference keeps beside the weights, for square images of this many pixels."""
    out: dict[str, Tensor] = {}
    area = [(i, j) for i in range(window) for j in range(window)]
    offsets = [
        [(i - k + window - 1) * (2 * window - 1) + j - m + window - 1 for k, m in area]
        for i, j in area
    ]
    for stage, depth in enumerate(depths):
        side, by = image // 4 >> stage, window // 2
        for block in range(depth):
            p = f"image_encoder.layers.{stage}.blocks.{block}"
            out[f"{p}.attn.relative_position_index"] = torch.tensor(offsets)
            if block % 2 and side > window:
                parts = [slice(0, -window), slice(-window, -by), slice(-by, None)]
                region = torch.zeros(side, side)
                for i, rows in enumerate(parts):
                    for j, columns in enumerate(parts):
                        region[rows, columns] = 3 * i + j
                masks = [
                    region[top : top + window, left : left + window].flatten()
                    for top in range(0, side, window)
                    for left in range(0, side, window)
                ]
                apart = torch.stack([m[:, None] != m[None, :] for m in masks])
                out[f"{p}.attn_mask"] = -100.0 * apart.float()
    return out


def random_weights(wanted: Shapes, seed: int = 0) -> Weights:
    """Every tensor away from what a fresh model has."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in wanted.items():
        value = torch.randn(shape, generator=generator)
        if len(shape) < 2:
            weights[name] = 0.3 * value + name.endswith("weight")
        elif "table" in name or "embedding" in name:
            weights[name] = value
        else:
            weights[name] = value / math.sqrt(math.prod(shape[1:]))
    return weights


def _pair(p: str, shape: tuple[int, ...]) -> Shapes:
    return {f"{p}.weight": shape, f"{p}.bias": shape[:1]}
