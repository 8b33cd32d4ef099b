"""Contrastive training of the sight head, and of the text tower with it, on cached features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from seesay.families.mini.model import Mini
from seesay.recipes.mini import corpus, drawings
from seesay.recipes.mini.distil import DistilData, Encoded, distil_loss
from seesay.recipes.mini.drawings import Drawing
from seesay.recipes.mini.embed import published_trunk, wanted
from seesay.recipes.mini.render import KINDS
from seesay.recipes.mini.sources import SOURCES
from seesay.train.objectives import info_nce


@dataclass
class Features:
    """Cached trunk features of some drawings: pooled [N, D] and grid [N, D' grid^2], fp16."""

    rows: list[Drawing]
    pooled: np.ndarray
    cells: np.ndarray


def features(work: Path, kind: str, source: str, grid: int) -> Features:
    """Read what `embed` cached; the map is averaged over the grid once and kept beside it."""
    folder = work / "features" / kind / source
    path = folder / f"cells{grid}.npy"
    if not path.exists():
        maps = np.load(folder / "maps.npy", mmap_mode="r")
        parts = [
            F.adaptive_avg_pool2d(torch.from_numpy(maps[i : i + 256].astype(np.float32)), grid)
            for i in range(0, len(maps), 256)
        ]
        np.save(path, torch.cat(parts).flatten(1).half().numpy())
    rows = list(drawings.read(folder / "rows.jsonl"))
    return Features(rows, np.load(folder / "pooled.npy"), np.load(path))


class Batch(NamedTuple):
    """Features [B, D], ids and mask [B, L], and which images and texts match [B, B]."""

    features: Tensor
    ids: Tensor
    mask: Tensor
    positives: Tensor


ENGLISH_FRAMES = ("{}", "{}", "{}", "a {}", "a drawing of a {}", "a picture of a {}", "{} emoji")
CHINESE_FRAMES = ("{}", "{}", "{}", "一个{}", "{}的图画", "一张{}的图片")


class DrawingData:
    """Batches of drawings with one caption each, functions of their step alone."""

    def __init__(
        self,
        work: Path,
        tokenizer: Tokenizer,
        model: Mini,
        batch_size: int,
        kinds: Sequence[str] = KINDS,
        seed: int = 0,
    ) -> None:
        self.batch_size, self.seed = batch_size, seed
        max_length = model.config.text.max_length
        found = [
            features(work, kind, source, model.config.grid)
            for kind in kinds
            for source in SOURCES
            if wanted(kind, source)
        ]
        seen = [np.array([not d.held_out for d in f.rows]) for f in found]
        pooled = np.concatenate([f.pooled[keep] for f, keep in zip(found, seen, strict=True)])
        cells = np.concatenate([f.cells[keep] for f, keep in zip(found, seen, strict=True)])
        self.features = np.concatenate([pooled, cells], 1)
        self.plain = sum(int(keep.sum()) for keep in seen[: len(SOURCES)])
        rows = [d for f in found for d in f.rows if not d.held_out]
        names = {name: i for i, name in enumerate(sorted({d.english[0].lower() for d in rows}))}
        self.names = np.array([names[d.english[0].lower()] for d in rows])
        self.captions: list[list[int]] = []
        texts: dict[str, int] = {}
        for d in rows:
            self.captions.append([texts.setdefault(t, len(texts)) for t in _framed(d)])
        self.encoded = Encoded(tokenizer, list(texts), max_length)

    def standardise(self, model: Mini) -> None:
        """Give the sight head the mean and spread of its inputs over undisturbed drawings."""
        x = torch.from_numpy(self.features[: self.plain]).float()
        with torch.no_grad():
            model.sight.centre.copy_(x.mean(0))
            model.sight.spread.copy_(x.std(0) + 0.02)

    def __call__(self, step: int) -> Batch:
        """Return the batch of a step."""
        rng = np.random.default_rng([self.seed, step])
        rows = rng.integers(0, len(self.names), self.batch_size)
        texts = np.array([self.captions[i][rng.integers(len(self.captions[i]))] for i in rows])
        ids, mask = self.encoded[texts]
        names = torch.from_numpy(self.names[rows])
        said = torch.from_numpy(texts)
        positives = (names[:, None] == names) | (said[:, None] == said)
        return Batch(torch.from_numpy(self.features[rows]).float(), ids, mask, positives)


def _framed(drawing: Drawing) -> list[str]:
    """The captions of a drawing as people would type them; the name weighs most."""
    name = drawing.english[0]
    found = [frame.format(name) for frame in ENGLISH_FRAMES] + list(drawing.english[1:]) * 2
    if drawing.chinese:
        name = drawing.chinese[0]
        found += [frame.format(name) for frame in CHINESE_FRAMES] + list(drawing.chinese[1:]) * 2
    if drawing.flag and drawing.english[0].startswith("flag: "):
        country = drawing.english[0].removeprefix("flag: ")
        found += [f"the flag of {country}", f"{country} flag"] * 2
        if "：" in drawing.chinese[0] or ":" in drawing.chinese[0]:
            found += [drawing.chinese[0].replace("：", ":").split(":")[1].strip() + "国旗"] * 2
    return found


def sight_loss(model: Mini, batch: Batch) -> Tensor:
    """Return the contrastive loss of the sight head and the text tower on a batch."""
    seen = F.normalize(model.sight(batch.features).float(), dim=-1)
    said = model.embed_text(batch.ids, batch.mask)
    scale = model.logit_scale.clamp(max=4.6)
    return info_nce(seen, said, scale, positives=batch.positives)


class ImaginedData:
    """Batches of what the trunk might make of a photograph of one of its classes.

    No photograph is at hand, but the trunk remembers them in two places: the batch normalisation
    of its last convolution tells the mean and spread of every channel, and the classifier's rows
    tell in which direction a class departs from them. A sample is the mean, some noise, and the
    row of a class scaled until the class is as likely as photographs make it. Texts are the names
    of the class in both languages and the scenes in which it is seen.
    """

    def __init__(
        self, work: Path, tokenizer: Tokenizer, model: Mini, batch_size: int, seed: int = 1
    ) -> None:
        self.batch_size, self.seed = batch_size, seed
        self.mean, self.spread = photograph_statistics(work)
        rows = model.trunk.classifier.weight.detach()  # type: ignore[union-attr]
        self.bias = model.trunk.classifier.bias.detach()  # type: ignore[union-attr]
        self.rows = rows
        self.departures = self.spread.square() * (rows - rows.mean(0))
        self.cells = model.sight.centre.detach()[model.config.head_width :].clone()
        self.cell_spread = model.sight.spread.detach()[model.config.head_width :].clone()
        scenes = {int(r["index"]): r["english"].split(";") for r in corpus.rows("scenes.tsv")}
        self.texts: list[list[int]] = []
        texts: dict[str, int] = {}
        for index, (english, chinese) in enumerate(corpus.class_names()):
            said = [*english, *(f"a photo of {corpus.a(e)}" for e in english[:2])]
            said += [*chinese, *(f"{z}的照片" for z in chinese[:1]), *scenes.get(index, [])]
            self.texts.append([texts.setdefault(t, len(texts)) for t in said])
        self.encoded = Encoded(tokenizer, list(texts), model.config.text.max_length)

    def __call__(self, step: int) -> Batch:
        """Return the batch of a step."""
        rng = np.random.default_rng([self.seed, step])
        kinds = rng.integers(0, len(self.texts), self.batch_size)
        texts = np.array([self.texts[k][rng.integers(len(self.texts[k]))] for k in kinds])
        ids, mask = self.encoded[texts]
        features = self._features(rng, kinds)
        kind, said = torch.from_numpy(kinds), torch.from_numpy(texts)
        positives = (kind[:, None] == kind) | (said[:, None] == said)
        return Batch(features, ids, mask, positives)

    def imagine(self, step: int) -> tuple[Tensor, np.ndarray]:
        """Return the features of a step's photographs, and the classes they are of."""
        rng = np.random.default_rng([self.seed, step])
        kinds = rng.integers(0, len(self.texts), self.batch_size)
        return self._features(rng, kinds), kinds

    def _features(self, rng: np.random.Generator, kinds: np.ndarray) -> Tensor:
        noise = torch.from_numpy(rng.standard_normal((len(kinds), len(self.mean))))
        start = self.mean + noise.float() * self.spread
        goal = torch.from_numpy(rng.uniform(6.0, 11.0, len(kinds))).float()
        row, departure = self.rows[kinds], self.departures[kinds]
        missing = goal - self.bias[kinds] - (start * row).sum(1)
        length = missing.clamp(min=0) / (departure * row).sum(1)
        pooled = (start + length[:, None] * departure).clamp(min=0)
        noise = torch.from_numpy(rng.standard_normal((len(kinds), len(self.cells)))).float()
        cells = self.cells + noise * self.cell_spread
        return torch.cat([pooled, cells], 1)


def photograph_statistics(work: Path) -> tuple[Tensor, Tensor]:
    """Return the mean and spread [D] of the pooled features over the trunk's training photographs.

    Before its ReLU6 a channel is taken as normal with the recorded scale and shift. Neighbouring
    places of a picture agree, so pooling leaves about half of the spread.
    """
    state = published_trunk(work / "packages")
    scale, shift = state["head.norm.weight"], state["head.norm.bias"]
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(4096, len(scale), generator=generator) * scale.abs() + shift
    active = drawn.clamp(0, 6)
    return active.mean(0), 0.5 * active.std(0)


@dataclass
class SightData:
    """Drawings and imagined photographs of a step."""

    drawn: DrawingData
    imagined: ImaginedData

    def __call__(self, step: int) -> tuple[Batch, Batch]:
        """Return the batches of a step."""
        return self.drawn(step), self.imagined(step)


@dataclass
class JointData:
    """Pictures and, for the text tower to keep what was never drawn, text alone."""

    pictures: SightData
    told: DistilData

    def __call__(self, step: int) -> tuple[tuple[Batch, Batch], tuple[Tensor, Tensor, Tensor]]:
        """Return the batches of a step."""
        return self.pictures(step), self.told(step)


def both_loss(model: Mini, batches: tuple[Batch, Batch]) -> Tensor:
    """Return the contrastive losses of drawings and of imagined photographs."""
    return sight_loss(model, batches[0]) + 0.5 * sight_loss(model, batches[1])


def joint_loss(
    model: Mini, batches: tuple[tuple[Batch, Batch], tuple[Tensor, Tensor, Tensor]]
) -> Tensor:
    """Return the loss of the joint stage: pictures, and three times the distillation."""
    return both_loss(model, batches[0]) + 3.0 * distil_loss(model.text, batches[1])


def freeze_all_but(model: Mini, *parts: nn.Module) -> None:
    """Train these parts and the logit scale alone."""
    model.requires_grad_(False)
    for part in parts:
        part.requires_grad_(True)
    sight = model.sight
    for fixed in (sight.centre, sight.spread, sight.near, sight.far, sight.limit):
        fixed.requires_grad_(False)
    model.logit_scale.requires_grad_(True)


def name_classes(model: Mini, tokenizer: Tokenizer) -> None:
    """Write the vectors of the trunk's classes, as the text tower now says them, into the model.

    A class is the mean of its names in both languages and, at half weight, of the scenes in which
    photographs show it (`scenes.tsv`). The centre of texts is the mean of the photo captions.
    """
    scenes = {int(r["index"]): r["english"].split(";") for r in corpus.rows("scenes.tsv")}
    vectors = []
    for index, (english, chinese) in enumerate(corpus.class_names()):
        named = said(model, tokenizer, [f"a photo of {corpus.a(e)}" for e in english])
        vector = F.normalize(named.mean(0), dim=0)
        if chinese:
            translated = said(model, tokenizer, [z + "的照片" for z in chinese])
            vector = F.normalize(vector + 0.3 * translated.mean(0), dim=0)
        if index in scenes:
            around = said(model, tokenizer, scenes[index]).mean(0)
            vector = F.normalize(vector + 0.5 * F.normalize(around, dim=0), dim=0)
        vectors.append(vector)
    table = torch.stack(vectors)
    captions = [text for pair in corpus.captions() for text in pair]
    with torch.no_grad():
        model.names.vectors.copy_(table - table.mean(0))
        model.text_centre.copy_(said(model, tokenizer, captions).mean(0))


def said(model: Mini, tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """Return the text tower's unit vectors [N, E], not centred."""
    encoded = Encoded(tokenizer, texts, model.config.text.max_length)
    with torch.inference_mode():
        parts = [
            F.normalize(model.text(*encoded[np.arange(i, min(i + 512, len(texts)))]), dim=-1)
            for i in range(0, len(texts), 512)
        ]
    return torch.cat(parts).clone()
