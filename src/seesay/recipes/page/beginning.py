"""A start that is nearly right: what is near is alike, and looking at a letter writes it.

From the usual start a writer of this size learns for long to write likely letters, looking nowhere.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.families.florence2.model import Florence2
from seesay.processing.bytelevel import ByteLevelTokenizer
from seesay.recipes.page.characters import CLASSES, LETTERS

HEAD = 64
"""Channels of a head."""


@torch.no_grad()
def smooth(model: Florence2, first_place: int) -> None:
    """Begin with tables in which what is near is alike, in prompts as in the picture."""
    text: Any = model.text
    width = text.config.width
    for module in text.modules():
        if isinstance(module, nn.Linear):  # 0.02, which is meant for 768 channels, hardly moves
            nn.init.normal_(module.weight, std=0.8 * width**-0.5)
    across = rulers(torch.arange(1000), width // 2)
    table = text.token_embedding.weight
    table[first_place : first_place + 1000] = 0.06 * torch.cat([across, across], -1)
    rows, columns = model.config.image.grid(*model.config.image.image_size)
    x = rulers((torch.arange(columns) + 0.5) * 1000 / columns, width // 2)
    y = rulers((torch.arange(rows) + 0.5) * 1000 / rows, width // 2)
    placed = torch.cat([x.expand(rows, -1, -1), y[:, None].expand(-1, columns, -1)], -1)
    text.encoder.positions[1 : 1 + rows * columns] = placed.flatten(0, 1)
    # eight tokens of a prompt are lost among hundreds of the picture, so one head turns to them
    asked = torch.randn(width)
    text.encoder.positions[1 + rows * columns :] += 0.03 * asked
    for layer in text.encoder.layers:
        turned(layer.attention, 2, asked)
    for layer in text.decoder.layers:
        turned(layer.cross_attention, 2, asked)


@torch.no_grad()
def align(model: Florence2, seen: Tensor, letters: Tensor, tokenizer: ByteLevelTokenizer) -> None:
    """Let a letter's token lie where the tower puts pictures of it.

    Once the tower knows letters, a linear map from its features tells which are in a square. Its
    rows become the letters' tokens; one head of the writer passes on what it looks at in just these
    directions.

    Args:
        model: With a trained tower.
        seen: What that makes of some pages [B, rows, columns, D].
        letters: Which letters are where, int64 [B, rows, columns, 8].
        tokenizer: The model's.
    """
    text: Any = model.text
    told = letters.flatten(0, 2)
    there = F.one_hot(told, CLASSES).sum(1)[:, 1:].clamp(max=1).float()
    inked = (told > 0).any(1)
    x, y = F.layer_norm(seen, seen.shape[-1:]).flatten(0, 2)[inked], there[inked]
    x, y = x - x.mean(0), y - y.mean(0)
    found = torch.linalg.solve(x.T @ x + 30 * torch.eye(x.shape[1]), x.T @ y).T
    rows = F.normalize(found, dim=1)
    main = torch.linalg.svd(rows)[2][:HEAD]  # [head, D]
    model.projector.projection.weight.copy_(torch.eye(x.shape[1]))
    for letter, row in zip(LETTERS, rows, strict=True):
        if letter in tokenizer.vocabulary:
            text.token_embedding.weight[tokenizer.vocabulary[letter]] = 0.6 * row
    for layer in text.encoder.layers:  # what the tower saw is to come through
        layer.attention.out_proj.weight[:, : 2 * HEAD] *= 0.3
        layer.mlp.fc2.weight *= 0.3
    for layer in text.decoder.layers[1:3]:
        layer.cross_attention.v_proj.weight[:HEAD] = main
        layer.cross_attention.out_proj.weight[:, :HEAD] = main.T
    first = text.decoder.layers[1].cross_attention
    first.q_proj.weight[:HEAD] = 1.2 * main
    first.k_proj.weight[:HEAD] = 1.2 * main


def turned(attention: Any, head: int, towards: Tensor) -> None:
    """Have a head look at keys that share a direction, and pass on what they are as it is."""
    part = slice(head * HEAD, (head + 1) * HEAD)
    found = attention.k_proj.weight[part] @ towards * 0.7
    attention.q_proj.weight[part] *= 0.3
    attention.q_proj.bias[part] = 7 * HEAD**0.5 * found / found.square().sum()
    drawn = torch.cat([towards[:, None], torch.randn(len(towards), HEAD)], 1)
    plain = torch.linalg.qr(drawn)[0][:, 1:]  # [D, head], all but the shared direction
    attention.v_proj.weight[part] = plain.T
    attention.out_proj.weight[:, part] = 1.5 * plain


def rulers(bins: Tensor, width: int) -> Tensor:
    """Return waves [N, width] of places given in bins, from two tokens' length to four pictures'.

    A place in a prompt and a place in the picture are then alike from the start.
    """
    lengths = 80 * 50 ** (torch.arange(width // 2) / (width // 2 - 1))
    angles = 2 * torch.pi * bins[:, None] / lengths
    return torch.cat([angles.sin(), angles.cos()], -1)
