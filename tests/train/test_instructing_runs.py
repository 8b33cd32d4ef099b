"""Whole runs of who follows prompts: they memorise, resume to the bit, and who is blind is told."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import seesay
from seesay.data import open_prompts
from seesay.errors import UsageError
from seesay.train.config import (
    DataConfig,
    EvaluateConfig,
    LoraConfig,
    ObjectiveConfig,
    OptimConfig,
    TuneConfig,
)
from seesay.train.parallel import World
from seesay.train.run import run
from seesay.train.sighted import Sighted
from seesay.train.state import read_state
from train import prompted


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prompted.rows(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prompted.steady(tmp_path_factory.mktemp("model") / "steady")


def some(path: Path, count: int, *tokens: str) -> Path:
    """Write the first rows whose prompts have one of these words, one answer each; their path."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [row for row in rows if any(token in row["prefix"] for token in tokens)][:count]
    for row in rows:
        row["suffix"] = row["suffix"][0] if isinstance(row["suffix"], list) else row["suffix"]
    made = path.with_name(f"{count}{len(tokens)}.jsonl")
    made.write_text("\n".join(map(json.dumps, rows)))
    return made


def evaluations(folder: Path) -> list[dict[str, float]]:
    lines = (json.loads(line) for line in (folder / "metrics.jsonl").open())
    return [line["evaluation"] for line in lines if "evaluation" in line]


@pytest.fixture(scope="module")
def memorised(
    data: Path, base: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A run that knows eight pairs by heart, and its data."""
    eight, folder = some(data, 8, "side", "colour", "<OD>"), tmp_path_factory.mktemp("run") / "run"
    config = prompted.config(
        eight,
        base,
        steps=120,
        optim=OptimConfig(lr=5e-3, weight_decay=0.0),
        data=DataConfig(path=str(eight), batch_size=8, workers=0),
        evaluate=EvaluateConfig(path=str(eight), num_beams=1),
        evaluate_every=120,
        objective=ObjectiveConfig(name="instruct", max_length=20),
    )
    run(config, folder, quiet=True, device="cpu")
    return folder, eight


def test_a_tiny_model_memorises_eight_pairs(memorised: tuple[Path, Path]) -> None:
    folder, eight = memorised
    first, last = evaluations(folder)
    assert first["anls"] == first["accuracy"] == 0.0
    assert (last["anls"], last["accuracy"], last["map50"]) == (1.0, 1.0, 1.0)
    assert last["val_loss"] < 0.1 < first["val_loss"]
    assert last["val_gained_by_looking"] > 0.2
    assert last["val_gained_by_reading"] > 1
    model, questions = seesay.load(folder, dtype="float32"), open_prompts(eight)
    for question in questions:
        found = model.prompt(question.images[0], question.text, num_beams=1, max_new_tokens=20)
        assert found[0].raw == question.answers[0]


def test_who_is_blind_is_told(memorised: tuple[Path, Path]) -> None:
    folder, eight = memorised
    questions, config = open_prompts(eight), prompted.config(eight, folder)

    def verdicts(blinded: Callable[[Any], None] | None) -> list[str]:
        model = seesay.load(folder, dtype="float32")
        if blinded is not None:
            blinded(model)
        sighted = Sighted(model, questions, config, World())
        assert not sighted.verdicts()
        sighted.figures()
        assert not sighted.verdicts()  # an untrained model is blind, and that is no news
        sighted.figures()
        return sighted.verdicts()

    def forget_question(model: Any) -> None:
        """As a collator does that leaves the question out."""
        read = model.processor.prompts
        model.processor.prompts = lambda task, texts: read(task, ["<VQA>"] * len(texts))

    def forget_picture(model: Any) -> None:
        made = model.processor.images
        model.processor.images = lambda pictures: torch.zeros_like(made(pictures))

    assert not verdicts(None)
    (told,) = verdicts(forget_question)
    assert told.startswith("the model is question-blind: with prompts exchanged")
    (told,) = verdicts(forget_picture)
    assert told.startswith("the model is image-blind: with pictures exchanged")


def test_one_prompt_for_all_cannot_be_exchanged_and_is_no_blindness(
    memorised: tuple[Path, Path],
) -> None:
    folder, eight = memorised
    model = seesay.load(folder, dtype="float32")
    questions = open_prompts(some(eight.with_name("rows.jsonl"), 4, "<OD>"))
    sighted = Sighted(model, questions, prompted.config(eight, folder), World())
    figures = sighted.figures()
    assert "val_gained_by_reading" not in figures
    assert figures["val_gained_by_looking"] > 0
    sighted.figures()
    assert not any("question" in told for told in sighted.verdicts())


def test_what_is_scored_at_once_decides_nothing(memorised: tuple[Path, Path]) -> None:
    folder, eight = memorised
    model, questions = seesay.load(folder, dtype="float32"), open_prompts(eight)
    found = []
    for size in (None, 1, 3):
        data = DataConfig(path=str(eight), micro_batch=size)
        sighted = Sighted(model, questions, prompted.config(eight, folder, data=data), World())
        found.append(sighted.figures())
    assert found[0].keys() >= {"val_gained_by_reading", "val_gained_by_looking"}
    assert found[1] == pytest.approx(found[0], rel=1e-4)
    assert found[2] == pytest.approx(found[0], rel=1e-4)


def test_a_killed_run_ends_at_the_same_bits(data: Path, tmp_path: Path) -> None:
    base = prompted.steady(tmp_path / "base", dropout=0.1)  # which is drawn by the step
    config = prompted.config(data, base, save_every=2)
    run(config, tmp_path / "whole", quiet=True, device="cpu")
    cut = dataclasses.replace(config, steps=4)
    run(dataclasses.replace(cut, steps=2), tmp_path / "cut", quiet=True, device="cpu")
    told = json.loads((tmp_path / "cut" / "config.json").read_text()) | {"steps": 4}
    (tmp_path / "cut" / "config.json").write_text(json.dumps(told))
    run(cut, tmp_path / "cut", quiet=True, device="cpu")
    one, other = (read_state(tmp_path / name / "last") for name in ("whole", "cut"))
    assert other["outcome"]["step"] == 4
    for name, weight in one["weights"].items():
        assert torch.equal(weight, other["weights"][name]), name


def test_adapters_are_trained_alone_and_loaded_again(
    data: Path, base: Path, tmp_path: Path
) -> None:
    lora = LoraConfig(rank=2, targets=("text.*.q_proj", "text.*.fc2"))
    tune = TuneConfig(freeze=("image",), lora=lora)
    run(prompted.config(data, base, tune=tune), tmp_path / "run", quiet=True, device="cpu")
    trained = read_state(tmp_path / "run" / "last")["weights"]
    assert all("lora_" in name and name.startswith("text.") for name in trained)
    model, question = seesay.load(tmp_path / "run", dtype="float32"), open_prompts(data)[0]
    assert model.prompt(question.images[0], question.text, max_new_tokens=4)


def test_half_precision_trains_full_precision_weights(
    data: Path, base: Path, tmp_path: Path
) -> None:
    config = prompted.config(data, base, precision="bf16", tune=TuneConfig(freeze=("image",)))
    half = run(config, tmp_path / "run", quiet=True, device="cpu").loss
    full = dataclasses.replace(config, precision="fp32")
    whole = run(full, tmp_path / "whole", quiet=True, device="cpu").loss
    assert half != whole
    assert half == pytest.approx(whole, rel=0.02)
    weights = read_state(tmp_path / "run" / "last")["weights"]
    assert {weight.dtype for weight in weights.values() if weight.is_floating_point()} == {
        torch.float32
    }


def test_a_larger_image_size_is_trained_and_kept(data: Path, base: Path, tmp_path: Path) -> None:
    config = prompted.config(data, base, steps=1, image_size=64)
    run(config, tmp_path / "run", quiet=True, device="cpu")
    model = seesay.load(tmp_path / "run", dtype="float32")
    assert model.config.image.image_size == model.processor.image.size == (64, 64)
    assert model.processor.image_tokens == 1 + 2 * 2
    with pytest.raises(UsageError, match=r"image_size=2000: .* 50"):
        run(dataclasses.replace(config, image_size=2000), tmp_path / "x", quiet=True, device="cpu")
