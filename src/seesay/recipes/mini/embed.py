"""Rendered drawings through the frozen trunk, once: what training reads afterwards.

Under WORK/features/<kind>/<source>: `maps.npy` [N, 112, 14, 14] is the last map of stride 16,
`pooled.npy` [N, 1280] the pooled head, both fp16; `rows.jsonl` says which drawing each row is.
Everything past stride 16 can be computed, and trained, from the maps at a third of the cost.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seesay.networks.efficientnet import (
    EfficientNet,
    EfficientNetConfig,
    fold_batch_norm,
    from_reference,
)
from seesay.recipes.mini import drawings
from seesay.recipes.mini.drawings import Drawing
from seesay.recipes.mini.render import KINDS, Renderer
from seesay.recipes.mini.sources import LINEABLE, SCENIC, SOURCES, TRUNK

UNSEEN = "openmoji"
STRIDE_16 = 4
"""Index of the last stage of stride 16."""

_BATCH = 32


def load_trunk(packages: Path) -> EfficientNet:
    """Return the published trunk with its batch normalisation folded in."""
    trunk = EfficientNet(EfficientNetConfig(batch_norm=False))
    trunk.load_state_dict(fold_batch_norm(published_trunk(packages)))
    return trunk.eval().requires_grad_(False)


def published_trunk(packages: Path) -> dict[str, Tensor]:
    """Return the published weights under our names."""
    path = next((packages / TRUNK.folder).glob("*/models/*.pth"))
    published = torch.load(path, map_location="cpu", weights_only=True)
    return from_reference(published, EfficientNetConfig())


def to_pixels(pictures: list[Image.Image]) -> Tensor:
    """RGB pictures of one size to the trunk's input [B, 3, h, w]."""
    batch = np.stack([np.asarray(p) for p in pictures])
    return (torch.from_numpy(batch).permute(0, 3, 1, 2).float() - 127.0) / 128.0


def embed_all(work: Path) -> None:
    """Fill WORK/features; a source that is finished is skipped."""
    packages = work / "packages"
    trunk, renderer = load_trunk(packages), Renderer(packages)
    for kind in KINDS:
        for source in (*SOURCES, UNSEEN):
            folder = work / "features" / kind / source
            if (folder / "rows.jsonl").exists() or not wanted(kind, source):
                continue
            found = (
                drawings.clipart_drawings(packages)
                if source == "openclipart"
                else drawings.emoji_drawings(packages, source)
            )
            if kind != "plain":
                found = [d for d in found if not d.held_out]
            folder.mkdir(parents=True, exist_ok=True)
            _embed(trunk, renderer, found, kind, folder)


def wanted(kind: str, source: str) -> bool:
    """Whether a source is rendered in this kind."""
    if kind == "outlined":
        return source in LINEABLE
    return kind == "plain" or source in SCENIC


def _embed(
    trunk: EfficientNet, renderer: Renderer, found: list[Drawing], kind: str, folder: Path
) -> None:
    kept: list[Drawing] = []
    maps, pooled = [], []
    for start in range(0, len(found), _BATCH):
        some = found[start : start + _BATCH]
        pictures = [renderer.render(d, kind) for d in some]
        good = [(d, p) for d, p in zip(some, pictures, strict=True) if p is not None]
        if not good:
            continue
        kept += [d for d, _ in good]
        with torch.inference_mode():
            x = trunk.stem(to_pixels([p for _, p in good]))
            for i, stage in enumerate(trunk.stages):
                x = stage(x)
                if i == STRIDE_16:
                    maps.append(x.half().numpy())
            pooled.append(trunk.head(x).mean((2, 3)).half().numpy())
    np.save(folder / "maps.npy", np.concatenate(maps))
    np.save(folder / "pooled.npy", np.concatenate(pooled))
    partial = folder / "rows.partial"
    drawings.write(partial, kept)
    os.replace(partial, folder / "rows.jsonl")
