"""Adapters learn beside still weights, and peft and seesay read each other's."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import seesay
from contract.probes import TEXTS, able, build, picture, pictures
from seesay.errors import CheckpointError, ModelMismatch, UsageError
from seesay.model import Model
from seesay.processing.image import open_picture
from seesay.train.adapters import add_lora, save_adapter
from seesay.train.config import LoraConfig
from seesay.train.freeze import training_mode

SAME = 1e-6
MANY = LoraConfig(
    rank=3,
    alpha=7.0,
    targets=("q_proj", "v_proj", "text.*.fc1", "mlp.fc2"),
    train=("*_projection", "logit_scale", "*.q_proj.bias", "*.blocks.0.mlp_norm"),
)


def stir(module: nn.Module) -> None:
    """Move everything that is trained, as training would."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))


def outputs(model: Model, module: Any = None) -> tuple[Tensor, Tensor, Tensor]:
    module = model.module if module is None else module
    with torch.no_grad():
        ids, mask = model.processor.texts(TEXTS)
        pixels = torch.cat([model.processor.images([seen]) for seen in opened()])
        found = module.embed_image(pixels), module.embed_text(ids, mask), module.logit_scale
    return tuple(tensor.clone() for tensor in found)  # type: ignore[return-value]


def opened() -> list[Any]:
    return [open_picture(image) for image in pictures()]


def agree(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=SAME, rtol=0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters") / "base"
    model = build("clip-tiny")
    model.processor.tokenizer = None  # type: ignore[attr-defined]  # the published one is cached
    model.save(folder)
    return folder


@pytest.fixture(scope="module")
def trained(base: Path) -> tuple[Model, Path]:
    """A model with a stirred adapter, and the folder it was saved in."""
    model = seesay.load(base, dtype="float32")
    add_lora(model.module, MANY)
    stir(model.module)
    save_adapter(model, base.parent / "adapter")
    return model.to(), base.parent / "adapter"


def load(name: Path, **options: Any) -> Model:
    return seesay.load(name, dtype="float32", **options)


# -- training ------------------------------------------------------------------------------------


def test_an_adapter_begins_by_changing_nothing_and_the_module_keeps_its_class(base: Path) -> None:
    model, plain = load(base), load(base)
    told = add_lora(model.module, MANY)
    assert type(model.module) is type(plain.module)
    for found, wanted in zip(outputs(model), outputs(plain), strict=True):
        assert torch.equal(found, wanted)
    assert 0 < told.trained < told.total / 10


def test_training_moves_the_adapter_and_what_is_named_and_no_other_bit(base: Path) -> None:
    model = load(base)
    add_lora(model.module, LoraConfig(rank=2, train=("text_projection", "logit_scale")))
    before = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    moving = [p for p in model.module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(moving, lr=1e-2)
    ids, mask = model.processor.texts(TEXTS)
    pixels = torch.cat([model.processor.images([seen]) for seen in opened()])
    losses = []
    for _ in range(12):
        training_mode(model.module)
        module: Any = model.module
        logits = module.logit_scale.exp() * (
            module.embed_image(pixels) @ module.embed_text(ids, mask).T
        )
        loss = nn.functional.cross_entropy(logits, torch.arange(len(TEXTS)))
        losses.append(loss.item())
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert losses[-1] < losses[0] / 2
    for name, tensor in model.module.state_dict().items():
        meant = ".lora_" in name or name in ("text_projection.weight", "logit_scale")
        assert torch.equal(tensor, before[name]) != meant, name


def test_dropout_of_the_adapter_follows_training_mode(base: Path) -> None:
    model = load(base)
    add_lora(model.module, LoraConfig(dropout=0.5))
    stir(model.module)
    training_mode(model.module)
    first, second = outputs(model), outputs(model)
    assert not torch.equal(first[0], second[0])
    model.module.eval()
    first, second = outputs(model), outputs(model)
    assert torch.equal(first[0], second[0])


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (LoraConfig(targets=("q_prj",)), "'q_prj' is no linear layer.*q_proj"),
        (LoraConfig(targets=("token_embedding",)), "'token_embedding' is no linear layer"),
        (LoraConfig(targets=()), "no layer is named"),
        (LoraConfig(train=("text_projektion",)), "matches no parameter.*text_projection"),
    ],
)
def test_what_cannot_be_adapted_is_refused_and_nothing_is_changed(
    base: Path, config: LoraConfig, why: str
) -> None:
    module = load(base).module
    with pytest.raises(UsageError, match=why):
        add_lora(module, config)
    assert not hasattr(module, "peft_config")


def test_a_second_adapter_goes_on_top_of_the_merged_first(trained: tuple[Model, Path]) -> None:
    model, folder = trained
    with pytest.raises(UsageError, match="has an adapter already"):
        add_lora(model.module, LoraConfig())
    second = load(folder)
    add_lora(second.module, LoraConfig(rank=2))
    stir(second.module)
    save_adapter(second, folder.parent / "second")
    agree(outputs(load(folder.parent / "second")), outputs(second))


# -- saved and loaded ----------------------------------------------------------------------------


@pytest.mark.parametrize("merge", [True, False])
def test_a_saved_adapter_gives_what_was_trained(trained: tuple[Model, Path], merge: bool) -> None:
    model, folder = trained
    found = load(folder, merge=merge)
    agree(outputs(found), outputs(model))
    agree(outputs(load(folder.parent / "base", adapter=folder, merge=merge)), outputs(model))
    assert hasattr(found.module, "peft_config") != merge
    assert not any(p.requires_grad for p in found.module.parameters())


def test_a_merged_model_is_an_ordinary_one(trained: tuple[Model, Path], tmp_path: Path) -> None:
    merged = load(trained[1])
    merged.save(tmp_path / "merged")
    again = load(tmp_path / "merged")
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    for name, tensor in merged.module.state_dict().items():
        assert torch.equal(tensor, again.module.state_dict()[name]), name
    # whoever made an index with one may search it with the others
    apart = load(trained[1], merge=False)
    assert again.fingerprint == merged.fingerprint == apart.fingerprint
    assert merged.fingerprint != load(trained[1].parent / "base").fingerprint


def test_a_merged_model_can_be_packed_and_one_apart_says_how(trained: tuple[Model, Path]) -> None:
    model, folder = trained
    packed = load(folder, optimize=True)
    torch.testing.assert_close(
        packed.embed_images(pictures()), model.embed_images(pictures()), atol=1e-5, rtol=0
    )
    with pytest.raises(UsageError, match="merge=True"):
        load(folder, optimize=True, merge=False)
    with pytest.raises(UsageError, match="merge=True"):
        load(folder, merge=False).save(folder.parent / "never")


def test_using_an_adapter_needs_no_peft(
    trained: tuple[Model, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    load(trained[1]).embed_texts("a cat")
    with pytest.raises(UsageError, match=r"needs peft(.|\n)*seesay\[train\]"):
        load(trained[1], merge=False)


def test_other_values_are_saved_when_given(trained: tuple[Model, Path], tmp_path: Path) -> None:
    model, _ = trained
    mean = {name: tensor / 2 for name, tensor in model.module.state_dict().items()}
    save_adapter(model, tmp_path / "mean", tensors=mean)
    saved = load_file(tmp_path / "mean" / "adapter_model.safetensors")
    assert torch.equal(saved["base_model.model.logit_scale"], mean["logit_scale"])
    down = "image.blocks.0.attention.q_proj.lora_A{}.weight"
    assert torch.equal(saved["base_model.model." + down.format("")], mean[down.format(".default")])


def test_saving_replaces_an_adapter_and_nothing_else(
    trained: tuple[Model, Path], tmp_path: Path
) -> None:
    model, folder = trained
    save_adapter(model, folder)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something else"):
        save_adapter(model, tmp_path)
    with pytest.raises(UsageError, match="no adapter in training"):
        save_adapter(load(folder, merge=False), tmp_path / "new")
    assert sorted(p.name for p in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


# -- together with peft --------------------------------------------------------------------------


def test_peft_loads_ours_without_a_warning(trained: tuple[Model, Path]) -> None:
    model, folder = trained
    plain = load(folder.parent / "base")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        theirs = peft.PeftModel.from_pretrained(plain.module, folder)
    agree(outputs(model, theirs.base_model.model), outputs(model))
    merged = theirs.merge_and_unload()
    agree(outputs(model, merged), outputs(model))


THEIRS: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": ["q_proj", "fc1"]},
    "rank-stabilised": {"target_modules": ["k_proj"], "use_rslora": True, "lora_alpha": 5},
    "patterns": {
        "target_modules": ["fc1", "fc2"],
        "rank_pattern": {"image.blocks.0.mlp.fc2": 6},
        "alpha_pattern": {"fc1": 3, "^text.blocks.1.mlp.fc2": 20},
    },
    "whole modules": {"target_modules": ["v_proj"], "modules_to_save": ["text_projection"]},
    "biases": {"target_modules": ["q_proj"], "bias": "lora_only"},
    "a pattern of names": {"target_modules": r"text\..*\.(q|v)_proj"},
}


@pytest.mark.parametrize("kind", THEIRS)
def test_we_load_what_peft_made(base: Path, tmp_path: Path, kind: str) -> None:
    plain = load(base)
    theirs: Any = peft.get_peft_model(plain.module, peft.LoraConfig(r=3, **THEIRS[kind]))
    stir(theirs)
    theirs.save_pretrained(tmp_path)
    wanted = outputs(plain, theirs.base_model.model)
    assert not torch.equal(wanted[1], outputs(load(base))[1])
    for merge in (True, False):
        agree(outputs(load(base, adapter=tmp_path, merge=merge)), wanted)


@pytest.mark.parametrize("name", able("embed"))
def test_every_family_is_adapted(name: str, tmp_path: Path) -> None:
    build(name).save(tmp_path / "base")
    model = load(tmp_path / "base")
    add_lora(model.module, LoraConfig(rank=2, train=("*project*", "logit_scale")))
    stir(model.module)
    save_adapter(model, tmp_path / "adapter")
    pixels = torch.randn(2, 3, *model.processor.image.size)
    found: Any = load(tmp_path / "adapter").module
    with torch.no_grad():
        wanted: Any = model.module
        agree([found.embed_image(pixels)], [wanted.embed_image(pixels)])
        ids, mask = model.processor.texts(TEXTS)
        agree([found.embed_text(ids, mask)], [wanted.embed_text(ids, mask)])
    told = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert all("project" in whole for whole in told["modules_to_save"])


# -- the wrong base, and damage ------------------------------------------------------------------


def test_another_base_is_refused_by_name(trained: tuple[Model, Path], tmp_path: Path) -> None:
    build("clip-tiny", seed=9).save(tmp_path / "other")
    with pytest.raises(ModelMismatch) as caught:
        load(tmp_path / "other", adapter=trained[1])
    assert str(trained[1].parent / "base") in str(caught.value)
    assert str(tmp_path / "other") in str(caught.value)


def test_an_adapter_of_another_shape_lists_what_does_not_fit(base: Path, tmp_path: Path) -> None:
    other: Any = peft.get_peft_model(
        load(base).module, peft.LoraConfig(r=2, target_modules=["fc1"])
    )
    other.save_pretrained(tmp_path)
    build("mini-tiny").save(tmp_path / "mini")
    with pytest.raises(CheckpointError, match=r"does not fit its base: there is no layer image"):
        load(tmp_path / "mini", adapter=tmp_path)


def test_an_adapter_whose_base_is_gone_says_how_to_name_it(
    trained: tuple[Model, Path], tmp_path: Path
) -> None:
    change(copied(trained[1], tmp_path), base_model_name_or_path="/nowhere/base")
    with pytest.raises(UsageError, match=r"is an adapter on /nowhere/base(.|\n)*adapter='"):
        load(tmp_path / "copy")
    agree(outputs(load(trained[1].parent / "base", adapter=tmp_path / "copy")), outputs(trained[0]))


@pytest.mark.parametrize("told", [None, 7, "{self}"])
def test_an_adapter_without_a_base_is_an_error(
    trained: tuple[Model, Path], tmp_path: Path, told: Any
) -> None:
    copy = copied(trained[1], tmp_path)
    change(copy, base_model_name_or_path=str(copy) if told == "{self}" else told)
    with pytest.raises(CheckpointError, match=r"names no base model|each other's base"):
        load(copy)


ASKED: list[tuple[dict[str, Any], str]] = [
    ({"peft_type": "LOHA"}, "of kind 'LOHA'"),
    ({"peft_type": ["LORA"]}, "of kind"),
    ({"use_dora": True}, "use_dora"),
    ({"megatron_config": {"a": 1}, "megatron_core": "antigravity"}, "megatron_config"),
    ({"init_lora_weights": "pissa"}, "init_lora_weights"),
    ({"layer_replication": [[0, 2]]}, "layer_replication"),
    ({"invented_tomorrow": 3}, "invented_tomorrow"),
    ({"lora_alpha": "16"}, "lora_alpha='16' is not a number"),
    ({"lora_alpha": float("inf")}, "not a number"),
    ({"alpha_pattern": {"(a+)+$": 3}}, "more than a name"),
    ({"alpha_pattern": [1]}, "alpha_pattern"),
]


@pytest.mark.parametrize(("fields", "why"), ASKED)
def test_settings_that_would_change_the_meaning_are_refused(
    trained: tuple[Model, Path], tmp_path: Path, fields: dict[str, Any], why: str
) -> None:
    change(copied(trained[1], tmp_path), **fields)
    for merge in (True, False):
        with pytest.raises(CheckpointError, match=why):
            load(tmp_path / "copy", merge=merge)


def test_damaged_files_are_one_clear_error(trained: tuple[Model, Path], tmp_path: Path) -> None:
    copy = copied(trained[1], tmp_path)
    weights, config = copy / "adapter_model.safetensors", copy / "adapter_config.json"
    whole, told = weights.read_bytes(), config.read_bytes()
    flipped = bytearray(whole)
    flipped[-9] ^= 1
    for bad in (b"", whole[:100], whole[:-4], bytes(flipped), b"x" * len(whole)):
        weights.write_bytes(bad)
        with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors"):
            load(copy)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors cannot be read"):
        load(copy)
    weights.write_bytes(whole)
    for bad in (b"", told[:-9], b"[]", b"\xff"):
        config.write_bytes(bad)
        with pytest.raises(CheckpointError, match=r"adapter_config\.json"):
            load(copy)
    config.write_bytes(told)
    agree(outputs(load(copy)), outputs(trained[0]))


def test_a_folder_with_a_picture_is_embedded_by_the_adapter(trained: tuple[Model, Path]) -> None:
    model, folder = trained
    found = load(folder).embed_images(picture())
    torch.testing.assert_close(found, model.embed_images(picture()), atol=SAME, rtol=0)


def copied(folder: Path, to: Path) -> Path:
    copy = to / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def change(folder: Path, **fields: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
