"""The stages of the recipe, each skipped when its run lies in WORK already."""

from __future__ import annotations

from pathlib import Path

from seesay.families.florence2.configs import page
from seesay.processing.bytelevel import ByteLevelTokenizer
from seesay.recipes.page import vocabulary
from seesay.recipes.page.learning import Stage, learn
from seesay.recipes.page.samples import Mixture
from seesay.train.config import LoopConfig, OptimConfig, ScheduleConfig
from seesay.train.parallel import World

READING = {
    "<OCR>": 3.0,
    "<REGION_TO_OCR>": 3.0,
    "<CAPTION>": 0.2,
    "<OD>": 1.5,
    "<CAPTION_TO_PHRASE_GROUNDING>": 1.5,
    "<OPEN_VOCABULARY_DETECTION>": 1.5,
    "<REGION_TO_CATEGORY>": 0.2,
}
"""Shares of the tasks before questions are learnt."""
ALL = READING | {
    "<DocVQA>": 8.0,
    "<OCR>": 1.0,
    "<REGION_TO_OCR>": 1.5,
    "<OD>": 2.0,
    "<CAPTION_TO_PHRASE_GROUNDING>": 2.0,
    "<DENSE_REGION_CAPTION>": 0.8,
    "<REGION_PROPOSAL>": 0.3,
    "<REGION_TO_DESCRIPTION>": 0.2,
}
"""And with questions; the others are kept, so that none is forgotten."""
WHOLE = {"<OCR>": 1.5, "<OCR_WITH_REGION>": 1.0, "<REGION_TO_OCR>": 0.2}
"""And where long answers are learnt."""


def _loop(steps: int, lr: float, kind: str = "constant", end: float = 0.0) -> LoopConfig:
    return LoopConfig(
        steps=steps,
        seed=1,
        precision="bf16",
        optim=OptimConfig(lr=lr, weight_decay=0.03, betas=(0.9, 0.98)),
        schedule=ScheduleConfig(kind=kind, warmup=40, end=end),  # type: ignore[arg-type]
        ema=0.99,
        save_every=50,
        evaluate_every=100,
    )


def _both(seed: int) -> tuple[Mixture, ...]:
    """Four batches of all tasks with short answers, and one of whole pages of a few lines."""
    short = Mixture(8, 4, (0.03, 0.12, 0.42, 0.43), ALL, 60, seed)
    return (short,) * 4 + (Mixture(7, 2, (0.05, 0.75, 0.2, 0.0), WHOLE, 150, seed + 1),)


STAGES = (
    Stage(
        "letters",
        (Mixture(16, 0, (0.15, 0.3, 0.4, 0.15), {}, seed=1),),
        _loop(900, 1.2e-3),
        seeing=True,
    ),
    Stage(
        "things",
        (Mixture(16, 0, (0.03, 0.07, 0.3, 0.6), {}, seed=20),),
        _loop(900, 6e-4),
        seeing=True,
    ),
    Stage(
        "reading",
        (Mixture(8, 4, (0.1, 0.3, 0.4, 0.2), READING, 40, seed=30),),
        _loop(600, 1e-3),
        aligned=True,
        sparse=True,
    ),
    Stage("asking", _both(40), _loop(5000, 8e-4), sparse=True),
    Stage("resting", _both(50), _loop(1800, 8e-4, "cosine", 0.02), sparse=True),
)
"""What is learnt, in this order."""
BEFORE = "reading"
"""The stage before questions are learnt."""


def run(work: Path, world: World) -> Path:
    """Train every stage; return the last run."""
    folder = work / "vocabulary"
    if not (folder / "tokenizer.json").exists() and world.rank == 0:
        vocabulary.write(folder)
    world.agree(0.0)
    tokenizer = ByteLevelTokenizer.from_folder(folder)
    assert tokenizer is not None
    before: Path | None = None
    for stage in STAGES:
        at = work / stage.name
        learn(stage, page(), tokenizer, at, before, world)
        before = at
    assert before is not None
    return before
