"""Frozen means: no gradient, no change, and no dropout or running statistics either."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import seesay
from seesay.errors import UsageError
from seesay.train.freeze import freeze, matching, trainable, training_mode


def tower() -> nn.Module:
    """A module with all that must stand still when it is frozen."""
    return nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.5))


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image, self.image_projection, self.text = tower(), nn.Linear(6, 6), tower()
        self.after = nn.Dropout(0.5)
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.image_projection(self.image(x))) + self.text(x) * self.logit_scale


@pytest.mark.parametrize(
    ("patterns", "frozen"),
    [
        (["image"], {"image.0.weight", "image.0.bias", "image.1.weight", "image.1.bias"}),
        (["image.[0-3].weight"], {"image.0.weight", "image.1.weight"}),
        (["*.1"], {"image.1.weight", "image.1.bias", "text.1.weight", "text.1.bias"}),
        (["logit_scale", "image_*.bias"], {"logit_scale", "image_projection.bias"}),
        ([], set()),
    ],
)
def test_a_pattern_names_parameters_or_modules_with_all_below(
    patterns: list[str], frozen: set[str]
) -> None:
    module = Pair()
    assert set(freeze(module, patterns)) == frozen
    assert {n for n, p in module.named_parameters() if not p.requires_grad} == frozen


@pytest.mark.parametrize(
    ("pattern", "near"),
    [("imgae", "image"), ("image_projektion", "image_projection"), ("image.0.wieght", "weight")],
)
def test_a_pattern_that_matches_nothing_is_an_error_with_the_nearest_names(
    pattern: str, near: str
) -> None:
    module = Pair()
    with pytest.raises(UsageError, match=rf"'{pattern}' matches no parameter.*{near}"):
        freeze(module, ["text", pattern])
    assert all(p.requires_grad for p in module.parameters()), "half of the patterns were applied"


def test_a_shared_parameter_is_found_under_each_of_its_names() -> None:
    module = nn.ModuleDict({"first": nn.Linear(2, 2), "second": nn.Linear(2, 2)})
    module["second"].weight = module["first"].weight
    freeze(module, ["second.weight"])
    assert not module["first"].weight.requires_grad
    assert module["first"].bias.requires_grad
    assert str(trainable(module)).startswith("4 of 8 parameters are trained (50 %)")


def test_training_changes_no_bit_of_what_is_frozen_and_all_of_the_rest() -> None:
    torch.manual_seed(0)
    module = Pair()
    freeze(module, ["image"])
    before = copy.deepcopy(module.state_dict())
    optimiser = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        training_mode(module)
        module(torch.randn(8, 6)).square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()
        module.eval()  # as an evaluation between steps does
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]) == name.startswith("image."), name


def test_a_frozen_part_is_deterministic_in_training_and_a_trained_one_is_not() -> None:
    module = Pair()
    freeze(module, ["image", "image_projection"])
    training_mode(module)
    x = torch.randn(64, 6)
    assert torch.equal(module.image(x), module.image(x))
    assert not torch.equal(module.text(x), module.text(x))
    assert module.after.training, "dropout behind a trained part still drops"
    assert [m.training for m in module.image.modules()] == [False] * 4
    assert all(m.training for m in module.text.modules())


def test_one_trained_bias_keeps_its_module_in_training_mode_and_not_its_neighbours() -> None:
    module = Pair()
    freeze(module, ["image.0", "image.1.weight"])
    training_mode(module)
    assert [part.training for part in module.image] == [False, True, True]


def test_everything_frozen_is_all_in_evaluation_mode() -> None:
    module = Pair()
    freeze(module, ["*"])
    training_mode(module)
    assert not any(part.training for part in module.modules())
    assert trainable(module).trained == 0


def test_a_module_without_parameters_trains() -> None:
    module = nn.Dropout(0.5).eval()
    training_mode(module)
    assert module.training
    assert str(trainable(module)).startswith("0 of 0")


def test_the_towers_of_a_model_are_frozen_by_their_names() -> None:
    module = seesay.create("clip-tiny").module
    freeze(module, ["image", "text"])
    left = [name for name, p in module.named_parameters() if p.requires_grad]
    assert left == ["logit_scale", "image_projection.weight", "text_projection.weight"]
    assert matching(module, "text.blocks.?.attention.q_proj.bias") == [
        "text.blocks.0.attention.q_proj.bias",
        "text.blocks.1.attention.q_proj.bias",
    ]
