"""Captioners learn what follows the prompt, all of it, and lose nothing."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import seesay
from seesay.data import open_dataset
from seesay.errors import UsageError
from seesay.recipes import recipe
from seesay.train.captioning import beginning, captioning
from seesay.train.config import (
    DataConfig,
    LoraConfig,
    ObjectiveConfig,
    OptimConfig,
    TrainConfig,
    TuneConfig,
)
from seesay.train.parallel import World
from seesay.train.run import run
from seesay.train.state import read_state
from seesay.types import Prompt
from train import asked, made


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.pictures(tmp_path_factory.mktemp("pictures"))


def learner(path: Path, **changed: Any) -> tuple[Any, Any]:
    """A model in float64, and what teaches it; nothing in it is random."""
    config = asked.config(path, "captioning", **changed)
    with tempfile.TemporaryDirectory() as folder:
        base = asked.steady("captioning", Path(folder) / "steady")
        model = seesay.load(base, dtype="float32")
    model.module.double()
    taught = captioning(model, open_dataset(path), config, World(), path.parent)
    ready = taught.batch

    def doubled(step: int) -> Any:
        batch = ready(step)
        prompt = batch.prompt._replace(pixels=batch.prompt.pixels.double())
        return dataclasses.replace(batch, prompt=prompt)

    taught.batch = doubled
    return model, taught


def gradients(module: torch.nn.Module) -> dict[str, Tensor]:
    found = {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}
    module.zero_grad()
    return found


def test_the_loss_and_its_gradient_are_those_of_the_definition(data: Path) -> None:
    model, taught = learner(data)
    batch = taught.batch(0)
    loss = taught.learn(batch)["loss"]
    ours = gradients(model.module)
    start, tokens = model.processor.dec_id, model.processor.tokenizer
    width = tokens.size
    # one caption at a time: the mean over all tokens after the prompt of -sum(target * log p)
    total, count = torch.zeros((), dtype=torch.float64), 0
    for i, row in enumerate(batch.rows):
        text = open_dataset(data)[row].texts[0]
        ids = [start, *tokens.ids([f"a picture of {text}"])[0], tokens.sep_id]
        prompt = Prompt(
            batch.prompt.pixels[i : i + 1], torch.tensor([ids]), torch.ones(1, len(ids)).bool()
        )
        chances = model.module(prompt)[0].log_softmax(-1)
        for place in range(4, len(ids)):  # [DEC] a picture of
            target = torch.full((width,), 0.1 / width, dtype=torch.float64)
            target[ids[place]] += 0.9
            total, count = total - (target * chances[place - 1]).sum(), count + 1
    (total / count).backward()
    torch.testing.assert_close(loss, (total / count).detach())
    theirs = gradients(model.module)
    assert ours.keys() == theirs.keys() == {n for n, _ in model.module.named_parameters()}
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-8, atol=1e-12, msg=name)


def test_parts_of_a_batch_give_the_gradient_of_the_whole(data: Path) -> None:
    model, whole = learner(data)
    value = whole.learn(whole.batch(0))["loss"]
    expected = gradients(model.module)
    for size in (1, 3):
        parts = DataConfig(path=str(data), batch_size=7, workers=0, micro_batch=size)
        model, taught = learner(data, data=parts)
        torch.testing.assert_close(taught.learn(taught.batch(0))["loss"], value)
        for name, gradient in gradients(model.module).items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-8, atol=1e-12, msg=name)


def test_the_prompt_is_read_and_never_learnt(data: Path) -> None:
    model, taught = learner(data)
    batch = taught.batch(0)
    assert batch.starts.tolist() == [4] * 7
    texts = model.processor.decode([row[1:4].tolist() for row in batch.prompt.prefix])
    assert set(texts) == {"a picture of"}
    assert int(batch.tokens) == sum(
        len(open_dataset(data)[row].texts[0].split()) + 1 for row in batch.rows
    )
    # other words in the place of a prompt's last would be taught alike: only what is after counts
    logits = torch.randn(7, batch.prompt.prefix.shape[1], 50, dtype=torch.float64)
    logits.requires_grad_()
    taught.learn.__self__.forward.function = lambda prompt: logits
    taught.learn(batch)
    assert logits.grad is not None
    assert not logits.grad[:, :3].any()
    assert logits.grad[:, 3].any(-1).all()


def test_another_prompt_or_none_is_the_users_to_choose() -> None:
    model = seesay.create("blip-tiny-captioning")
    assert beginning(model, TrainConfig()) == "a picture of "
    for prompt in ("a drawing of", ""):
        told = TrainConfig(objective=ObjectiveConfig(name="captioning", prompt=prompt))
        assert beginning(model, told) == prompt


def test_a_tiny_model_memorises_eight_captions(tmp_path: Path) -> None:
    table = made.pictures(tmp_path / "pictures", count=8)
    config = asked.config(
        table,
        "captioning",
        model=str(asked.steady("captioning", tmp_path / "base")),
        init="pretrained",
        steps=70,
        optim=OptimConfig(lr=2e-2, weight_decay=0.0),
        data=DataConfig(path=str(table), batch_size=8, workers=0),
        objective=ObjectiveConfig(name="captioning", prompt="", label_smoothing=0.0),
    )
    assert run(config, tmp_path / "run", quiet=True, device="cpu").loss < 0.1
    model, dataset = seesay.load(tmp_path / "run", dtype="float32"), open_dataset(table)
    written = model.caption([record.image for record in dataset], prompt="", min_length=1)
    assert [found.text for found in written] == [record.texts[0] for record in dataset]


def test_a_killed_run_ends_at_the_same_bits(data: Path, tmp_path: Path) -> None:
    config = asked.config(data, "captioning", save_every=2)  # with dropout, drawn by the step
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


def test_adapters_on_the_writer_are_trained_alone(data: Path, tmp_path: Path) -> None:
    base = asked.steady("captioning", tmp_path / "base")
    layers = ("text.*.q_proj", "text.*.v_proj", "image.*.q_proj")
    tune = TuneConfig(lora=LoraConfig(rank=2, targets=layers))
    config = asked.config(data, "captioning", model=str(base), init="pretrained", tune=tune)
    run(config, tmp_path / "run", quiet=True, device="cpu")
    assert (tmp_path / "run" / "last" / "adapter_config.json").is_file()
    trained = read_state(tmp_path / "run" / "last")["weights"]
    assert all("lora_" in name for name in trained)
    assert any(".cross_attention." in name for name in trained)
    picture = open_dataset(data)[0].image
    assert seesay.load(tmp_path / "run", dtype="float32").caption(picture)[0].text is not None
    with pytest.raises(UsageError, match="can be loaded again"):
        run(dataclasses.replace(config, image_size=64), tmp_path / "x", quiet=True, device="cpu")


def test_a_larger_image_size_is_trained_and_kept(data: Path, tmp_path: Path) -> None:
    config = asked.config(data, "captioning", steps=1, image_size=48)
    run(config, tmp_path / "run", quiet=True, device="cpu")
    model = seesay.load(tmp_path / "run", dtype="float32")
    assert model.config.image.image_size == model.processor.image.size == (48, 48)
    assert model.module.image.position_embedding.shape[0] == 6 * 6 + 1
    with pytest.raises(UsageError, match="image_size=48 is"):
        run(dataclasses.replace(config, image_size=50), tmp_path / "x", quiet=True, device="cpu")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model": "clip-tiny"}, "cannot be taught to caption"),
        ({"model": "blip-tiny-vqa"}, "has no beginning for captioning"),
        ({"tune": TuneConfig(cache=("image",))}, "means nothing for 'captioning'"),
    ],
)
def test_what_cannot_be_is_said(
    data: Path, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        run(asked.config(data, "captioning", **changed), tmp_path, quiet=True, device="cpu")


def test_published_recipes_say_what_was_published() -> None:
    told = {name: recipe(name) for name in ("blip-caption", "blip-vqa", "blip-nlvr", "blip-okvqa")}
    rates = {name: (made.optim.lr, made.epochs, made.image_size) for name, made in told.items()}
    assert rates == {
        "blip-caption": (1e-5, 5, 384),
        "blip-vqa": (2e-5, 10, 480),
        "blip-nlvr": (3e-5, 15, 384),
        "blip-okvqa": (3e-5, 7, 480),
    }
    assert all(made.optim.decay_vectors and made.optim.clip is None for made in told.values())
    assert told["blip-vqa"].objective.single_answer == 0.2
    assert [recipe(n).objective.name for n in ("caption", "vqa", "nlvr")] == [
        "captioning",
        "vqa",
        "nlvr",
    ]
