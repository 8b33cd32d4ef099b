"""Figures of the writer, each beside its controls.

Captions: how many are exactly the expected one, and the F1 of their words, beside those of the
same captions dealt out to other pictures. Answers: accuracy, beside that of the answers given
about other pictures, and of the likeliest answer to the question alone.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seesay.families.mini.model import Mini
from seesay.families.mini.processing import MiniProcessor
from seesay.families.mini.prompts import PROMPTS
from seesay.generation import decode
from seesay.model import Model, load
from seesay.recipes.mini import asked, sayings, seen
from seesay.recipes.mini.asked import Asked
from seesay.recipes.mini.corpus import Pair
from seesay.recipes.mini.drawings import held_out
from seesay.recipes.mini.seen import Seen
from seesay.recipes.mini.telling import CHINESE, CHINESE_PROMPT

Figures = dict[str, Any]
BATCH = 64
LANGUAGES = ("english", "chinese") if CHINESE else ("english",)


def everything(folder: Path, work: Path, gallery: Path | None) -> dict[str, Any]:
    """Return all figures of the model in a folder, and what it says of a gallery."""
    loaded = load(folder, dtype="float32")
    model, processor = loaded.module, loaded.processor
    assert isinstance(model, Mini)
    assert isinstance(processor, MiniProcessor)
    assert model.writer is not None
    count = sum(p.numel() for p in model.writer.parameters())
    found: dict[str, Any] = {"parameters": count, "easy-VQA": easy(model, processor, work)}
    found |= scenes(model, processor, work)
    found |= drawings(model, processor, work)
    if gallery is not None:
        found |= photographs(loaded, gallery)
    return found


def photographs(loaded: Model, gallery: Path) -> dict[str, Any]:
    """Return the captions of a gallery's pictures and, for its photographs, their figures."""
    with open(gallery / "photos.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    paths = [gallery / row["file"] for row in rows]
    english = [output.text for output in loaded.caption(paths)]
    told = {
        row["file"]: {"kind": row["kind"], "english": said}
        for row, said in zip(rows, english, strict=True)
    }
    found: dict[str, Any] = {}
    some = [i for i, row in enumerate(rows) if row["kind"] == "photo"]
    other = some[len(some) // 2 :] + some[: len(some) // 2]
    found["photographs, the better of two captions"] = {"pictures": len(some)} | {
        "word F1" + name: _percent(
            [
                max(word_f1(english[j], text) for text in rows[i]["english"].split(";;"))
                for i, j in zip(some, dealt, strict=True)
            ]
        )
        for name, dealt in (("", some), (" shuffled", other))
    }
    return found | {"gallery": told}


def tokens(model: Mini, found: Seen, rows: Sequence[int]) -> Tensor:
    """Return what the writer looks at of some pictures [N, P, D]."""
    writer = model.writer
    assert writer is not None
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            some = list(rows[start : start + BATCH])
            maps = torch.from_numpy(np.stack([found.maps[i] for i in some])).float()
            pooled, vector = (
                torch.from_numpy(x[some]).float() for x in (found.pooled, found.vector)
            )
            drawn = torch.from_numpy(found.unlike[some] < writer.limit)
            parts.append(writer.eye(maps, pooled, vector, drawn))
    return torch.cat(parts)


def write(
    model: Mini,
    processor: MiniProcessor,
    looked: Tensor,
    task: str,
    texts: Sequence[str],
) -> list[str]:
    """Return what is written about pictures, a text each."""
    options = PROMPTS[task].options
    found: list[str] = []
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(order), BATCH):
        some = order[start : start + BATCH]
        prompt = processor.prompts(task, [texts[i] for i in some])._replace(tokens=looked[some])
        written = decode(model, prompt, options, end_ids=processor.end_ids)
        found += [processor.decode([row[0].ids])[0] for row in written]
    back = {row: i for i, row in enumerate(order)}
    return [found[back[i]] for i in range(len(texts))]


def words(text: str) -> list[str]:
    """Words of English, characters of Chinese."""
    text = text.lower()
    if any("\u4e00" <= c <= "\u9fff" for c in text):
        return [c for c in text if c.isalnum()]
    return "".join(c if c.isalnum() or c == " " else " " for c in text).split()


_LITTLE = frozenset(("a", "an", "the", "of", "and", "to", "in", "on"))


def word_f1(said: str, expected: str) -> float:
    """F1 of the words that are not too small to count."""
    mine, theirs = (Counter(w for w in words(t) if w not in _LITTLE) for t in (said, expected))
    common = sum((mine & theirs).values())
    return 2 * common / max(1, sum(mine.values()) + sum(theirs.values()))


def captioned(said: Sequence[str], expected: Sequence[str]) -> Figures:
    """Figures of captions against one expected caption each, and of the same dealt out anew."""
    other = [said[(i + len(said) // 2) % len(said)] for i in range(len(said))]
    found: Figures = {"pictures": len(said)}
    for name, texts in (("", said), (" shuffled", other)):
        pairs = list(zip(texts, expected, strict=True))
        found["exact" + name] = _percent([words(s) == words(e) for s, e in pairs])
        found["word F1" + name] = _percent([word_f1(s, e) for s, e in pairs])
    return found


def _percent(values: Sequence[float]) -> float:
    return round(100 * float(np.mean(values)), 1) if len(values) else 0.0


def drawings(model: Mini, processor: MiniProcessor, work: Path) -> dict[str, Figures]:
    """Return the figures of captions of single drawings, by the splits of `evaluate.drawings`."""
    called = sayings.called()
    found = {}
    for name, source, held in (
        ("E1 seen concepts, unseen vendor", "openmoji", False),
        ("E2 unseen concepts, seen vendor", "noto", True),
        ("E3 unseen concepts, unseen vendor", "openmoji", True),
        ("E4 clip art with unseen titles", "openclipart", True),
    ):
        looked = seen.read(work, f"plain/{source}")
        rows = [i for i, r in enumerate(looked.rows) if held_out(r["concept"]) == held]
        for language in LANGUAGES:
            if language == "chinese" and source == "openclipart":
                continue
            expected = [getattr(sayings.drawing(looked.rows[i], called), language) for i in rows]
            prompt = CHINESE_PROMPT if language == "chinese" else ""
            said = write(
                model, processor, tokens(model, looked, rows), "caption", [prompt] * len(rows)
            )
            found[f"{name}, {language}"] = captioned(said, expected)
    return found


def scenes(
    model: Mini, processor: MiniProcessor, work: Path, *, most: int = 400, each: int = 6
) -> dict[str, Figures]:
    """Return the figures of captions and answers on each set of scenes that was kept back."""
    trained = [sayings.scene(row) for row in seen.read(work, "scenes").rows]
    prior = Prior([q for qs in sayings.scene_questions(trained, seed=0) for q in qs])
    found: dict[str, Figures] = {}
    for name in ("scenes-seen", "scenes-vendor", "scenes-concept"):
        looked = seen.read(work, name)
        parsed = [sayings.scene(row) for row in looked.rows][:most]
        image = tokens(model, looked, range(len(parsed)))
        expected = [asked.caption(s) for s in parsed]
        questions = sayings.scene_questions(parsed, seed=1)
        for language in LANGUAGES:
            prompt = CHINESE_PROMPT if language == "chinese" else ""
            said = write(model, processor, image, "caption", [prompt] * len(parsed))
            truth = [getattr(pair, language) for pair in expected]
            found[f"{name} captions, {language}"] = captioned(said, truth)
            rows: list[tuple[int, Asked]] = []
            for i, some in enumerate(questions):
                chosen = np.random.default_rng([9, i]).permutation(len(some))[:each]
                rows += [(i, some[j]) for j in chosen]
            found[f"{name} answers, {language}"] = _answered(
                model, processor, image, rows, language, prior
            )
    return found


class Prior:
    """The likeliest answer to a question when nothing is seen.

    That of the same question in training where it was asked three times or more, else of its kind.
    """

    def __init__(self, trained: Sequence[Asked]) -> None:
        self.exact: dict[str, Counter[Pair]] = {}
        self.kinds: dict[str, Counter[Pair]] = {}
        for q in trained:
            self.exact.setdefault(q.question.english, Counter())[q.answer] += 1
            self.kinds.setdefault(q.kind, Counter())[q.answer] += 1

    def answer(self, q: Asked) -> Pair:
        """Return it in both languages."""
        exact = self.exact.get(q.question.english, Counter())
        counts = exact if exact.total() >= 3 else self.kinds[q.kind]
        return counts.most_common(1)[0][0]


def _answered(
    model: Mini,
    processor: MiniProcessor,
    image: Tensor,
    rows: Sequence[tuple[int, Asked]],
    language: str,
    prior: Prior,
) -> Figures:
    """Accuracy of each kind of question: of the model, with other pictures, and without any."""
    questions = [getattr(q.question, language) for _, q in rows]
    truth = [getattr(q.answer, language) for _, q in rows]
    about = [i for i, _ in rows]
    other = [(i + len(image) // 2) % len(image) for i in about]
    said = write(model, processor, image[about], "answer", questions)
    shuffled = write(model, processor, image[other], "answer", questions)
    blind = [getattr(prior.answer(q), language) for _, q in rows]
    found: Figures = {}
    kinds = [q.kind for _, q in rows]
    for kind in ("all", *dict.fromkeys(sorted(kinds))):
        some = [i for i, k in enumerate(kinds) if kind in ("all", k)]
        found[kind] = {"questions": len(some)} | {
            name: _percent([words(texts[i]) == words(truth[i]) for i in some])
            for name, texts in (("right", said), ("shuffled", shuffled), ("question only", blind))
        }
    return found


def easy(model: Mini, processor: MiniProcessor, work: Path) -> Figures:
    """Return the figures of easy-VQA's test part."""
    trained, looked = seen.read(work, "easy-train"), seen.read(work, "easy-test")
    counts: dict[str, Counter[str]] = {}
    for row in trained.rows:
        for question, answer in row["asked"]:
            counts.setdefault(question, Counter())[answer] += 1
    rows = [(i, q, a) for i, row in enumerate(looked.rows) for q, a in row["asked"]]
    image = tokens(model, looked, range(len(looked.rows)))
    about = [i for i, _, _ in rows]
    other = [(i + len(image) // 2) % len(image) for i in about]
    questions, truth = [q for _, q, _ in rows], [a for _, _, a in rows]
    said = write(model, processor, image[about], "answer", questions)
    shuffled = write(model, processor, image[other], "answer", questions)
    blind = [counts[q].most_common(1)[0][0] if q in counts else "no" for q in questions]
    return {"questions": len(rows)} | {
        name: _percent([s == a for s, a in zip(texts, truth, strict=True)])
        for name, texts in (("right", said), ("shuffled", shuffled), ("question only", blind))
    }
