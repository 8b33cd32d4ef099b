"""Each rule there and back, and what is said when tensors do not fit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from seesay.checkpoints.keymap import (
    Assumed,
    Chosen,
    Constant,
    Drop,
    Fuse,
    KeyMap,
    Rename,
    Reshape,
    Shared,
    Split,
    Temperature,
    Tie,
    Transpose,
)
from seesay.errors import CheckpointError

MAP = KeyMap(
    Rename("enc.{stage}.{i}.norm.{rest...}", "stages.{stage}.blocks.{i}.norm.{rest...}"),
    Split("enc.{i}.qkv_{kind}", [f"blocks.{{i}}.{part}.{{kind}}" for part in "qkv"]),
    Fuse(["gate.{p}", "up.{p}"], "both.{p}"),
    Transpose("proj", "proj.weight"),
    Reshape(("head",), ("head.weight",), into=(-1, 1, 1), back=(-1,)),
    Rename("embed", "embed.weight"),
    Tie("output", original="embed"),
    Drop("{any...}.position_ids", why="rebuilt"),
)


def theirs() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "enc.0.3.norm.a.weight": torch.randn(4),
        "enc.1.qkv_weight": torch.randn(12, 4),
        "enc.1.qkv_bias": torch.randn(12),
        "gate.weight": torch.randn(3, 2),
        "up.weight": torch.randn(3, 2),
        "proj": torch.randn(2, 5),
        "head": torch.randn(6),
        "embed": torch.randn(9, 2),
    }


def ours() -> dict[str, Tensor]:
    t = theirs()
    parts = {
        f"blocks.1.{name}.{kind}": t[f"enc.1.qkv_{kind}"][4 * i : 4 * i + 4]
        for kind in ("weight", "bias")
        for i, name in enumerate("qkv")
    }
    return parts | {
        "stages.0.blocks.3.norm.a.weight": t["enc.0.3.norm.a.weight"],
        "both.weight": torch.cat([t["gate.weight"], t["up.weight"]]),
        "proj.weight": t["proj"].T,
        "head.weight": t["head"].view(6, 1, 1),
        "embed.weight": t["embed"],
    }


def test_every_rule_there() -> None:
    extra = {"enc.position_ids": torch.arange(3), "output": theirs()["embed"]}
    found = MAP.forward(theirs() | extra, ours(), "x")
    assert found.keys() == ours().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in ours().items())


def test_every_rule_back() -> None:
    found = MAP.inverse(ours())
    assert found.keys() == theirs().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in theirs().items())


def test_numbers_of_the_configuration_are_written_and_not_read() -> None:
    keymap = KeyMap(Constant("vocab_size", 99), Rename("a", "b"))
    one = torch.ones(1)
    back = keymap.inverse({"b": one})
    assert back == {"vocab_size": torch.tensor(99), "a": one}
    for found in (back, {"a": one}, back | {"vocab_size": torch.tensor(7)}):
        assert keymap.forward(found, {"b": one}, "x") == {"b": one}


def message(changed: dict[str, Tensor], expected: dict[str, Tensor] | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        MAP.forward(changed, expected or ours(), "model.pt")
    return caught.value.what


def test_everything_wrong_is_said_at_once() -> None:
    changed = theirs()
    changed["porj"] = changed.pop("proj")
    changed["head"] = torch.zeros(7)
    said = message(changed)
    assert "model.pt" in said
    assert "1 missing: proj. Did you mean porj?" in said
    assert "1 not known: porj" in said
    assert "1 do not fit: head: shape [7, 1, 1], expected [6, 1, 1]" in said


def test_half_of_a_fused_tensor_is_missing() -> None:
    changed = theirs()
    del changed["up.weight"]
    assert "1 missing: up.weight" in message(changed)


def test_a_layer_too_many_is_not_ignored() -> None:
    assert "1 not known: enc.1.4.norm.a.weight" in message(
        theirs() | {"enc.1.4.norm.a.weight": torch.zeros(4)}
    )


def test_rows_that_cannot_be_split() -> None:
    said = message(theirs() | {"enc.1.qkv_bias": torch.zeros(13)})
    assert "enc.1.qkv_bias: 13 rows cannot be cut into 3" in said
    assert "missing" not in said


def test_a_copy_that_is_not_one() -> None:
    assert "output should equal embed" in message(theirs() | {"output": torch.zeros(9, 2)})


def test_whole_numbers_where_fractions_belong() -> None:
    assert "torch.int8, expected torch.float32" in message(
        theirs() | {"head": torch.zeros(6, dtype=torch.int8)}
    )


def test_no_place_on_the_way_back() -> None:
    with pytest.raises(CheckpointError, match="no place for new"):
        MAP.inverse(ours() | {"new": torch.zeros(1)})


SHARED = KeyMap(Shared(["enc.{p}", "dec.{p}"], "text.{p}", 2), Temperature("temp", "logit_scale"))
SHARED_OURS = {"text.w": torch.zeros(2, 3), "logit_scale": torch.tensor(0.0)}


def test_one_tensor_under_two_names() -> None:
    w, temp = torch.randn(2, 3), torch.tensor(0.07)
    for names in (("enc.w",), ("dec.w",), ("enc.w", "dec.w")):
        theirs = {name: w.clone() for name in names} | {"temp": temp}
        ours = SHARED.forward(theirs, SHARED_OURS, "x")
        assert torch.equal(ours["text.w"], w)
        back = SHARED.inverse(ours)
        assert torch.equal(back["enc.w"], w)
        assert torch.equal(back["dec.w"], w)
    with pytest.raises(CheckpointError, match=r"enc\.w and dec\.w should be equal"):
        SHARED.forward({"enc.w": w, "dec.w": w + 1, "temp": temp}, SHARED_OURS, "x")
    with pytest.raises(CheckpointError, match=r"missing: enc\.w, dec\.w"):
        SHARED.forward({"temp": temp}, SHARED_OURS, "x")
    once = KeyMap(Shared(["enc.{p}", "dec.{p}"], "text.{p}"))
    assert once.inverse({"text.w": w}).keys() == {"enc.w"}


def test_a_temperature_comes_back_bit_for_bit() -> None:
    rule = Temperature("temp", "logit_scale")
    scales = torch.cat([torch.linspace(0.01, 7, 5000), torch.randn(5000) + 2])
    for scale in scales:
        (there,) = rule.inverse([scale])
        assert torch.equal(rule.forward([there])[0], scale)
    (scale,) = rule.forward([torch.tensor(0.07)])
    assert float(scale.exp()) == pytest.approx(1 / 0.07)
    for bad in (0.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="a temperature of"):
            rule.forward([torch.tensor(bad)])


def test_a_tensor_that_need_not_be_stored() -> None:
    usual = torch.tensor(-math.log(0.07))
    keymap = KeyMap(
        Temperature("temp", "logit_scale", unsaid=0.07), Assumed("logit_scale", lambda: usual)
    )
    expected = {"logit_scale": torch.tensor(0.0)}
    assert keymap.forward({}, expected, "x") == {"logit_scale": usual}
    assert keymap.inverse({"logit_scale": usual}) == {}
    told = keymap.inverse({"logit_scale": torch.tensor(3.0)})
    assert keymap.forward(told, expected, "x") == {"logit_scale": torch.tensor(3.0)}


CHOSEN = KeyMap(
    Chosen(
        ("first", "second", "either"),
        {"a": ("first", "either", "second"), "b": ("second", "either", "first")},
    )
)


def test_tensors_are_the_first_of_those_that_are_stored() -> None:
    stored = {name: torch.randn(2) for name in ("first", "second", "either")}
    expected = {"a": torch.zeros(2), "b": torch.zeros(2)}
    for names, a, b in (
        (("first", "second", "either"), "first", "second"),
        (("first", "either"), "first", "either"),
        (("second", "either"), "either", "second"),
        (("second",), "second", "second"),
        (("either",), "either", "either"),
    ):
        found = CHOSEN.forward({name: stored[name] for name in names}, expected, "x.pt")
        assert torch.equal(found["a"], stored[a])
        assert torch.equal(found["b"], stored[b])
    assert CHOSEN.inverse({"a": stored["first"], "b": stored["second"]}).keys() == {
        "first",
        "second",
    }
    with pytest.raises(CheckpointError, match="3 missing: first, second, either"):
        CHOSEN.forward({}, expected, "x.pt")
