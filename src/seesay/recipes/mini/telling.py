"""Training of the writer, on what the frozen image tower saw.

Four kinds of pictures: drawings, which are named; scenes, which are captioned and asked about; the
shapes of easy-VQA; and photographs, of which there are none. For these the writer learns from the
vector alone, and the vectors are imagined: from what the trunk remembers of its classes
(`fit.ImaginedData`), and from texts, by asking which classes a picture of that text would be
taken for (the name head's way from a text; decoding from a space of texts is arXiv 2303.03032).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from seesay.families.mini.model import Mini
from seesay.families.mini.processing import padded, prefix_ids, question_ids, text_ids
from seesay.nn.attention import as_autocast
from seesay.recipes.mini import asked, evaluate, imagined, sayings, seen
from seesay.recipes.mini.composed import Thing
from seesay.recipes.mini.corpus import Pair
from seesay.recipes.mini.drawings import held_out
from seesay.recipes.mini.embed import wanted
from seesay.recipes.mini.fit import ImaginedData
from seesay.recipes.mini.render import KINDS
from seesay.recipes.mini.seen import Seen
from seesay.recipes.mini.sources import SOURCES
from seesay.types import TextBatch

CHINESE = 0.0
"""How much is said in Chinese, where the Chinese is known. There was time for English alone."""
CHINESE_PROMPT = "图中是"
"""What Chinese captions begin with; English ones begin with nothing, or with one of these."""
ENGLISH_PROMPTS = (*[""] * 9, "a picture of ")
LONGEST = 24
"""Where what is learnt is cut off, in tokens."""
UNSHOWN = 0.15
"""Part of the drawings of which the writer is shown the vector alone."""


class Row(NamedTuple):
    """One text about a picture: a question that is read, if any; what it begins with; the rest."""

    question: str | None
    prefix: str
    text: str


class View(NamedTuple):
    """Some pictures, each with n texts about it, side by side.

    `maps`, `pooled` and `vector` are what `Eye` takes of B pictures; without the first two, the
    writer sees the vectors alone. `ids` and `mask` [B * n, L] are questions and texts, `starts`
    [B * n] the positions from which on they are learnt, `answers` [B * n] which are answers.
    """

    maps: Tensor | None
    pooled: Tensor | None
    vector: Tensor
    ids: Tensor
    mask: Tensor
    starts: Tensor
    answers: Tensor


class Speech:
    """Chooses the language and the wording of what is said in a step."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def say(self, pair: Pair) -> Row:
        """Caption a picture, in Chinese where that is known and its turn."""
        if pair.chinese and self.rng.random() < CHINESE:
            return Row(None, CHINESE_PROMPT, pair.chinese)
        prompt = ENGLISH_PROMPTS[int(self.rng.integers(len(ENGLISH_PROMPTS)))]
        return Row(None, prompt, pair.english)

    def ask(self, question: Pair, answer: Pair) -> Row:
        """Ask about a picture."""
        if question.chinese and answer.chinese and self.rng.random() < CHINESE:
            return Row(question.chinese, "", answer.chinese)
        return Row(question.english, "", answer.english)


YES, NO = Pair("yes", "有"), Pair("no", "没有")
KIND = Pair("is this a photo or a drawing?", "这是照片还是图画？")
PHOTO, DRAWING = Pair("a photo", "照片"), Pair("a drawing", "图画")


class TellingData:
    """Batches that are functions of their step alone."""

    def __init__(
        self,
        work: Path,
        model: Mini,
        texts: Tokenizer,
        *,
        drawings: int = 24,
        scenes: int = 14,
        easy: int = 2,
        classes: int = 8,
        told: int = 10,
        questions: int = 4,
        seed: int = 0,
    ) -> None:
        self.seed, self.questions = seed, questions
        self.counts = (drawings, scenes, easy, told)
        called = sayings.called()
        self.drawings: list[Seen] = []
        self.names: list[list[Pair]] = []
        self.shown: list[np.ndarray] = []
        self.odds: list[np.ndarray] = []
        sizes: list[float] = []
        for kind in KINDS:
            for source in SOURCES:
                if wanted(kind, source):
                    found = seen.read(work, f"{kind}/{source}")
                    self.drawings.append(found)
                    self.names.append([sayings.drawing(row, called) for row in found.rows])
                    self.shown.append(trained_on(found))
                    weights = np.array([_weight(found.rows[i], called) for i in self.shown[-1]])
                    self.odds.append(weights / weights.sum())
                    sizes.append(float(weights.sum()))
        self.shares = np.array(sizes) / sum(sizes)
        self.scenes = seen.read(work, "scenes")
        parsed = [sayings.scene(row) for row in self.scenes.rows]
        self.scene_captions = [asked.caption(s) for s in parsed]
        self.scene_questions = sayings.scene_questions(parsed, seed=0)
        self.easy = seen.read(work, "easy-train")
        self.photographs = sayings.photographs()
        self.imagined = ImaginedData(work, texts, model, batch_size=classes, seed=3)
        self.model = model
        self.told = sayings.told()
        self.told_vectors = {
            name: imagined.text_vectors(work, model, texts, name, pairs)
            for name, pairs in self.told.items()
        }

        assert model.writer is not None
        size = model.writer.text.config.vocab_size
        path = work / "writer" / "writer.json"
        self.words = sayings.vocabulary(path, self._everything, size)

    def _everything(self) -> list[Pair]:
        """Everything that is said, for the tokenizer to be trained on."""
        found = [pair for names in self.names for pair in names] * 3
        found += self.scene_captions
        found += [p for qs in self.scene_questions for q in qs for p in (q.question, q.answer)]
        found += [p for captions, names in self.photographs for p in (*captions, *names)] * 5
        found += [p for name in ("captions", "words", "scenes") for p in self.told[name]] * 3
        found += self.told["grammar"]
        return found if CHINESE else [Pair(pair.english, "") for pair in found]

    def __call__(self, step: int) -> tuple[View, View, View]:
        """Return the batch of a step: drawings, scenes, and pictures known by their vectors."""
        rng = np.random.default_rng([self.seed, step])
        speech = Speech(rng)
        drawings, scenes, easy, told = self.counts
        (maps, pooled, vector, drawn), rows = self._drawings(rng, speech, drawings)
        near, far = np.flatnonzero(drawn), np.flatnonzero(~drawn)
        composed = (self._scenes(rng, speech, scenes), self._easy(rng, speech, easy))
        shown = [np.concatenate(parts) for parts in zip(*(s for s, _ in composed), strict=True)]
        known = (self._classes(step, rng, speech), self._told(step, rng, speech, told))
        vectors = torch.cat([torch.from_numpy(vector[far]).float(), *(v for v, _ in known)])
        return (
            self._view(vector[near], [rows[i] for i in near], maps[near], pooled[near]),
            self._view(shown[2], [r for _, some in composed for r in some], shown[0], shown[1]),
            self._view(vectors, [rows[i] for i in far] + [r for _, some in known for r in some]),
        )

    def _view(
        self,
        vector: np.ndarray | Tensor,
        rows: Sequence[Row],
        maps: np.ndarray | None = None,
        pooled: np.ndarray | None = None,
    ) -> View:
        (ids, mask), starts = rows_of(self.words, rows)
        return View(
            None if maps is None else torch.from_numpy(maps).float(),
            None if pooled is None else torch.from_numpy(pooled).float(),
            torch.as_tensor(vector).float(),
            ids,
            mask,
            starts,
            torch.tensor([row.question is not None for row in rows]),
        )

    def _drawings(
        self, rng: np.random.Generator, speech: Speech, count: int
    ) -> tuple[Shown, list[Row]]:
        parts = rng.choice(len(self.shares), count, p=self.shares)
        chosen = [int(rng.choice(self.shown[p], p=self.odds[p])) for p in parts]
        rows = []
        for part, number in zip(parts, chosen, strict=True):
            name, turn = self.names[part][number], rng.random()
            if turn < 0.6:
                rows.append(speech.say(name))
            elif turn < 0.78:
                rows.append(speech.ask(asked.what(rng), name))
            elif turn < 0.97:
                other = parts[int(rng.integers(count))]
                wrong = self.names[other][int(rng.choice(self.shown[other]))]
                right = rng.random() < 0.5 or wrong == name
                rows.append(speech.ask(_is_it(name if right else wrong, rng), YES if right else NO))
            else:
                rows.append(speech.ask(KIND, DRAWING))
        found = [
            take(self.drawings[p], [r], self.model) for p, r in zip(parts, chosen, strict=True)
        ]
        maps, pooled, vector, drawn = (np.concatenate(f) for f in zip(*found, strict=True))
        return (maps, pooled, vector, drawn & (rng.random(count) >= UNSHOWN)), rows

    def _scenes(
        self, rng: np.random.Generator, speech: Speech, count: int
    ) -> tuple[Shown, list[Row]]:
        chosen = rng.choice(len(self.scene_captions), count, replace=False)
        rows = []
        for number in chosen:
            rows.append(speech.say(self.scene_captions[number]))
            found = self.scene_questions[number]
            for one in rng.choice(len(found), self.questions, replace=len(found) < self.questions):
                rows.append(speech.ask(found[one].question, found[one].answer))
        return take(self.scenes, chosen, self.model), rows

    def _easy(
        self, rng: np.random.Generator, speech: Speech, count: int
    ) -> tuple[Shown, list[Row]]:
        chosen = rng.choice(len(self.easy.rows), count, replace=False)
        rows = []
        for number in chosen:
            found = self.easy.rows[number]["asked"]
            for one in rng.integers(len(found), size=1 + self.questions):
                question, answer = found[one]
                rows.append(speech.ask(Pair(question, ""), Pair(answer, "")))
        return take(self.easy, chosen, self.model), rows

    def _classes(
        self, step: int, rng: np.random.Generator, speech: Speech
    ) -> tuple[Tensor, list[Row]]:
        """Vectors of imagined photographs of classes."""
        features, kinds = self.imagined.imagine(step)
        rows = []
        for kind in kinds:
            captions, names = self.photographs[kind]
            turn = rng.random()
            if turn < 0.5:
                rows.append(speech.say(captions[int(rng.integers(len(captions)))]))
            elif turn < 0.7:
                rows.append(speech.ask(asked.what(rng), names[0]))
            elif turn < 0.95:
                right = rng.random() < 0.5
                chosen = (
                    names
                    if right
                    else self.photographs[int(rng.integers(len(self.photographs)))][1]
                )
                thing = chosen[int(rng.integers(len(chosen)))]
                right = right or thing.english in {n.english for n in names}
                rows.append(speech.ask(_is_it(thing, rng), YES if right else NO))
            else:
                rows.append(speech.ask(KIND, PHOTO))
        with torch.no_grad():
            return self.model.project_image(features), rows

    def _told(
        self, step: int, rng: np.random.Generator, speech: Speech, count: int
    ) -> tuple[Tensor, list[Row]]:
        """Vectors of photographs imagined from texts."""
        names = ("captions", "words", "scenes", "grammar")
        chosen = [str(n) for n in rng.choice(names, count, p=(0.45, 0.25, 0.15, 0.15))]
        numbers = [int(rng.integers(len(self.told[name]))) for name in chosen]
        rows = [speech.say(self.told[n][i]) for n, i in zip(chosen, numbers, strict=True)]
        vectors = [self.told_vectors[n][i] for n, i in zip(chosen, numbers, strict=True)]
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        return imagined.taken_for(self.model, torch.stack(vectors).float(), generator), rows


def _weight(row: dict[str, Any], called: Mapping[str, Thing]) -> float:
    """How often a drawing is shown: common things more, one of many alike less."""
    if row["source"] == "openclipart":  # titled less carefully than emoji are named
        return 0.3
    if row["flag"] or row["english"][0].lower() != row["concept"]:
        return 0.15  # flags, and people in all their variants
    return 2.0 if row["concept"] in called else 1.0


def rows_of(words: Tokenizer, rows: Sequence[Row]) -> tuple[TextBatch, Tensor]:
    """Return questions and texts as ids and mask, and where what is learnt begins."""
    questions = question_ids(words, [row.question or "" for row in rows])
    begun = prefix_ids(words, [row.prefix for row in rows])
    before = [
        question + start if row.question is not None else start
        for row, question, start in zip(rows, questions, begun, strict=True)
    ]
    texts = text_ids(words, [row.text for row in rows])
    whole = [b + text[:LONGEST] for b, text in zip(before, texts, strict=True)]
    return padded(whole), torch.tensor([len(b) for b in before])


Shown = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _is_it(thing: Pair, rng: np.random.Generator) -> Pair:
    english = ("is there {}?", "is there {} in the picture?", "is this {}?", "do you see {}?")
    return asked.is_there(thing, english[int(rng.integers(len(english)))])


def trained_on(found: Seen) -> np.ndarray:
    """Numbers of the rows whose concept is not held out."""
    return np.array([i for i, r in enumerate(found.rows) if not held_out(r["concept"])])


def take(found: Seen, rows: Sequence[int] | np.ndarray, model: Mini) -> Shown:
    """Return what `Eye` takes of some pictures."""
    limit = model.writer.limit if model.writer else 0.0
    maps = np.stack([found.maps[i] for i in rows])
    return maps, found.pooled[rows], found.vector[rows], found.unlike[rows] < limit


def telling_loss(model: Mini, batch: Sequence[View]) -> Tensor:
    """Return the mean loss of the tokens of captions plus that of the tokens of answers."""
    writer = model.writer
    assert writer is not None
    features, ids, answers = [], [], []
    for view in batch:
        if view.maps is None or view.pooled is None:
            tokens = writer.eye.meanings(view.vector)
        else:
            drawn = torch.ones(len(view.vector), dtype=torch.bool)
            tokens = writer.eye(view.maps, view.pooled, view.vector, drawn)
        x = writer.text(view.ids, view.mask, as_autocast(tokens), causal=True)
        places = torch.arange(1, view.ids.shape[1])
        learnt = view.mask[:, 1:] & (places >= view.starts[:, None])
        features.append(x[:, :-1][learnt])
        ids.append(view.ids[:, 1:][learnt])
        answers.append(view.answers[:, None].expand_as(learnt)[learnt])
    logits = writer.head(torch.cat(features)).float()
    each = F.cross_entropy(logits, torch.cat(ids), label_smoothing=SMOOTHING, reduction="none")
    answer = torch.cat(answers)
    return each[answer].mean() + each[~answer].mean()


SMOOTHING = 0.05


def begin(model: Mini, data: TellingData, texts: Tokenizer) -> None:
    """Start the writer where the text tower has been already.

    Its tokens get the text tower's vectors of them, turned onto their main directions; the first
    meaning of an image is its vector in the same directions; and what is looked at passes through
    attention as it is. So naming what the vector says is a small step, for words seldom seen too.
    """
    writer = model.writer
    assert writer is not None
    size, width = writer.text.config.vocab_size, writer.text.config.width
    pieces = [data.words.decode([i]).strip() or "," for i in range(size)]
    vectors = evaluate.text_vectors(model, texts, pieces)
    vectors = vectors - vectors.mean(0)
    directions = torch.linalg.svd(vectors, full_matrices=False).Vh[:width]
    with torch.no_grad():
        writer.text.token_embedding.weight.copy_(F.normalize(vectors @ directions.T, dim=-1))
        writer.eye.meaning.weight[:width].copy_(directions)
        for layer in writer.text.layers:
            looked = layer.cross_attention
            for linear in (looked.v_proj, looked.out_proj):  # type: ignore[union-attr]
                linear.weight.copy_(torch.eye(width))  # type: ignore[union-attr, operator]


def standardise(model: Mini, data: TellingData) -> None:
    """Give the eye the mean and spread of what it is shown, over scenes and drawings."""
    assert model.writer is not None
    eye, sight, width = model.writer.eye, model.sight, model.config.head_width
    maps = np.concatenate(
        [np.asarray(found.maps[::40], np.float32) for found in (*data.drawings, data.scenes)]
    )
    with torch.no_grad():
        eye.centre.copy_(torch.from_numpy(maps.mean((0, 1))))
        eye.spread.copy_(torch.from_numpy(maps.std((0, 1)) + 0.02))
        eye.pooled_centre.copy_(sight.centre[:width])
        eye.pooled_spread.copy_(sight.spread[:width])
