"""Cached features are the tower's, computed once, and again when anything behind them changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from contract.probes import able, picture
from seesay.data.record import Cell, Dataset, Member
from seesay.errors import UsageError
from seesay.train.adapters import add_lora
from seesay.train.config import LoraConfig
from seesay.train.reach import chosen
from train.counted import Counted, close, dataset, draw, exact, record


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    return Counted(tmp_path / "cache")


# -- what they are -------------------------------------------------------------------------------


def test_they_are_the_towers_features_in_any_order(counted: Counted, tmp_path: Path) -> None:
    data = dataset(draw(tmp_path / "p", 10))
    features = counted(data)
    assert (len(features), counted.computed) == (10, 10)
    found = features([7, 0, 7, 3])
    for row, i in zip(found, (7, 0, 7, 3), strict=True):
        close(row, exact(counted.model, data, i))


@pytest.mark.parametrize("name", able("embed"))
def test_every_family_can_train_behind_its_features(name: str, tmp_path: Path) -> None:
    counted = Counted(tmp_path / "cache", name)
    data = dataset(draw(tmp_path / "p", 5))
    module: Any = counted.model.module
    found = module.project_image(counted(data)(range(5)))
    for i, vector in enumerate(found):
        close(vector, module.project_image(exact(counted.model, data, i)[None])[0])
    texts = module.project_text(counted(data, "text")([1, 2]))
    (found[:2] * texts).sum().backward()
    moved = {name for name, p in module.named_parameters() if p.grad is not None}
    assert moved
    assert not moved & set(chosen(counted.model, ["image", "text"]))


def test_each_caption_of_each_record_has_its_own(counted: Counted, tmp_path: Path) -> None:
    data = dataset(draw(tmp_path / "p", 9))
    features = counted(data, "text")
    assert len(features) == counted.computed == sum(data.text_count(i) for i in range(9))
    for i in range(9):
        for j, text in enumerate(data[i].texts):
            with torch.no_grad():
                ids, mask = counted.model.processor.texts([text])
                wanted = counted.model.module.pool_text(ids, mask)[0]  # type: ignore[operator]
            close(features([i], [j])[0], wanted)


def test_pictures_in_files_shards_and_tables_are_told_by_their_bytes(
    counted: Counted, tmp_path: Path
) -> None:
    (one, two) = (Path(str(r.image)) for r in draw(tmp_path / "p", 2))
    shard = tmp_path / "shard.tar"
    shard.write_bytes(b"?" * 10 + one.read_bytes() + two.read_bytes())
    os.utime(shard, (1e9, 1e9))
    size = one.stat().st_size
    members = [
        Member(str(shard), 10, size, "a"),
        Member(str(shard), 10 + size, two.stat().st_size, "b"),
    ]
    files = counted(dataset([record(one), record(two), record(one)]))
    assert counted.computed == 2, "equal pictures are computed once"
    for data in (
        dataset([record(member) for member in members]),
        dataset(
            [record(Cell(0, "a")), record(Cell(1, "b"))],
            read_cell=lambda row: (one, two)[row].read_bytes(),
        ),
    ):
        assert torch.equal(counted(data)([1, 0]), files([1, 2]))
        assert counted.computed == 0


def test_they_are_computed_in_evaluation_mode_and_all_modes_come_back(
    counted: Counted, tmp_path: Path
) -> None:
    module = counted.model.module.train()
    module.get_submodule("text.final_norm").eval()
    before = [part.training for part in module.modules()]
    counted(dataset(draw(tmp_path / "p", 2)))
    assert [part.training for part in module.modules()] == before


# -- when they are computed ----------------------------------------------------------------------


def test_what_is_kept_is_never_computed_again(counted: Counted, tmp_path: Path) -> None:
    records = draw(tmp_path / "p", 6)
    first = counted(dataset(records))(range(6))
    again = counted(dataset(records))
    assert (counted.computed, torch.equal(again(range(6)), first)) == (0, True)
    grown = counted(dataset(draw(tmp_path / "p", 3, first=6) + records[::-1]))
    assert counted.computed == 3
    assert torch.equal(grown(range(8, 2, -1)), first)
    moved = tmp_path / "elsewhere.png"
    Path(str(records[2].image)).rename(moved)
    assert torch.equal(counted(dataset([record(moved)]))([0])[0], first[2])
    assert counted.computed == 0, "the name of a picture does not matter"
    counted(dataset(records[3:] * 2))
    assert counted.computed == 0


def test_unchanged_files_are_not_even_read(
    counted: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset(draw(tmp_path / "p", 4))
    counted(data)
    monkeypatch.setattr(Dataset, "image_bytes", None)
    counted(data)


def test_a_picture_with_other_bytes_is_computed_anew(counted: Counted, tmp_path: Path) -> None:
    data = dataset(draw(tmp_path / "p", 4))
    counted(data)
    picture(33, 44, seed=99).save(tmp_path / "p" / "2.png")
    features = counted(data)
    assert counted.computed == 1
    close(features([2])[0], exact(counted.model, data, 2))


def nudge(name: str) -> Callable[[Counted], None]:
    def change(counted: Counted) -> None:
        with torch.no_grad():
            counted.model.module.get_parameter(name).view(-1)[0].add_(1e-3)

    return change


def other_pixels(counted: Counted) -> None:
    processor: Any = counted.model.processor
    object.__setattr__(processor.image, "resample", "bilinear")


CHANGES: dict[str, tuple[Callable[[Counted], object], int]] = {
    "a weight of the tower": (nudge("image.blocks.1.mlp.fc2.weight"), 3),
    "a weight of the other tower": (nudge("text.blocks.1.mlp.fc2.weight"), 0),
    "the projection": (nudge("image_projection.weight"), 0),
    "the logit scale": (nudge("logit_scale"), 0),
    "a setting of the processor": (other_pixels, 3),
    "the precision": (lambda c: c.model.to(dtype="bfloat16"), 3),
    "autocast": (lambda c: c.options.update(bf16=True), 3),
    "the other tower is trained": (lambda c: c.model.module.text.requires_grad_(), 0),  # type: ignore[union-attr,operator]
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_decides_the_features_decides_whether_they_are_computed(
    counted: Counted, tmp_path: Path, change: str
) -> None:
    data = dataset(draw(tmp_path / "p", 3))
    counted(data)
    apply, computed = CHANGES[change]
    apply(counted)
    counted(data)
    assert counted.computed == computed


# -- when they cannot be kept --------------------------------------------------------------------


def test_a_tower_that_trains_has_no_cache(counted: Counted, tmp_path: Path) -> None:
    data = dataset(draw(tmp_path / "p", 1))
    counted.model.module.get_parameter("image.blocks.1.mlp.fc2.bias").requires_grad_(True)
    with pytest.raises(UsageError, match=r"changes image\.blocks\.1\.mlp\.fc2\.bias"):
        counted(data)
    counted(data, "text")


def test_a_tower_with_an_adapter_has_no_cache_and_the_other_has(
    counted: Counted, tmp_path: Path
) -> None:
    data = dataset(draw(tmp_path / "p", 3))
    counted(data)
    add_lora(counted.model.module, LoraConfig(targets=("text.*.q_proj",)))
    with pytest.raises(UsageError, match=r"text tower is not frozen.*lora_A"):
        counted(data, "text")
    counted(data)
    assert counted.computed == 0


def test_augmented_pictures_have_no_cache(counted: Counted, tmp_path: Path) -> None:
    data = dataset(draw(tmp_path / "p", 3))
    with pytest.raises(UsageError, match="augment='clip' makes another picture every time"):
        counted(data, augment="clip")
    counted(data, "text", augment="clip")


def test_features_too_large_for_half_precision_are_an_error(
    counted: Counted, tmp_path: Path
) -> None:
    with torch.no_grad():
        counted.model.module.get_parameter("image.final_norm.weight").mul_(1e6)
    with pytest.raises(UsageError, match="half precision"):
        counted(dataset(draw(tmp_path / "p", 1)))
