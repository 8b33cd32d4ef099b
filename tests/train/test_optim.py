"""Groups, schedules, averages, and settings."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

import seesay
from seesay.config import checked, from_dict, override, to_dict
from seesay.errors import UsageError
from seesay.train.config import LoraConfig, OptimConfig, ScheduleConfig, TrainConfig
from seesay.train.loop import _clip
from seesay.train.optim import Ema, adamw, factor, layer_scales, set_lr
from train.toy import build


def test_vectors_are_not_decayed_and_frozen_parameters_are_left_out() -> None:
    model = build()
    model.text.requires_grad_(False)
    vectors, matrices = adamw(model, OptimConfig(weight_decay=0.3)).param_groups
    assert [p.ndim for p in matrices["params"]] == [2]
    assert {p.ndim for p in vectors["params"]} == {0, 1}
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.3, 0.0)
    groups = adamw(model, OptimConfig(weight_decay=0.3, decay_vectors=True)).param_groups
    decay = {p.ndim: group["weight_decay"] for group in groups for p in group["params"]}
    assert decay == {0: 0.0, 1: 0.3, 2: 0.3}


def test_layer_decay_reaches_the_optimiser() -> None:
    module = seesay.create("clip-tiny").module
    scales = layer_scales(module, 0.5)
    assert scales["image.blocks.1.mlp.fc1.weight"] == 0.5
    assert scales["image.blocks.0.mlp.fc1.weight"] == 0.25
    assert scales["image.patch_embedding.weight"] == 0.125
    assert scales["text.token_embedding.weight"] == 0.125
    top = ("logit_scale", "image_projection.weight", "text.final_norm.weight")
    assert {scales[name] for name in top} == {1.0}
    config = OptimConfig(lr=1.0, weight_decay=0.0, layer_decay=0.5, eps=1e-12)
    optimiser = adamw(module, config)
    set_lr(optimiser, 1e-3)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    for name, parameter in module.named_parameters():
        # Adam's first step has the length of the learning rate
        moved = (before[name] - parameter).abs().max()
        torch.testing.assert_close(moved, torch.tensor(1e-3 * scales[name]), rtol=1e-3, atol=1e-6)


def test_towers_of_stages_decay_block_by_block() -> None:
    tower = nn.Module()
    tower.patch = nn.Linear(2, 2)
    tower.stages = nn.ModuleList(nn.ModuleList(nn.Linear(2, 2) for _ in range(2)) for _ in range(2))
    root = nn.Module()
    root.image = tower
    scales = layer_scales(root, 0.1)
    found = [scales[f"image.stages.{s}.{b}.weight"] for s in range(2) for b in range(2)]
    assert found == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    assert scales["image.patch.weight"] == pytest.approx(1e-5)


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_the_rate_rises_step_by_step_and_falls_to_its_end(kind: str) -> None:
    config = ScheduleConfig(kind=kind, warmup=10, start=0.2, end=0.1)  # type: ignore[arg-type]
    rates = [factor(s, 100, config) for s in range(101)]
    assert rates[0] == pytest.approx(0.2 + 0.8 / 10)
    assert rates[:10] == sorted(rates[:10])
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.55)
    assert rates[100] == pytest.approx(0.1)


def test_a_constant_rate_stays_and_a_warm_up_may_outlast_the_run() -> None:
    assert factor(90, 100, ScheduleConfig(kind="constant", warmup=5)) == 1.0
    assert factor(9, 10, ScheduleConfig(warmup=100)) == pytest.approx(0.1)


def test_the_running_mean_is_the_published_one_and_swapping_twice_changes_nothing() -> None:
    module = nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(1.0)
    ema = Ema(module, 0.9)
    for step, value in ((1, 2.0), (1000, 3.0)):
        module.weight.data.fill_(value)
        ema.update(step)
    early = 2 / 11  # of the mean remains after the first step
    mean = 0.9 * (early * 1.0 + (1 - early) * 2.0) + 0.1 * 3.0
    ema.swap()
    assert module.weight.item() == pytest.approx(mean)
    ema.swap()
    assert module.weight.item() == 3.0
    assert ema.means["weight"].item() == pytest.approx(mean)


def test_gradients_are_scaled_together_and_their_norm_is_told() -> None:
    model = build()
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    parameters = list(model.parameters())
    whole = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    assert _clip(parameters, 0.5) == pytest.approx(float(whole.norm()), rel=1e-5)
    clipped = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    torch.testing.assert_close(clipped, whole * (0.5 / whole.norm()))
    assert _clip(parameters, None) == pytest.approx(0.5, rel=1e-4)


SETTINGS = [
    "optim.lr=1e-4",
    "optim.betas=[0.9,0.95]",
    "optim.clip=none",
    "tune.lora.rank=4",
    "tune.freeze=image,text.*",
    "tune.cache=image",
    "data.path=100",
    "data.bucket=true",
    "steps=7",
    "objective.views=1",
]


def test_settings_reach_every_part_and_survive_json() -> None:
    config = override(TrainConfig(), SETTINGS)
    assert config.optim == OptimConfig(lr=1e-4, betas=(0.9, 0.95), clip=None)
    assert config.tune.lora == LoraConfig(rank=4)
    assert (config.tune.freeze, config.tune.cache) == (("image", "text.*"), ("image",))
    assert (config.data.path, config.data.bucket, config.steps) == ("100", True, 7)
    assert isinstance(config.objective.views, float)
    assert from_dict(TrainConfig, json.loads(json.dumps(to_dict(config)))) == config


def test_settings_are_set_together_whatever_their_order() -> None:
    begun = TrainConfig(epochs=3)
    for order in (["steps=2", "epochs=null"], ["epochs=null", "steps=2"]):
        assert override(begun, order).steps == 2
    with pytest.raises(UsageError, match="cannot both decide"):
        override(begun, ["steps=2"])
    assert override(begun, ["wandb=null", "metric=none"]).wandb is None
    assert override(begun, ["metric=-cer"]).metric == "-cer"
    with pytest.raises(UsageError, match="as a whole"):
        override(begun, ['data={"batch_size":4}', "data.path=x"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"strategy": "fspd2"},
        {"precision": "fp16"},
        {"optim": OptimConfig(weight_decay="much")},  # type: ignore[arg-type]
    ],
)
def test_values_of_another_kind_are_refused_wherever_they_come_from(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="is not"):
        checked(TrainConfig(**wrong))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("optm.lr=1", "Did you mean optim"),
        ("optim.lr=fast", "is not a number"),
        ("data.batch_size=1", "two pairs"),
        ("tune.cache=imge", "is not"),
        ("steps=1.5", "is not a whole number or none"),
        ("lr=1", "Did you mean optim.lr"),
        ("objective.name=clip", "is not one of info_nce, sigmoid"),
        ("steps=-1", "not above 0"),
        ("metric=cer", "of cer less is better: write metric=-cer"),
        ("metric=val_loss", "write metric=-val_loss"),
        ("metric=text_to_image_mean_rank", "less is better"),
        ("tune.lora.rank.x=1", "no parts"),
        ("steps", "sets nothing"),
        ("data.on_missing=ignore", "error"),
        ("data.bucket=1", "is not true or false"),
        ('data={"batch_size":1}', "two pairs"),
        ("optim.lr=-1", "not above 0"),
        ("seed=-3", "not at least 0"),
        ("objective.label_smoothing=5", "not at least 0 and below 1"),
        ("data.workers=-3", "not at least 0"),
        ("optim.layer_decay=0", "not above 0"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_with_a_reason(setting: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        override(TrainConfig(), [setting])
