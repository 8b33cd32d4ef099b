"""BLIP by its equations, slowly, on state dicts with the names of its authors' files.

Independent of `seesay`: one text, one head and one image at a time, no masks but a list of the
positions that are seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]
HEAD = 64

# -- what files are made of ------------------------------------------------------------------------


def linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def image_shapes(name: str, width: int, depth: int, patch: int, image: int) -> dict[str, Any]:
    found = {
        f"{name}.cls_token": (1, 1, width),
        f"{name}.pos_embed": (1, 1 + (image // patch) ** 2, width),
        f"{name}.patch_embed.proj.weight": (width, 3, patch, patch),
        f"{name}.patch_embed.proj.bias": (width,),
    }
    for i in range(depth):
        block = f"{name}.blocks.{i}"
        found |= norm(f"{block}.norm1", width) | linear(f"{block}.attn.qkv", width, 3 * width)
        found |= linear(f"{block}.attn.proj", width, width) | norm(f"{block}.norm2", width)
        found |= linear(f"{block}.mlp.fc1", width, 4 * width)
        found |= linear(f"{block}.mlp.fc2", 4 * width, width)
    return found | norm(f"{name}.norm", width)


def text_shapes(
    name: str, vocab: int, length: int, width: int, depth: int, source: int, twin: bool = False
) -> dict[str, Any]:
    found: dict[str, Any] = {
        f"{name}.embeddings.position_ids": (1, length),
        f"{name}.embeddings.word_embeddings.weight": (vocab, width),
        f"{name}.embeddings.position_embeddings.weight": (length, width),
    } | norm(f"{name}.embeddings.LayerNorm", width)
    for i in range(depth):
        layer = f"{name}.encoder.layer.{i}"
        for part, reads in (("attention", width), ("crossattention", source)):
            twice = twin and part == "crossattention"
            for number in ("0", "1") if twice else ("",):
                own = f"{layer}.{part}.self{number}"
                found |= linear(f"{own}.query", width, width)
                found |= linear(f"{own}.key", reads, width) | linear(f"{own}.value", reads, width)
                found |= linear(f"{layer}.{part}.output.dense{number}", width, width)
            found |= norm(f"{layer}.{part}.output.LayerNorm", width)
            if twice and i >= depth // 2:
                found |= linear(f"{layer}.{part}.output.merge_layer", 2 * width, width)
        found |= linear(f"{layer}.intermediate.dense", width, 4 * width)
        found |= linear(f"{layer}.output.dense", 4 * width, width)
        found |= norm(f"{layer}.output.LayerNorm", width)
    return found


def shapes(
    kind: str,
    *,
    image: tuple[int, int, int, int] = (64, 2, 8, 24),
    text: tuple[int, int, int, int] = (61, 20, 64, 2),
    embed: int = 7,
    classes: int = 2,
    queue: int = 12,
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a file; `image` is width, depth, patch, size, `text` vocabulary, length,
    width, depth."""
    vocab, length, width, depth = text
    found = image_shapes("visual_encoder", *image)
    if kind != "captioning":
        found |= text_shapes("text_encoder", vocab, length, width, depth, image[0], kind == "nlvr")
    if kind in ("pretraining", "vqa", "captioning"):
        source = width if kind == "vqa" else image[0]
        found |= text_shapes("text_decoder.bert", vocab, length, width, depth, source)
        head = "text_decoder.cls.predictions"
        found |= linear(f"{head}.decoder", width, vocab) | {f"{head}.bias": (vocab,)}
        found |= linear(f"{head}.transform.dense", width, width)
        found |= norm(f"{head}.transform.LayerNorm", width)
    if kind in ("nlvr", "classification"):
        found |= linear("cls_head.0", width, width) | linear("cls_head.2", width, classes)
    if kind in ("pretraining", "retrieval"):
        found |= linear("vision_proj", image[0], embed) | linear("text_proj", width, embed)
        slow = {"visual_encoder", "text_encoder", "vision_proj", "text_proj"}
        found |= {
            name.replace(part, f"{part}_m", 1): shape
            for name, shape in found.items()
            if (part := name.split(".")[0]) in slow
        }
        found |= linear("itm_head", width, 2) | {"temp": ()}
        found |= {"image_queue": (embed, queue), "text_queue": (embed, queue)}
        numbers = {"queue_ptr": (1,)} if kind == "pretraining" else {"ptr_queue": (1,)}
        found |= numbers | ({} if kind == "pretraining" else {"idx_queue": (1, queue)})
    return found


def whole(name: str) -> bool:
    """Whether a tensor is of whole numbers."""
    return name.endswith(("position_ids", "queue_ptr", "ptr_queue", "idx_queue"))


def copies(kind: str, names: Mapping[str, Any]) -> dict[str, str]:
    """Names of tensors that are another one: copy to original."""
    head = "text_decoder.cls.predictions"
    found = {}
    if f"{head}.bias" in names:
        found[f"{head}.decoder.bias"] = f"{head}.bias"
        found[f"{head}.decoder.weight"] = "text_decoder.bert.embeddings.word_embeddings.weight"
    if kind == "pretraining":  # all but self-attention
        for name in names:
            if name.startswith("text_decoder.bert.") and ".attention." not in name:
                found[name] = name.replace("text_decoder.bert.", "text_encoder.")
        found[f"{head}.decoder.weight"] = "text_encoder.embeddings.word_embeddings.weight"
    return found


def random_weights(kind: str, seed: int = 0, **sizes: Any) -> dict[str, Tensor]:
    """A file's tensors, every one away from what it begins with."""
    generator, found = torch.Generator().manual_seed(seed), {}
    listed = shapes(kind, **sizes)
    for name, shape in listed.items():
        if whole(name):
            found[name] = torch.arange(shape[-1]).expand(shape)
        elif name == "temp":
            found[name] = torch.tensor(0.0415)
        else:
            spread = 2 / (torch.empty(shape)[0].numel() ** 0.5) if len(shape) > 1 else 0.5
            found[name] = torch.randn(shape, generator=generator) * spread
    return found | {copy: found[original] for copy, original in copies(kind, found).items()}


# -- what they compute -----------------------------------------------------------------------------


def affine(w: Weights, name: str, x: Tensor) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def normed(w: Weights, name: str, x: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    spread = (centred**2).mean(-1, keepdim=True)
    return centred / (spread + eps).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]


def attend(query: Tensor, key: Tensor, value: Tensor, seen: list[list[int]]) -> Tensor:
    """[L, D]: each query looks at the positions it sees, head by head."""
    rows = []
    for i, looked in enumerate(seen):
        parts = []
        for h in range(0, query.shape[1], HEAD):
            q, k, v = query[i, h : h + HEAD], key[looked, h : h + HEAD], value[looked, h : h + HEAD]
            parts.append((k @ q / HEAD**0.5).softmax(0) @ v)
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def image_tokens(w: Weights, pixels: Tensor, name: str = "visual_encoder") -> Tensor:
    """Pixels [3, h, w] to tokens [1 + P, D]."""
    kernel = w[f"{name}.patch_embed.proj.weight"]
    side = kernel.shape[-1]
    patches = [
        (kernel * pixels[:, y : y + side, x : x + side]).sum((1, 2, 3))
        + w[f"{name}.patch_embed.proj.bias"]
        for y in range(0, pixels.shape[1], side)
        for x in range(0, pixels.shape[2], side)
    ]
    x = torch.stack([w[f"{name}.cls_token"][0, 0], *patches]) + w[f"{name}.pos_embed"][0]
    everything = [list(range(len(x)))] * len(x)
    for i in range(len({n.split(".")[2] for n in w if n.startswith(f"{name}.blocks.")})):
        block = f"{name}.blocks.{i}"
        query, key, value = affine(
            w, f"{block}.attn.qkv", normed(w, f"{block}.norm1", x, 1e-6)
        ).chunk(3, -1)
        x = x + affine(w, f"{block}.attn.proj", attend(query, key, value, everything))
        hidden = F.gelu(affine(w, f"{block}.mlp.fc1", normed(w, f"{block}.norm2", x, 1e-6)))
        x = x + affine(w, f"{block}.mlp.fc2", hidden)
    return normed(w, f"{name}.norm", x, 1e-6)


def text_features(
    w: Weights, name: str, ids: Tensor, sources: list[Tensor] | None = None, causal: bool = False
) -> Tensor:
    """Features [L, D] of one text without padding that looks at no, one or two images."""
    table, positions = (
        f"{name}.embeddings.{kind}_embeddings.weight" for kind in ("word", "position")
    )
    x = normed(w, f"{name}.embeddings.LayerNorm", w[table][ids] + w[positions][: len(ids)], 1e-12)
    count = len(ids)
    own = [list(range(i + 1 if causal else count)) for i in range(count)]
    for i in range(
        sum(n.startswith(f"{name}.") and n.endswith("intermediate.dense.bias") for n in w)
    ):
        layer = f"{name}.encoder.layer.{i}"
        x = added(w, f"{layer}.attention", x, [x], own)
        if sources:
            x = added(w, f"{layer}.crossattention", x, sources, None)
        hidden = F.gelu(affine(w, f"{layer}.intermediate.dense", x))
        hidden = affine(w, f"{layer}.output.dense", hidden)
        x = normed(w, f"{layer}.output.LayerNorm", hidden + x, 1e-12)
    return x


def added(
    w: Weights, name: str, x: Tensor, sources: list[Tensor], own: list[list[int]] | None
) -> Tensor:
    """Attention to one or two sources, added and normalised."""
    numbers = [""] if len(sources) == 1 else ["0", "1"]
    found = []
    for number, source in zip(numbers, sources, strict=True):
        query, key, value = (
            affine(w, f"{name}.self{number}.{part}", of)
            for part, of in (("query", x), ("key", source), ("value", source))
        )
        seen = own or [list(range(len(source)))] * len(x)
        mixed = attend(query, key, value, seen)
        found.append(affine(w, f"{name}.output.dense{number}", mixed))
    if len(found) == 2 and f"{name}.output.merge_layer.weight" in w:
        joined = affine(w, f"{name}.output.merge_layer", torch.cat(found, -1))
    else:
        joined = sum(found) / len(found)  # type: ignore[assignment]
    return normed(w, f"{name}.output.LayerNorm", joined + x, 1e-12)


def next_token_logits(w: Weights, features: Tensor) -> Tensor:
    head = "text_decoder.cls.predictions"
    x = normed(
        w,
        f"{head}.transform.LayerNorm",
        F.gelu(affine(w, f"{head}.transform.dense", features)),
        1e-12,
    )
    return affine(w, f"{head}.decoder", x)


def classified(w: Weights, features: Tensor) -> Tensor:
    return affine(w, "cls_head.2", affine(w, "cls_head.0", features[0]).clamp(min=0))
