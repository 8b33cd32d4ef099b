"""Who follows prompts learns every token of the answer, no padding, and one answer at a time."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import seesay
from seesay.data import open_prompts
from seesay.errors import InputError, UsageError
from seesay.model import Model
from seesay.recipes import recipe
from seesay.train.config import DataConfig, LoraConfig, ObjectiveConfig, TuneConfig
from seesay.train.contrastive import prepare
from seesay.train.instructing import drawn, fitting, instructing, taught, usual_metric
from seesay.train.parallel import World
from seesay.train.run import run
from seesay.types import Prompt
from train import prompted


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prompted.rows(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prompted.steady(tmp_path_factory.mktemp("model") / "steady")


def learner(path: Path, base: Path, **changed: Any) -> tuple[Model, Any]:
    """A model in float64, and what teaches it; nothing in it is random."""
    told = {"data": DataConfig(path=str(path), batch_size=7, workers=0)} | changed
    model = seesay.load(str(base), dtype="float32")
    model.module.double()
    config = prompted.config(path, base, **told)
    taught = instructing(model, open_prompts(path), config, World(), path.parent)
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


def said(model: Model, batch: Any) -> list[str]:
    """The answers of a batch, by its ids."""
    pairs = zip(batch.prompt.prefix, batch.prompt.prefix_mask, strict=True)
    return model.processor.decode([ids[mask].tolist() for ids, mask in pairs])


def test_the_loss_and_its_gradient_are_those_of_the_definition(data: Path, base: Path) -> None:
    model, teaching = learner(data, base)
    batch = teaching.batch(0)
    loss = teaching.learn(batch)["loss"]
    ours = gradients(model.module)
    tokens, questions = model.processor.tokenizer, open_prompts(data)
    # one answer at a time, without padding: the mean over all tokens of -log p
    total, count = torch.zeros((), dtype=torch.float64), 0
    for i, (row, text) in enumerate(zip(batch.rows, said(model, batch), strict=True)):
        assert text in questions[row].answers
        sentence = model.processor.expand(questions[row].text)
        asked = torch.tensor([[0, *tokens.ids([sentence])[0], 2]])
        ids = [2, 0, *tokens.ids([text])[0], 2]  # what starts the decoder is the end of a text
        begun = torch.tensor([ids[:-1]])
        prompt = Prompt(
            batch.prompt.pixels[i : i + 1], begun, begun >= 0, ids=asked, mask=asked >= 0
        )
        chances = model.module(prompt)[0].log_softmax(-1)
        for place, right in enumerate(ids[1:]):
            total, count = total - chances[place, right], count + 1
    (total / count).backward()
    torch.testing.assert_close(loss, (total / count).detach())
    theirs = gradients(model.module)
    assert ours.keys() == theirs.keys() == {n for n, _ in model.module.named_parameters()}
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-7, atol=1e-12, msg=name)


def test_parts_of_a_batch_give_the_gradient_of_the_whole(data: Path, base: Path) -> None:
    model, whole = learner(data, base)
    value = whole.learn(whole.batch(0))["loss"]
    expected = gradients(model.module)
    parts = DataConfig(path=str(data), batch_size=7, workers=0, micro_batch=3)
    model, teaching = learner(data, base, data=parts)
    torch.testing.assert_close(teaching.learn(teaching.batch(0))["loss"], value)
    for name, gradient in gradients(model.module).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-7, atol=1e-12, msg=name)


def test_padding_of_prompts_and_answers_changes_nothing(data: Path, base: Path) -> None:
    _, teaching = learner(data, base)
    batch = teaching.batch(0)
    value = teaching.learn(batch)["loss"]
    more = {}
    for name, column in batch.prompt._asdict().items():
        if column is not None and name not in ("pixels", "tokens"):
            fill = False if column.dtype == torch.bool else 1  # <pad>
            more[name] = torch.nn.functional.pad(column, (0, 5), value=fill)
    padded = dataclasses.replace(batch, prompt=batch.prompt._replace(**more))
    assert int(padded.tokens) == int(batch.tokens)
    torch.testing.assert_close(teaching.learn(padded)["loss"], value)


def test_all_of_the_answer_is_learnt_from_its_start_to_its_end(base: Path) -> None:
    model = seesay.load(str(base), dtype="float32")
    config = prompted.config(Path("rows"), base)
    batch = taught(model.processor, ["<OD>"], ["a<loc_0>"], [0], None, config)
    a, place = model.processor.tokenizer.ids(["a<loc_0>"])[0]
    assert batch.prompt.prefix.tolist() == [[2, 0, a, place, 2]]
    assert batch.starts.tolist() == [1]
    assert int(batch.tokens) == 4
    short = ObjectiveConfig(name="instruct", max_length=4)
    told = dataclasses.replace(config, objective=short)
    batch = taught(model.processor, ["<OD>"] * 2, ["abcdef", "a"], [0, 1], None, told)
    # what was cut does not end there
    assert batch.prompt.prefix[:, -1].tolist() == [2, 2]
    assert batch.prompt.prefix_mask[:, -1].tolist() == [False, False]
    assert int(batch.tokens) == 2 + 2


def test_answers_are_drawn_by_seed_epoch_and_row_as_often_as_they_were_given() -> None:
    answers = ("a", "a", "b")
    counts = Counter(drawn(answers, 0, epoch, row) for epoch in range(40) for row in range(40))
    assert 0.62 < counts["a"] / 1600 < 0.71
    assert drawn(answers, 3, 1, 7) == drawn(answers, 3, 1, 7)
    first = [drawn(answers, 0, 0, row) for row in range(60)]
    assert first != [drawn(answers, 0, 1, row) for row in range(60)]
    assert first != [drawn(answers, 1, 0, row) for row in range(60)]
    assert (drawn(("only",), 0, 0, 0), drawn((), 0, 0, 0)) == ("only", "")


def test_an_epoch_says_one_answer_of_each_prompt_and_another_one_perhaps_another(
    data: Path, base: Path
) -> None:
    model, teaching = learner(data, base)
    epochs = []
    for epoch in range(3):
        found = {}
        for step in range(6):
            batch = teaching.batch(6 * epoch + step)
            found |= dict(zip(batch.rows, said(model, batch), strict=True))
        assert len(found) == 42
        epochs.append(found)
    assert epochs[0] != epochs[1] or epochs[1] != epochs[2]


def test_a_frozen_tower_has_no_gradient_and_is_in_evaluation_mode(data: Path, base: Path) -> None:
    model, teaching = learner(data, base, tune=TuneConfig(freeze=("image",)))
    teaching.train()
    assert not any(p.requires_grad for p in model.module.image.parameters())
    assert not any(part.training for part in model.module.image.modules())
    assert all(p.requires_grad for p in model.module.projector.parameters())
    assert model.module.text.training
    teaching.learn(teaching.batch(0))
    assert all(p.grad is None for p in model.module.image.parameters())
    assert model.module.projector.projection.weight.grad.any()


def test_adapters_of_the_recipes_are_on_layers_that_exist() -> None:
    for name, parts in (("docvqa", ("text",)), ("florence2-lora", ("text", "image"))):
        model = seesay.create("florence2-tiny")
        prepare(model, recipe(name))
        trained = {n for n, p in model.module.named_parameters() if p.requires_grad}
        assert all("lora_" in n for n in trained)
        assert {n.partition(".")[0] for n in trained} == {*parts}
        layers = {n.partition(".lora_")[0].rpartition(".")[2] for n in trained}
        assert layers == {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"}
        depths = {n.split(".")[1] for n in trained if n.startswith("text.")}
        assert depths == {"encoder", "decoder"}


@pytest.mark.parametrize("target", ["o_proj", "text.*.o_proj", "linear", "Conv2d"])
def test_a_target_that_matches_nothing_is_an_error_that_names_the_nearest(
    data: Path, base: Path, target: str
) -> None:
    tune = TuneConfig(lora=LoraConfig(targets=("q_proj", target)))
    with pytest.raises(UsageError, match="is no linear layer") as refused:
        learner(data, base, tune=tune)
    assert "out_proj" in f"{refused.value.what}{refused.value.hint}"


def test_prompts_that_cannot_be_read_are_told_before_the_first_step(base: Path) -> None:
    folder = base.parent.parent / "long"
    rows = prompted.rows(folder).read_text().splitlines()[:8]
    long = {"image": "000.png", "prefix": "<VQA>" + "why? " * 40, "suffix": "a"}
    path = folder / "long.jsonl"
    path.write_text("\n".join([*rows, json.dumps(long)]))
    with pytest.raises(InputError, match=r"long\.jsonl:9: the prompt .* fit beside"):
        learner(path, base)
    config = prompted.config(path, base, data=DataConfig(path=str(path), on_missing="skip"))
    processor = seesay.load(str(base)).processor
    assert len(fitting(processor, open_prompts(path), config)) == 8


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model": "clip-tiny", "init": "random"}, "follows no prompts"),
        ({"model": "blip-tiny-vqa", "init": "random"}, "follows no prompts"),
        ({"tune": TuneConfig(cache=("image",))}, "means nothing for 'instruct'"),
        ({"data": {"augment": "flip"}}, "moves what is in a picture"),
    ],
)
def test_what_cannot_be_is_said(
    data: Path, base: Path, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    told = dict(changed)
    if "data" in told:
        told["data"] = DataConfig(path=str(data), batch_size=7, workers=0, **told["data"])
    with pytest.raises(UsageError, match=said):
        run(prompted.config(data, base, **told), tmp_path, quiet=True, device="cpu")


def test_the_best_checkpoint_is_told_by_what_the_prompts_are_about(data: Path) -> None:
    questions = open_prompts(data)
    assert usual_metric(questions) == "-val_loss"
    kinds = {"<VQA>": "anls", "<OD>": "map"}
    for token, metric in kinds.items():
        rows = [i for i, question in enumerate(questions) if question.text.startswith(token)]
        assert usual_metric(questions.select(rows)) == metric


def test_recipes_say_what_was_published_and_what_is_recommended() -> None:
    published, ours = recipe("docvqa-published"), recipe("docvqa")
    assert (published.optim.lr, published.epochs, published.data.batch_size) == (1e-6, 7, 6)
    assert (published.schedule.kind, published.schedule.warmup) == ("linear", 0)
    assert published.tune.freeze == ours.tune.freeze == ("image",)
    assert ours.tune.lora is not None
    assert (ours.tune.lora.rank, ours.tune.lora.alpha) == (16, 32)
    assert (ours.schedule.kind, ours.schedule.warmup, ours.optim.clip) == ("cosine", 0.03, 1.0)
    for made in (published, ours, recipe("florence2"), recipe("florence2-lora")):
        assert made.objective.name == "instruct"
        assert made.objective.smoothing == 0.0
