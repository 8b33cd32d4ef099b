"""CLIP in OpenAI's layout, slowly and from the published formulas: an oracle for tests.

Works on a state dict in float64 with explicit sums: no fused kernels, no modules, nothing shared
with the package. Heads are 64 wide, as the published importer takes for granted, unless told.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Weights = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]


def encode_image(w: Weights, pixels: Tensor, activation: str = "quick_gelu") -> Tensor:
    """Unit vectors of images."""
    w = {name: tensor.double() for name, tensor in w.items()}
    features = (_vit if "visual.proj" in w else _resnet)(w, pixels.double(), activation)
    return features / features.norm(dim=-1, keepdim=True)


def encode_text(
    w: Weights, ids: Tensor, activation: str = "quick_gelu", heads: int | None = None
) -> Tensor:
    """Unit vectors of texts, each pooled where its highest id stands."""
    w = {name: tensor.double() for name, tensor in w.items()}
    x = w["token_embedding.weight"][ids] + w["positional_embedding"][: ids.shape[1]]
    future = torch.full((ids.shape[1], ids.shape[1]), -math.inf).double().triu(1)
    x = _blocks(w, "transformer", x, activation, future, heads or x.shape[-1] // 64)
    x = _norm(w, "ln_final", x)
    pooled = torch.stack([row[int(i.argmax())] for row, i in zip(x, ids, strict=True)])
    features = pooled @ w["text_projection"]
    return features / features.norm(dim=-1, keepdim=True)


def _vit(w: Weights, pixels: Tensor, activation: str) -> Tensor:
    kernel = w["visual.conv1.weight"]
    width, _, patch, _ = kernel.shape
    rows = []
    for y in range(0, pixels.shape[2] - patch + 1, patch):
        for x in range(0, pixels.shape[3] - patch + 1, patch):
            cut = pixels[:, :, y : y + patch, x : x + patch].flatten(1)
            rows.append(cut @ kernel.flatten(1).T)
    start = w["visual.class_embedding"].expand(len(pixels), 1, width)
    x = torch.cat([start, torch.stack(rows, 1)], 1) + w["visual.positional_embedding"]
    x = _norm(w, "visual.ln_pre", x)
    x = _blocks(w, "visual.transformer", x, activation, None, width // 64)
    return _norm(w, "visual.ln_post", x[:, 0]) @ w["visual.proj"]


def _blocks(
    w: Weights, prefix: str, x: Tensor, activation: str, bias: Tensor | None, heads: int
) -> Tensor:
    layer = 0
    while f"{prefix}.resblocks.{layer}.ln_1.weight" in w:
        p = f"{prefix}.resblocks.{layer}"
        fused = _norm(w, f"{p}.ln_1", x) @ w[f"{p}.attn.in_proj_weight"].T
        query, key, value = (fused + w[f"{p}.attn.in_proj_bias"]).split(x.shape[-1], -1)
        x = x + _linear(w, f"{p}.attn.out_proj", _attend(query, key, value, heads, bias))
        hidden = _linear(w, f"{p}.mlp.c_fc", _norm(w, f"{p}.ln_2", x))
        if activation == "quick_gelu":
            hidden = hidden / (1 + torch.exp(-1.702 * hidden))
        else:
            hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
        x = x + _linear(w, f"{p}.mlp.c_proj", hidden)
        layer += 1
    return x


def _attend(query: Tensor, key: Tensor, value: Tensor, heads: int, bias: Tensor | None) -> Tensor:
    size = query.shape[-1] // heads
    mixed = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(size)
        scores = scores if bias is None else scores + bias
        weights = torch.exp(scores - scores.amax(-1, keepdim=True))
        mixed.append(weights / weights.sum(-1, keepdim=True) @ value[..., part])
    return torch.cat(mixed, -1)


def _resnet(w: Weights, x: Tensor, activation: str) -> Tensor:
    for i, stride in ((1, 2), (2, 1), (3, 1)):
        x = _conv(x, w[f"visual.conv{i}.weight"], stride)
        x = _relu(_batch_norm(w, f"visual.bn{i}", x))
    x = _pool(x, 2)
    for stage in (1, 2, 3, 4):
        block = 0
        while f"visual.layer{stage}.{block}.conv1.weight" in w:
            stride = 2 if stage > 1 and block == 0 else 1
            x = _bottleneck(w, f"visual.layer{stage}.{block}", x, stride)
            block += 1
    tokens = x.flatten(2).transpose(1, 2)
    tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)
    tokens = tokens + w["visual.attnpool.positional_embedding"]
    query, key, value = (_linear(w, f"visual.attnpool.{part}_proj", tokens) for part in "qkv")
    heads = x.shape[1] // 64
    return _linear(w, "visual.attnpool.c_proj", _attend(query, key, value, heads, None))[:, 0]


def _bottleneck(w: Weights, p: str, x: Tensor, stride: int) -> Tensor:
    y = _relu(_batch_norm(w, f"{p}.bn1", _conv(x, w[f"{p}.conv1.weight"])))
    y = _relu(_batch_norm(w, f"{p}.bn2", _conv(y, w[f"{p}.conv2.weight"])))
    y = _batch_norm(w, f"{p}.bn3", _conv(_pool(y, stride), w[f"{p}.conv3.weight"]))
    if f"{p}.downsample.0.weight" in w:
        x = _conv(_pool(x, stride), w[f"{p}.downsample.0.weight"])
        x = _batch_norm(w, f"{p}.downsample.1", x)
    return _relu(x + y)


def _conv(x: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    """A sum over the kernel's places of shifted copies of the image."""
    side = kernel.shape[-1]
    border = side // 2
    height, width = x.shape[2:]
    padded = x.new_zeros(*x.shape[:2], height + 2 * border, width + 2 * border)
    padded[:, :, border : border + height, border : border + width] = x
    out = 0.0
    for i in range(side):
        for j in range(side):
            shifted = padded[:, :, i : i + height : stride, j : j + width : stride]
            out = out + torch.einsum("bchw,oc->bohw", shifted, kernel[:, :, i, j])
    return out  # type: ignore[return-value]


def _pool(x: Tensor, side: int) -> Tensor:
    parts = [x[:, :, i::side, j::side] for i in range(side) for j in range(side)]
    return sum(parts) / len(parts)  # type: ignore[return-value]


def _relu(x: Tensor) -> Tensor:
    return x * (x > 0)


def _batch_norm(w: Weights, p: str, x: Tensor) -> Tensor:
    def channel(name: str) -> Tensor:
        return w[f"{p}.{name}"].view(-1, 1, 1)

    scaled = (x - channel("running_mean")) / torch.sqrt(channel("running_var") + 1e-5)
    return scaled * channel("weight") + channel("bias")


def _norm(w: Weights, p: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred**2).mean(-1, keepdim=True)
    return centred / torch.sqrt(variance + 1e-5) * w[f"{p}.weight"] + w[f"{p}.bias"]


def _linear(w: Weights, p: str, x: Tensor) -> Tensor:
    return x @ w[f"{p}.weight"].T + w[f"{p}.bias"]


# -- names and shapes -----------------------------------------------------------------------------


def text_shapes(
    embed: int, width: int, depth: int, vocab: int = 49408, length: int = 77, mlp: int = 0
) -> Shapes:
    return {
        "positional_embedding": (length, width),
        "text_projection": (width, embed),
        "logit_scale": (),
        **_block_shapes("transformer", width, depth, mlp or 4 * width),
        "token_embedding.weight": (vocab, width),
        **_pair("ln_final", (width,)),
    }


def vit_shapes(embed: int, width: int, depth: int, patch: int, image: int, mlp: int = 0) -> Shapes:
    return {
        "visual.class_embedding": (width,),
        "visual.positional_embedding": ((image // patch) ** 2 + 1, width),
        "visual.proj": (width, embed),
        "visual.conv1.weight": (width, 3, patch, patch),
        **_pair("visual.ln_pre", (width,)),
        **_block_shapes("visual.transformer", width, depth, mlp or 4 * width),
        **_pair("visual.ln_post", (width,)),
    }


def resnet_shapes(embed: int, width: int, depths: tuple[int, ...], image: int) -> Shapes:
    half, features = width // 2, 32 * width
    out: Shapes = {}
    stem = (("1", 3, half), ("2", half, half), ("3", half, width))
    for i, before, after in stem:
        out |= {f"visual.conv{i}.weight": (after, before, 3, 3)}
        out |= _batch_norm_shapes(f"visual.bn{i}", after)
    before = width
    for stage, depth in enumerate(depths):
        inner = width * 2**stage
        for block in range(depth):
            p = f"visual.layer{stage + 1}.{block}"
            out |= {f"{p}.conv1.weight": (inner, before, 1, 1)}
            out |= _batch_norm_shapes(f"{p}.bn1", inner)
            out |= {f"{p}.conv2.weight": (inner, inner, 3, 3)}
            out |= _batch_norm_shapes(f"{p}.bn2", inner)
            out |= {f"{p}.conv3.weight": (4 * inner, inner, 1, 1)}
            out |= _batch_norm_shapes(f"{p}.bn3", 4 * inner)
            if block == 0:
                out |= {f"{p}.downsample.0.weight": (4 * inner, before, 1, 1)}
                out |= _batch_norm_shapes(f"{p}.downsample.1", 4 * inner)
            before = 4 * inner
    out |= {"visual.attnpool.positional_embedding": ((image // 32) ** 2 + 1, features)}
    for part in "kqv":
        out |= _pair(f"visual.attnpool.{part}_proj", (features, features))
    return out | _pair("visual.attnpool.c_proj", (embed, features))


def random_weights(shapes: Shapes, seed: int = 0) -> Weights:
    """Every tensor away from what a fresh model has; variances positive, counters whole."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            weights[name] = value.abs() + 0.5
        elif len(shape) < 2:
            weights[name] = 0.3 * value + ("weight" in name)
        else:
            fan_in = math.prod(shape[1:]) if "embedding" not in name else 4
            weights[name] = value / math.sqrt(fan_in)
    return weights


def _pair(p: str, shape: tuple[int, ...]) -> Shapes:
    return {f"{p}.weight": shape, f"{p}.bias": shape[:1]}


def _batch_norm_shapes(p: str, width: int) -> Shapes:
    names = ("weight", "bias", "running_mean", "running_var")
    return {f"{p}.{name}": (width,) for name in names} | {f"{p}.num_batches_tracked": ()}


def _block_shapes(prefix: str, width: int, depth: int, mlp: int) -> Shapes:
    out: Shapes = {}
    for i in range(depth):
        p = f"{prefix}.resblocks.{i}"
        out |= {
            f"{p}.attn.in_proj_weight": (3 * width, width),
            f"{p}.attn.in_proj_bias": (3 * width,),
            **_pair(f"{p}.attn.out_proj", (width, width)),
            **_pair(f"{p}.ln_1", (width,)),
            **_pair(f"{p}.mlp.c_fc", (mlp, width)),
            **_pair(f"{p}.mlp.c_proj", (width, mlp)),
            **_pair(f"{p}.ln_2", (width,)),
        }
    return out
