"""The writer's training on a tiny model and made-up pictures: it learns, and nothing else moves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer

from seesay.families.mini.configs import tiny
from seesay.families.mini.model import STRIDE_16, Mini
from seesay.families.mini.processing import SHIPPED, TOKENIZER
from seesay.recipes.mini import composed, drawings, judge, sayings, seen, stages, telling
from seesay.recipes.mini.composed import Cutout
from seesay.recipes.mini.corpus import Pair
from seesay.recipes.mini.drawings import Drawing
from seesay.recipes.mini.embed import UNSEEN, wanted
from seesay.recipes.mini.render import KINDS
from seesay.recipes.mini.sources import EASY, SOURCES
from seesay.train.config import ScheduleConfig

NOUNS = ("cat face", "bus", "red apple", "tree", "moon", "running shoe")


class Imagined:
    """Stands for `fit.ImaginedData`, which needs the published trunk."""

    def __init__(self, model: Mini, count: int) -> None:
        self.count, self.width = count, model.pool_image(torch.zeros(1, 3, 64, 64)).shape[1]

    def imagine(self, step: int) -> tuple[torch.Tensor, np.ndarray]:
        generator = torch.Generator().manual_seed(step)
        return torch.rand(self.count, self.width, generator=generator), np.arange(self.count) % 5


@pytest.fixture
def model() -> Mini:
    torch.manual_seed(0)
    return Mini(tiny()).eval()


@pytest.fixture
def work(tmp_path: Path, model: Mini, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What rendering and fetching would leave, of six things and a few coloured squares."""
    random = np.random.default_rng(0)
    width = model.trunk.config.stages()[STRIDE_16][-1]
    for kind in KINDS:
        for source in (*SOURCES, UNSEEN):
            if not wanted(kind, source):
                continue
            folder = tmp_path / "features" / kind / source
            folder.mkdir(parents=True)
            rows = [Drawing(source, n, n, (n,), ("",), False, "none") for n in NOUNS]
            np.save(folder / "maps.npy", random.normal(size=(6, width, 4, 4)).astype(np.float16))
            pooled = random.normal(size=(6, model.config.head_width)).astype(np.float16)
            np.save(folder / "pooled.npy", pooled)
            drawings.write(folder / "rows.jsonl", rows)
    easy = tmp_path / "packages" / EASY.folder / "easy_vqa" / "data"
    for split in ("train", "test"):
        (easy / split / "images").mkdir(parents=True)
        asked = []
        for i, colour in enumerate(("red", "blue", "green", "black")):
            Image.new("RGB", (32, 32), colour).save(easy / split / "images" / f"{i}.png")
            asked += [("what color is the shape?", colour, i), ("is it a square?", "yes", i)]
        (easy / split / "questions.json").write_text(json.dumps(asked))
    art = [Image.new("RGBA", (40, 40), (*rgb, 255)) for _, rgb in composed.COLOURS.values()]
    things = [t for t in composed.things() if t.concept in NOUNS]
    cutouts = [Cutout(t, a, composed.colour_of(a)) for t, a in zip(things, art, strict=False)]
    monkeypatch.setattr(composed, "cutouts", lambda *_, **__: cutouts)
    monkeypatch.setattr(
        seen, "SCENES", {name: (v, held, 24) for name, (v, held, _) in seen.SCENES.items()}
    )
    monkeypatch.setattr(seen, "to_pixels", small(seen.to_pixels))
    told = {
        name: [Pair("a cat on a sofa", "沙发上的猫"), Pair("a bus", "公交车")]
        for name in ("captions", "words", "scenes", "grammar")
    }
    monkeypatch.setattr(sayings, "told", lambda: told)
    monkeypatch.setattr(telling, "ImaginedData", lambda *_, **k: Imagined(model, k["batch_size"]))
    return tmp_path


def small(to_pixels: Callable[[list[Image.Image]], torch.Tensor]) -> object:
    return lambda pictures: to_pixels([p.resize((64, 64)) for p in pictures])


@pytest.fixture
def data(work: Path, model: Mini) -> telling.TellingData:
    seen.look_at_all(work, model)
    tokenizer = Tokenizer.from_file(str(SHIPPED / TOKENIZER))
    return telling.TellingData(work, model, tokenizer, drawings=8, scenes=4, classes=3, told=3)


def test_batches_are_functions_of_their_step(data: telling.TellingData) -> None:
    for a, b in zip(data(3), data(3), strict=True):
        for one, other in zip(a, b, strict=True):
            assert one is None or torch.equal(one, other)
    assert not torch.equal(data(3)[1].vector, data(4)[1].vector)
    for view in data(5):
        each = len(view.ids) // len(view.vector)
        assert len(view.ids) == each * len(view.vector)
        assert (view.starts >= 1).all()
        assert (view.starts < view.mask.sum(1)).all()


def test_held_out_drawings_are_never_shown(data: telling.TellingData) -> None:
    for found, shown in zip(data.drawings, data.shown, strict=True):
        assert all(not drawings.held_out(found.rows[i]["concept"]) for i in shown)


def test_the_writer_learns_and_nothing_else_moves(
    data: telling.TellingData, model: Mini, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    monkeypatch.setattr(telling, "TellingData", lambda *_: data)
    monkeypatch.setattr(stages, "mini", tiny)
    quick = ScheduleConfig(warmup=2)
    told_quickly = replace(stages.TELL, steps=30, precision="fp32", schedule=quick, ema=0.8)
    monkeypatch.setattr(stages, "TELL", told_quickly)
    words = Tokenizer.from_file(str(SHIPPED / TOKENIZER))
    told, vocabulary = stages.tell(work, model, words)
    log = (work / "model" / "writer" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(log[-1])["loss"] < 0.9 * json.loads(log[0])["loss"]
    after = told.state_dict()
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert moved
    assert all(name.startswith("writer.") for name in moved)
    assert vocabulary.get_vocab_size() <= 5000


def test_controls_are_below_what_looks_and_knows() -> None:
    said = ["a dog", "two red apples", "a bus above a cat", "a tree"]
    found = judge.captioned(said, said)
    assert found["exact"] == found["word F1"] == 100
    assert found["exact shuffled"] == 0
    assert judge.word_f1("a red apple", "an apple") == pytest.approx(2 / 3)
    assert judge.word_f1("一只狗", "一只猫") == pytest.approx(2 / 3)
