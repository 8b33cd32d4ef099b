"""How UniCL's checkpoints were published: one .pth file whose shapes tell the configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seesay.checkpoints.files import Source
from seesay.checkpoints.keymap import Computed, Drop, KeyMap, Rename, Rule, Split, Transpose
from seesay.errors import CheckpointError
from seesay.families.florence.configs import FlorenceConfig
from seesay.families.florence.processing import published_settings
from seesay.family import Layout
from seesay.networks.causaltext import CausalTextConfig
from seesay.networks.swin import SwinConfig, window_of
from seesay.nn.windows import relative_bias, shifted_mask
from seesay.processing.bytepairs import published_end
from seesay.protocols import Processor

IMAGE, TEXT = ("image_encoder", "visual"), ("text_encoder", "lang_encoder", "text")
"""What the towers are called: the released name, which is written, then those of older code."""

HEAD_WIDTH = 64
"""Of the text tower's attention; the file does not tell it."""

_SHIFT = "who may see whom in shifted windows, made anew for every size of picture"
_OFFSETS = "the order of the table of offsets, which is counted"


def keymap(config: FlorenceConfig) -> KeyMap:
    """Keys of the release, and of the code before it."""
    rules: list[Rule] = [
        Transpose("image_projection", "image_projection.weight"),
        Transpose("vision_projection", "image_projection.weight"),
        Transpose("text_projection", "text_projection.weight"),
        Rename("logit_scale", "logit_scale"),
        *_buffers(config.image),
        Drop(f"{IMAGE[1]}.{{rest...}}.relative_position_index", why=_OFFSETS),
        Drop(f"{IMAGE[1]}.{{rest...}}.attn_mask", why=_SHIFT),
    ]
    for tower in IMAGE:
        rules += _image(tower)
    for tower in TEXT:
        rules += _text(tower)
    return KeyMap(*rules)


def _image(tower: str) -> list[Rule]:
    block, ours = f"{tower}.layers.{{s}}.blocks.{{b}}", "image.stages.{s}.blocks.{b}"
    heads = [f"{ours}.attention.{part}_proj.{{p}}" for part in "qkv"]
    return [
        Rename(f"{tower}.patch_embed.proj.{{p}}", "image.patch_embedding.{p}"),
        Rename(f"{tower}.patch_embed.norm.{{p}}", "image.patch_norm.{p}"),
        Rename(f"{block}.norm1.{{p}}", f"{ours}.attention_norm.{{p}}"),
        Split(f"{block}.attn.qkv.{{p}}", heads),
        Rename(f"{block}.attn.proj.{{p}}", f"{ours}.attention.out_proj.{{p}}"),
        Rename(f"{block}.attn.relative_position_bias_table", f"{ours}.position_bias"),
        Rename(f"{block}.norm2.{{p}}", f"{ours}.mlp_norm.{{p}}"),
        Rename(f"{block}.mlp.{{part}}.{{p}}", f"{ours}.mlp.{{part}}.{{p}}"),
        Rename(
            f"{tower}.layers.{{s}}.downsample.{{part}}.{{p}}", "image.stages.{s}.halving.{part}.{p}"
        ),
        Rename(f"{tower}.norm.{{p}}", "image.final_norm.{p}"),
    ]


def _text(tower: str) -> list[Rule]:
    block, ours = f"{tower}.resblocks.{{i}}", "text.blocks.{i}"
    heads = [f"{ours}.attention.{part}_proj" for part in "qkv"]
    return [
        Rename(f"{tower}.token_embedding.weight", "text.token_embedding.weight"),
        Rename(f"{tower}.positional_embedding", "text.position_embedding"),
        Rename(f"{block}.ln_1.{{p}}", f"{ours}.attention_norm.{{p}}"),
        Split(f"{block}.attn.in_proj_weight", [f"{head}.weight" for head in heads]),
        Split(f"{block}.attn.in_proj_bias", [f"{head}.bias" for head in heads]),
        Rename(f"{block}.attn.out_proj.{{p}}", f"{ours}.attention.out_proj.{{p}}"),
        Rename(f"{block}.ln_2.{{p}}", f"{ours}.mlp_norm.{{p}}"),
        Rename(f"{block}.mlp.c_fc.{{p}}", f"{ours}.mlp.fc1.{{p}}"),
        Rename(f"{block}.mlp.c_proj.{{p}}", f"{ours}.mlp.fc2.{{p}}"),
        Rename(f"{tower}.ln_final.{{p}}", "text.final_norm.{p}"),
    ]


def _buffers(config: SwinConfig) -> Iterator[Rule]:
    """The tensors that the reference keeps beside its weights and that count up or follow."""
    for stage, (rows, columns) in enumerate(config.grids):
        size, by = window_of(config, rows, columns)
        for block in range(config.depths[stage]):
            name = f"{IMAGE[0]}.layers.{stage}.blocks.{block}"
            yield Computed(
                f"{name}.attn.relative_position_index", partial(_offsets, size), why=_OFFSETS
            )
            if by and block % 2:
                yield Computed(
                    f"{name}.attn_mask", partial(_penalty, rows, columns, size, by), why=_SHIFT
                )


def _offsets(size: int) -> Tensor:
    """The row of the table of offsets that each pair of tokens reads, [L, L]."""
    rows = torch.arange((2 * size - 1) ** 2, dtype=torch.float64)[:, None]
    return relative_bias(rows, size)[0].long()


def _penalty(rows: int, columns: int, size: int, by: int) -> Tensor:
    """What the reference adds to the scores of a shifted map, [W, L, L]."""
    return torch.where(shifted_mask(rows, columns, size, by), 0.0, -100.0)


def read_config(source: Source) -> FlorenceConfig:
    """Read the configuration off the shapes.

    Raises:
        CheckpointError: The towers are not those of a UniCL model on Swin.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in source.tensors.items()}
    if any(".modulation." in name for name in shapes):
        raise CheckpointError(
            f"{source.path} has a FocalNet as image tower, and seesay has only UniCL on Swin"
        )
    try:
        return FlorenceConfig(
            embed_width=shapes["text_projection"][1],
            image=_swin_of(_inside(shapes, IMAGE)),
            text=_text_of(_inside(shapes, TEXT)),
        )
    except (KeyError, IndexError) as error:
        raise CheckpointError(
            f"{source.path} has tensors, but not UniCL's ({error} is not among them)"
        ) from None


Shapes = Mapping[str, tuple[int, ...]]


def _inside(shapes: Shapes, towers: tuple[str, ...]) -> Shapes:
    """The shapes of one tower, without its name."""
    prefixes = tuple(f"{tower}." for tower in towers)
    return {
        name.split(".", 1)[1]: shape for name, shape in shapes.items() if name.startswith(prefixes)
    }


def _swin_of(shapes: Shapes) -> SwinConfig:
    width, _, patch, _ = shapes["patch_embed.proj.weight"]
    depths = tuple(
        _count(shapes, rf"layers\.{stage}\.blocks\.(\d+)\.")
        for stage in range(_count(shapes, r"layers\.(\d+)\."))
    )
    table = "layers.{}.blocks.0.attn.relative_position_bias_table"
    window = (isqrt(shapes[table.format(0)][0]) + 1) // 2
    masks = {
        stage: shapes.get(f"layers.{stage}.blocks.1.attn_mask") for stage in range(len(depths))
    }
    # a mask for each window of the trained size; where there is none, the size of all releases
    sides = (isqrt(mask[0]) * window * patch << stage for stage, mask in masks.items() if mask)
    side = next(sides, 224)
    return SwinConfig(
        image_size=(side, side),
        patch_size=patch,
        width=width,
        depths=depths,
        num_heads=tuple(shapes[table.format(stage)][1] for stage in range(len(depths))),
        window_size=window,
        mlp_ratio=shapes["layers.0.blocks.0.mlp.fc1.weight"][0] / width,
    )


def _text_of(shapes: Shapes) -> CausalTextConfig:
    vocab_size, width = shapes["token_embedding.weight"]
    return CausalTextConfig(
        vocab_size=vocab_size,
        max_length=shapes["positional_embedding"][0],
        width=width,
        depth=_count(shapes, r"resblocks\.(\d+)\."),
        num_heads=width // HEAD_WIDTH,
        mlp_width=shapes["resblocks.0.mlp.c_fc.weight"][0],
        activation="quick_gelu",
        eps=1e-12,
        end_id=published_end(vocab_size),
    )


def _count(shapes: Shapes, pattern: str) -> int:
    found = (re.match(pattern, name) for name in shapes)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def read_settings(source: Source, config: FlorenceConfig) -> dict[str, Any]:
    """All releases were trained alike."""
    return published_settings(config.image.image_size[0])


def is_unicl(source: Source) -> bool:
    """Whether the tensors have UniCL's names."""
    names = source.tensors
    projected = "image_projection" in names or "vision_projection" in names
    return projected and any(f"{tower}.patch_embed.proj.weight" in names for tower in IMAGE)


def write_companions(config: FlorenceConfig, processor: Processor, folder: Path) -> str:
    """Nothing lies beside the weights; the reference must be able to use them.

    Raises:
        CheckpointError: The reference would cut pictures of this size into other windows.
    """
    image = config.image
    height, width = image.image_size
    window = image.window_size << (len(image.depths) - 1)
    if height != width or height % (window * image.patch_size):
        raise CheckpointError(
            f"UniCL's layout has square images that whole windows fill at every stage, not "
            f"{height} x {width} pixels",
            f"a multiple of {window * image.patch_size} is",
        )
    return "model.pth"


UNICL = Layout(
    name="unicl",
    files=("*.pth", "*.pt", "*.bin", "*.safetensors"),
    recognises=is_unicl,
    config=read_config,
    settings=read_settings,
    keymap=keymap,
    companions=write_companions,
    wrapped="model",
)

LAYOUTS = (UNICL,)
