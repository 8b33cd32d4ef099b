"""Prompts about the pictures of `made`, and a small model that follows prompts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch

import seesay
from seesay.families.florence2.processing import published_settings
from seesay.model import Model
from seesay.processing.bytelevel import SPECIAL, ByteLevelTokenizer
from seesay.train.config import TrainConfig
from train import asked, made

PLACES = ("<loc_0>", "<loc_500>", "<loc_999>")
"""All that halves of a picture need."""
BYTES = [*map(chr, range(33, 127)), "Ġ"]
"""The letters of ASCII as they stand in vocabularies; the last is the space."""


def rows(folder: Path, count: int = 14) -> Path:
    """Write what colour each picture has, on which side, and where; return the listing."""
    table = made.pictures(folder, count)
    found = []
    for line in table.read_text().splitlines()[1:]:
        name, text, _ = line.split(",")
        colour, side = text.split(" on the ")
        left = "<loc_0><loc_0><loc_500><loc_999>"
        right = "<loc_500><loc_0><loc_999><loc_999>"
        place = left if side == "left" else right
        for prefix, suffix in (
            ("<VQA>side?", side),
            ("<VQA>colour, please?", [colour, colour, f"it is {colour}"]),
            ("<OD>", f"{colour}{place}"),
        ):
            found.append({"image": name, "prefix": prefix, "suffix": suffix})
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, found)))
    return path


def steady(folder: Path, dropout: float = 0.0) -> Path:
    """Write a tiny model that knows ASCII and few places; return the folder of its checkpoint.

    Its weights are drawn so that what is seen does not drown in the positions, nor words in
    residuals: those of a released model do not let it either.
    """
    created = seesay.create("florence2-tiny", seed=3)
    tokens = [*SPECIAL[:4], *BYTES, *PLACES]
    sizes = {"width": 32, "encoder_depth": 1, "decoder_depth": 1, "mlp_width": 64}
    text = dataclasses.replace(
        created.config.text, dropout=dropout, vocab_size=len(tokens), max_length=80, **sizes
    )
    image = dataclasses.replace(created.config.image, depths=(1, 1, 1, 1), image_size=(32, 32))
    config = dataclasses.replace(created.config, text=text, image=image)
    family = created.family
    folder.mkdir(parents=True)
    vocabulary = {token: i for i, token in enumerate(tokens)}
    ByteLevelTokenizer(vocabulary, (), PLACES).save(folder)
    processor = family.make_processor(config, published_settings(32), folder)
    torch.manual_seed(2)
    module = family.build(config)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, (torch.nn.Linear, torch.nn.Conv2d)):
                part.weight.normal_(std=part.weight[0].numel() ** -0.5)
        for table in (module.projector.columns, module.projector.rows, module.projector.frames):
            table.mul_(0.1)
    Model(module, processor, family, config, name="steady", fingerprint="random").save(
        folder / "model"
    )
    return folder / "model"


def config(path: Path, base: Path, **changed: object) -> TrainConfig:
    """Return a run of such a model that takes a second or two."""
    told = {"model": str(base), "init": "pretrained"} | changed
    return asked.config(path, "instruct", **told)
