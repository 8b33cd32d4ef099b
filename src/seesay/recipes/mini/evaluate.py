"""What the model reaches: drawings by split, and photographs that nothing was trained on.

Text to image. Queries are the distinct captions of a split, the gallery is all its images, and
every image with the caption is a hit. Drawings: E1 seen concepts of the unseen vendor (openmoji),
E2 unseen concepts of a seen vendor (noto), E3 unseen concepts of the unseen vendor, E4 clip art
with unseen titles. Photographs: `photos.tsv` of a gallery folder, a query for each caption.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from tokenizers import Tokenizer
from torch import Tensor

from seesay.families.mini.model import Mini
from seesay.recipes.mini.distil import Encoded
from seesay.recipes.mini.drawings import Drawing
from seesay.recipes.mini.embed import to_pixels
from seesay.recipes.mini.fit import Features, features

DEPTHS = (1, 5, 10)

Figures = dict[str, Any]


def recall(queries: Tensor, gallery: Tensor, relevant: Tensor) -> Figures:
    """Return R@k in percent, the sizes, and what chance would reach.

    Args:
        queries: Unit vectors [Q, E].
        gallery: Unit vectors [N, E].
        relevant: Boolean [Q, N].
    """
    best = (queries @ gallery.T).topk(min(max(DEPTHS), len(gallery)), dim=1).indices
    hits = relevant.gather(1, best)
    count, matching = len(gallery), relevant.sum(1).double()
    figures: Figures = {"queries": len(queries), "images": len(gallery)}
    for k in DEPTHS:
        figures[f"R@{k}"] = round(100 * float(hits[:, :k].any(1).float().mean()), 1)
        # of a random order: k draws that are not put back, all of them misses
        missed = torch.ones_like(matching)
        for drawn in range(min(k, count)):
            missed *= ((count - matching - drawn) / (count - drawn)).clamp_min(0)
        figures[f"chance@{k}"] = round(100 * float((1 - missed).mean()), 2)
    return figures


def text_vectors(model: Mini, tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """Return unit vectors [N, E] of texts."""
    encoded = Encoded(tokenizer, list(texts), model.config.text.max_length)
    with torch.inference_mode():
        parts = [
            model.embed_text(*encoded[np.arange(i, min(i + 512, len(texts)))])
            for i in range(0, len(texts), 512)
        ]
    return torch.cat(parts)


def drawings(model: Mini, tokenizer: Tokenizer, work: Path) -> dict[str, Figures]:
    """Return the figures of E1 to E4, in both languages, with and without flags."""
    openmoji = features(work, "plain", "openmoji", model.config.grid)
    noto = features(work, "plain", "noto", model.config.grid)
    clips = features(work, "plain", "openclipart", model.config.grid)
    found = {}
    for flags in (True, False):
        end = "" if flags else " without flags"
        for language in ("english", "chinese"):
            for name, source, held in (
                ("E1", openmoji, False),
                ("E2", noto, True),
                ("E3", openmoji, True),
                ("E4", clips, True),
            ):
                if name == "E4" and language == "chinese":
                    continue
                figures = _split(model, tokenizer, source, held, flags, language)
                found[f"{name} {language}{end}"] = figures
    return found


def _split(
    model: Mini, tokenizer: Tokenizer, source: Features, held: bool, flags: bool, language: str
) -> Figures:
    """One split; people in both genders are one emoji each, so only the plain ones are asked."""
    rows = [
        i
        for i, d in enumerate(source.rows)
        if d.held_out == held and (flags or not d.flag) and _plain(d)
    ]
    asked = [getattr(source.rows[i], language)[0] for i in rows]
    queries = sorted(set(asked))
    relevant = torch.tensor([[a == q for a in asked] for q in queries])
    both = np.concatenate([source.pooled[rows], source.cells[rows]], 1)
    with torch.inference_mode():
        images = model.project_image(torch.from_numpy(both).float())
    return recall(text_vectors(model, tokenizer, queries), images, relevant)


def _plain(drawing: Drawing) -> bool:
    return drawing.source == "openclipart" or drawing.english[0].lower() == drawing.concept


def photographs(
    model: Mini, tokenizer: Tokenizer, gallery: Path, kind: str = "photo"
) -> dict[str, Figures]:
    """Return the figures on a gallery's photographs, and their mean over galleries of 25."""
    with open(gallery / "photos.tsv", encoding="utf-8", newline="") as file:
        rows = [r for r in csv.DictReader(file, delimiter="\t") if r["kind"] == kind]
    width, height = (224, 224)
    opened = [ImageOps.exif_transpose(Image.open(gallery / r["file"])) for r in rows]
    small = [p.convert("RGB").resize((width, height), Image.Resampling.BICUBIC) for p in opened]
    with torch.inference_mode():
        images = model.embed_image(to_pixels(small))
    found = {}
    for language in ("english", "chinese"):
        texts, owner = [], []
        for i, row in enumerate(rows):
            for text in row[language].split(";;"):
                texts.append(text.strip())
                owner.append(i)
        queries = text_vectors(model, tokenizer, texts)
        relevant = torch.tensor(owner)[:, None] == torch.arange(len(rows))
        found[f"{kind} {language}"] = recall(queries, images, relevant)
        if len(rows) > 25:
            owners = torch.tensor(owner)
            found[f"{kind} {language}, galleries of 25"] = _small(queries, images, owners)
    return found


def _small(queries: Tensor, images: Tensor, owner: Tensor) -> Figures:
    """Mean recall over 200 random galleries of 25 images, each with its own captions."""
    generator = torch.Generator().manual_seed(0)
    collected = []
    for _ in range(200):
        some = torch.randperm(len(images), generator=generator)[:25]
        asked = torch.isin(owner, some)
        relevant = owner[asked][:, None] == some
        collected.append(recall(queries[asked], images[some], relevant))
    keys = collected[0].keys()
    return {key: round(float(np.mean([c[key] for c in collected])), 1) for key in keys}
