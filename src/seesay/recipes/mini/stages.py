"""The stages of the recipe, each skipped when its result lies in WORK already."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from seesay.checkpoints.files import write_safetensors
from seesay.families.mini.configs import MiniConfig, mini
from seesay.families.mini.model import Mini
from seesay.families.mini.processing import SHIPPED
from seesay.networks.texttower import TextTower
from seesay.recipes.mini import corpus, distil, evaluate, fit, judge, seen, telling
from seesay.recipes.mini.embed import embed_all, load_trunk
from seesay.recipes.mini.export import export
from seesay.recipes.mini.sources import fetch
from seesay.train import loop
from seesay.train.config import LoopConfig, OptimConfig, ScheduleConfig
from seesay.train.state import Checkpoints

Batch = TypeVar("Batch")


def _stage(
    steps: int,
    *,
    lr: float,
    warmup: int,
    weight_decay: float,
    bf16: bool = True,
    ema: float | None = None,
) -> LoopConfig:
    return LoopConfig(
        steps=steps,
        precision="bf16" if bf16 else "fp32",
        optim=OptimConfig(lr=lr, weight_decay=weight_decay),
        schedule=ScheduleConfig(warmup=warmup, end=0.02),
        ema=ema,
        save_every=250,
    )


BAG = _stage(2500, lr=3e-3, warmup=100, weight_decay=0.01, bf16=False)
"""Text tower without blocks: the mean of its tokens. Cheap, and most of the way."""
DEEP = _stage(2000, lr=1e-3, warmup=100, weight_decay=0.01)
"""Text tower with its blocks, from there."""
SIGHT = _stage(500, lr=1e-3, warmup=50, weight_decay=0.1)
"""Sight head, text tower as it is."""
JOINT = _stage(700, lr=5e-4, warmup=50, weight_decay=0.05, ema=0.99)
"""Sight head and text tower together."""
TELL = _stage(1200, lr=1.2e-3, warmup=100, weight_decay=0.02, ema=0.995)
"""The writer, everything else as it is."""

NEAR, FAR, LIMIT = 4.0, 0.7, 1.3
"""The voice of the sight head on drawings, on everything else, and where the change lies."""
SCALE = 15.0
"""What similarities are multiplied by in classification: training's 29 is far too sure of itself on
anything new; 15 gives the gallery's photographs the likeliest captions, 20 unseen drawings."""


def prepare(work: Path) -> None:
    """Fetch the packages, render and embed the drawings."""
    fetch(work)
    embed_all(work)


def tokenizer(work: Path, parts: dict[str, list[corpus.Pair]], config: MiniConfig) -> Tokenizer:
    """Return the tokenizer, trained once."""
    path = work / "text" / "tokenizer.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        distil.train_tokenizer(parts, config.text.vocab_size).save(str(path))
    return Tokenizer.from_file(str(path))


WEIGHTS = "weights.safetensors"


def train(
    module: nn.Module,
    batch: Callable[[int], Batch],
    loss: Callable[[Batch], Tensor],
    config: LoopConfig,
    folder: Path,
) -> None:
    """Train a part of the model, going on where it was stopped, and leave it at the end's weights.

    With a running mean those are the mean's.
    """

    def keep(to: Path, weights: Mapping[str, Tensor]) -> None:
        write_safetensors(to / WEIGHTS, weights)

    learner = loop.Learner(module, batch, loop.plain(loss, config), export=keep)
    loop.fit(learner, config, folder, resume=Checkpoints(folder).last())
    module.load_state_dict(load_file(folder / "last" / WEIGHTS))


def text_tower(work: Path, config: MiniConfig) -> TextTower:
    """Return the distilled text tower, trained once."""
    parts = corpus.parts(work / "packages")
    words = tokenizer(work, parts, config)
    torch.manual_seed(0)
    shallow = TextTower(**asdict(replace(config.text, depth=0)), embed_width=config.embed_width)
    torch.manual_seed(0)
    tower = TextTower(**asdict(config.text), embed_width=config.embed_width)
    data = distil.DistilData(work, words, parts, config.text, batch_size=512)
    train(shallow, data, lambda b: distil.distil_loss(shallow, b), BAG, work / "text" / "bag")
    distil.deepen(shallow.state_dict(), tower)
    data.batch_size = 256
    train(tower, data, lambda b: distil.distil_loss(tower, b), DEEP, work / "text" / "deep")
    return tower


def assemble(work: Path, config: MiniConfig) -> tuple[Mini, Tokenizer]:
    """Return the model with its trunk and text tower in place, and the tokenizer."""
    torch.manual_seed(0)
    model = Mini(replace(config, writer=None))
    model.trunk.load_state_dict(load_trunk(work / "packages").state_dict())
    model.text.load_state_dict(text_tower(work, config).state_dict())
    words = tokenizer(work, {}, config)
    fit.name_classes(model.eval(), words)
    return model, words


def contrast(work: Path, model: Mini, words: Tokenizer) -> None:
    """Train the sight head, then both towers."""
    simple = ("plain", "outlined")
    drawn = fit.DrawingData(work, words, model, batch_size=512, kinds=simple)
    drawn.standardise(model)
    imagined = fit.ImaginedData(work, words, model, batch_size=128)
    fit.freeze_all_but(model, model.sight)
    both = fit.SightData(drawn, imagined)
    train(model, both, lambda b: fit.both_loss(model, b), SIGHT, work / "model" / "sight")
    parts = corpus.parts(work / "packages")
    told = distil.DistilData(work, words, parts, model.config.text, batch_size=128, seed=7)
    both.drawn = fit.DrawingData(work, words, model, batch_size=512)
    data = fit.JointData(both, told)
    fit.freeze_all_but(model, model.sight, model.text)
    train(model, data, lambda b: fit.joint_loss(model, b), JOINT, work / "model" / "joint")


def finish(work: Path, model: Mini, words: Tokenizer) -> None:
    """Name the classes with the trained tower and set the voice of the sight head."""
    model.eval().requires_grad_(False)
    fit.name_classes(model, words)
    for parameter, value in (
        (model.sight.near, NEAR),
        (model.sight.far, FAR),
        (model.sight.limit, LIMIT),
        (model.logit_scale, math.log(SCALE)),
    ):
        parameter.fill_(value)


def tell(work: Path, model: Mini, words: Tokenizer) -> tuple[Mini, Tokenizer]:
    """Return the model with a writer, trained on what its image tower sees, and the vocabulary."""
    config = mini()
    torch.manual_seed(0)
    whole = Mini(config)
    whole.load_state_dict({**whole.state_dict(), **model.state_dict()})
    whole.eval()
    seen.look_at_all(work, whole)
    data = telling.TellingData(work, whole, words)
    telling.standardise(whole, data)
    telling.begin(whole, data, words)
    assert whole.writer is not None
    fit.freeze_all_but(whole, whole.writer)
    whole.logit_scale.requires_grad_(False)
    for fixed in whole.writer.eye.measured():
        fixed.requires_grad_(False)
    train(
        whole.writer,
        data,
        lambda batch: telling.telling_loss(whole, batch),
        TELL,
        work / "model" / "writer",
    )
    return whole.eval().requires_grad_(False), data.words


def shipped() -> tuple[Mini, Tokenizer]:
    """Return the shipped towers, without their writer, and the text tower's tokenizer."""
    model = Mini(replace(mini(), writer=None))
    weights = load_file(SHIPPED / "model.safetensors")
    model.load_state_dict({k: v.float() for k, v in weights.items() if "writer." not in k})
    return model.eval().requires_grad_(False), Tokenizer.from_file(str(SHIPPED / "tokenizer.json"))


def run(work: Path, gallery: Path | None, out: Path, *, writer_alone: bool = False) -> None:
    """Build the model and write it, with its figures, to `out`.

    With `writer_alone` the shipped towers stay as they are, and a writer is trained on them.
    """
    prepare(work)
    if writer_alone:
        model, words = shipped()
    else:
        model, words = assemble(work, mini())
        contrast(work, model, words)
        finish(work, model, words)
    figures = evaluate.drawings(model, words, work)
    if gallery is not None:
        for kind in ("photo", "drawing"):
            figures |= evaluate.photographs(model, words, gallery, kind)
    counted = sum(p.numel() for p in model.text.parameters())
    whole, vocabulary = tell(work, model, words)
    size = export(whole, words, vocabulary, out)
    told = {"bytes": size, "text parameters": counted, **figures}
    (work / "figures.json").write_text(json.dumps(told, indent=1))
    written = judge.everything(out, work, gallery)
    (work / "writer.json").write_text(json.dumps(written, indent=1, ensure_ascii=False))
