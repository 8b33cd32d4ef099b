"""The contrastive stages on a tiny model and made-up caches: they learn, and only what they may."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from seesay.families.mini.configs import tiny
from seesay.families.mini.model import STRIDE_16, Mini
from seesay.families.mini.processing import SHIPPED, TOKENIZER
from seesay.recipes.mini import drawings, fit
from seesay.recipes.mini.drawings import Drawing
from seesay.recipes.mini.embed import UNSEEN, wanted
from seesay.recipes.mini.render import KINDS
from seesay.recipes.mini.sources import SOURCES
from seesay.recipes.mini.stages import train
from seesay.train.config import LoopConfig, OptimConfig, ScheduleConfig

NOUNS = {"cat": "猫", "bus": "公交车", "apple": "苹果", "tree": "树", "moon": "月亮", "shoe": "鞋"}


@pytest.fixture
def model() -> Mini:
    torch.manual_seed(0)
    return Mini(tiny()).eval()


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(SHIPPED / TOKENIZER))


@pytest.fixture
def work(tmp_path: Path, model: Mini) -> Path:
    """A cache as `embed` writes it: each concept has a pattern of its own, each source a noise."""
    random = np.random.default_rng(0)
    width, side = model.trunk.config.stages()[STRIDE_16][-1], 4
    patterns = {noun: random.normal(size=(width, side, side)) for noun in NOUNS}
    pooled = {noun: random.normal(size=model.config.head_width) for noun in NOUNS}
    for kind in KINDS:
        for source in SOURCES:
            if not wanted(kind, source):
                continue
            rows = [
                Drawing(source, noun, noun, (noun, f"{noun}, thing"), (zh,), False, "none")
                for noun, zh in NOUNS.items()
            ]
            folder = tmp_path / "features" / kind / source
            folder.mkdir(parents=True)
            noisy = [patterns[n] + random.normal(size=(width, side, side)) * 0.3 for n in NOUNS]
            means = [pooled[n] + random.normal(size=model.config.head_width) * 0.3 for n in NOUNS]
            np.save(folder / "maps.npy", np.stack(noisy).astype(np.float16))
            np.save(folder / "pooled.npy", np.stack(means).astype(np.float16))
            drawings.write(folder / "rows.jsonl", rows)
    return tmp_path


def test_line_art_and_scenes_are_never_made_of_the_unseen_vendor() -> None:
    assert wanted("plain", UNSEEN)
    assert not any(wanted(kind, UNSEEN) for kind in KINDS if kind != "plain")
    assert UNSEEN not in SOURCES


def test_the_sight_head_learns_drawings_and_nothing_else_moves(
    work: Path, model: Mini, tokenizer: Tokenizer
) -> None:
    data = fit.DrawingData(work, tokenizer, model, batch_size=24)
    kept = [noun for noun in NOUNS if not drawings.held_out(noun)]
    assert len(set(data.names.tolist())) == len(kept)
    data.standardise(model)
    fit.freeze_all_but(model, model.sight)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = LoopConfig(
        steps=60,
        optim=OptimConfig(lr=1e-2, weight_decay=0.0),
        schedule=ScheduleConfig(warmup=5),
        ema=0.8,
    )
    train(model, data, lambda b: fit.sight_loss(model, b), config, work / "run")
    log = [json.loads(line) for line in (work / "run" / "metrics.jsonl").read_text().splitlines()]
    assert log[-1]["loss"] < 0.7 * log[0]["loss"]
    moved = {n for n, tensor in model.state_dict().items() if not torch.equal(tensor, before[n])}
    assert moved
    assert all(name.startswith("sight.") or name == "logit_scale" for name in moved)
    assert not moved & {"sight.centre", "sight.spread", "sight.near", "sight.far", "sight.limit"}


def test_batches_depend_on_their_step_alone_and_mark_every_match(
    work: Path, model: Mini, tokenizer: Tokenizer
) -> None:
    data = fit.DrawingData(work, tokenizer, model, batch_size=16)
    first, again, other = data(3), data(3), data(4)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.features, other.features)
    assert bool(first.positives.diagonal().all())
    assert torch.equal(first.positives, first.positives.T)


def test_the_sight_head_speaks_up_on_drawings_and_softly_elsewhere(
    work: Path, model: Mini, tokenizer: Tokenizer
) -> None:
    data = fit.DrawingData(work, tokenizer, model, batch_size=8)
    data.standardise(model)
    model.eval()
    drawn = torch.from_numpy(data.features[:8]).float()
    with torch.no_grad():
        model.sight.near.fill_(5.0)
        model.sight.far.fill_(0.5)
        loud = model.sight(drawn).norm(dim=1)
        soft = model.sight(drawn + 6 * model.sight.spread).norm(dim=1)
    assert float(loud.min()) > 2.0
    assert float(soft.max()) < 0.7


def test_a_sure_class_gives_the_vector_of_its_name(model: Mini) -> None:
    logits = torch.full((2, model.config.num_classes), -50.0)
    logits[0, 3] = logits[1, 7] = 50.0
    with torch.no_grad():
        found = model.names(logits)
        wanted_vectors = torch.nn.functional.normalize(model.names.vectors[[3, 7]], dim=-1)
    torch.testing.assert_close(found, wanted_vectors * model.names.weight.detach())


def test_text_vectors_leave_their_common_centre(model: Mini, tokenizer: Tokenizer) -> None:
    ids, mask = fit.Encoded(tokenizer, ["a cat", "a bus"], 8)[np.array([0, 1])]
    with torch.no_grad():
        before = model.embed_text(ids, mask)
        model.text_centre.copy_(model.text(ids, mask).mean(0) * 0.5)
        after = model.embed_text(ids, mask)
    assert float(after[0] @ after[1]) < float(before[0] @ before[1])
    torch.testing.assert_close(after.norm(dim=1), torch.ones(2))
