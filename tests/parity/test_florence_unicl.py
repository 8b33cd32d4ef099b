"""UniCL's .pth files give what a slow reference computes from the same tensors."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reference import unicl as oracle
from seesay.checkpoints.convert import convert
from seesay.checkpoints.load import Loaded, read
from seesay.errors import CheckpointError, UsageError

FEATURES = 1e-5
"""Largest difference of unit vectors' entries: fp32 kernels against float64 sums."""

DEPTHS, HEADS, WINDOW, SIDE, LENGTH = (2, 3, 2), (3, 2, 5), 3, 96, 11
SHAPES = oracle.shapes(24, 15, DEPTHS, HEADS, 128, 2, window=WINDOW, mlp=3, vocab=99, length=LENGTH)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return oracle.random_weights(SHAPES)


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Two images, and four texts of different lengths, padded with 0 after their end token."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=generator)
    ids = torch.randint(1, 98, (4, LENGTH), generator=generator)
    mask = torch.arange(LENGTH) < torch.tensor([[LENGTH], [2], [7], [5]])
    ids[~mask] = 0
    ids[range(4), mask.sum(1) - 1] = 98
    return pixels, ids, mask


def check(loaded: Loaded, weights: dict[str, Tensor]) -> None:
    pixels, ids, mask = inputs()
    module: Any = loaded.module.float().eval()
    with torch.no_grad():
        image, text = module.embed_image(pixels), module.embed_text(ids, mask)
        short = module.embed_text(ids[1:, :7], mask[1:, :7])  # the reference cannot do that
    theirs = oracle.encode_image(weights, pixels)
    torch.testing.assert_close(image.double(), theirs, atol=FEATURES, rtol=0)
    theirs = oracle.encode_text(weights, ids)
    torch.testing.assert_close(text.double(), theirs, atol=FEATURES, rtol=0)
    torch.testing.assert_close(short.double(), theirs[1:], atol=FEATURES, rtol=0)
    assert module.logit_scale.item() == float(weights["logit_scale"])


def test_a_release_is_read_with_its_buffers(weights: dict[str, Tensor], tmp_path: Path) -> None:
    state = weights | oracle.buffers(DEPTHS, WINDOW, SIDE)
    assert sum("attn_mask" in name for name in state) == 3  # the last stage is one window
    torch.save({"model": state}, tmp_path / "yfcc14m.pth")
    loaded = read(tmp_path / "yfcc14m.pth")
    assert (loaded.family.name, loaded.layout) == ("florence", "unicl")
    assert loaded.config.image.image_size == loaded.processor.image.size == (SIDE, SIDE)
    assert loaded.config.image.num_heads == HEADS
    assert loaded.config.text.num_heads == 2
    check(loaded, weights)


def test_files_without_buffers_or_with_older_names_are_read(
    weights: dict[str, Tensor], tmp_path: Path
) -> None:
    older = {
        "image_encoder.": "visual.",
        "text_encoder.": "text.",
        "image_projection": "vision_projection",
    }
    between = {"text_encoder.": "lang_encoder."}
    whole = weights | oracle.buffers(DEPTHS, WINDOW, SIDE)
    cases = ((weights, {}, 224), (weights, between, 224), (whole, older, SIDE))
    for i, (tensors, names, side) in enumerate(cases):
        state = {}
        for name, tensor in tensors.items():
            for new, old in names.items():
                name = name.replace(new, old) if name.startswith(new) else name
            state[name] = tensor
        torch.save(state, tmp_path / f"{i}.pth")
        loaded = read(tmp_path / f"{i}.pth")
        assert loaded.layout == "unicl"
        assert loaded.config.image.image_size == (side, side)
        check(loaded, weights)


def test_what_the_reference_saves_while_training_is_read(
    weights: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It pickles its settings, of a class that is not known here, beside the weights."""
    module = types.ModuleType("yacs.config")

    class CfgNode(dict):  # type: ignore[type-arg]
        def __init__(self, *parts: Any) -> None:
            super().__init__(*parts)
            self.__dict__["__immutable__"] = False

    CfgNode.__module__, CfgNode.__qualname__ = "yacs.config", "CfgNode"
    module.CfgNode = CfgNode  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", module)
    config = CfgNode({"MODEL": CfgNode({"NAME": "unicl", "DEPTHS": [2, 2]})})
    saved = {"model": weights, "optimizer": {"state": {}}, "epoch": 3, "config": config}
    for name, zipped in (("new.pth", True), ("old.pth", False)):
        torch.save(saved, tmp_path / name, _use_new_zipfile_serialization=zipped)
    monkeypatch.undo()
    for name in ("new.pth", "old.pth"):
        check(read(tmp_path / name), weights)


def test_what_is_written_is_what_was_read(weights: dict[str, Tensor], tmp_path: Path) -> None:
    """As the reference reads it: under "model", every buffer with the value it would compute."""
    state = weights | oracle.buffers(DEPTHS, WINDOW, SIDE)
    torch.save({"model": state}, tmp_path / "in.pth")
    convert(tmp_path / "in.pth", tmp_path / "native", "native")
    convert(tmp_path / "native", tmp_path / "out.pth", "unicl")
    written = torch.load(tmp_path / "out.pth", weights_only=True)["model"]
    assert written.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(written[name], tensor), name


def test_buffers_that_say_something_else_are_refused(
    weights: dict[str, Tensor], tmp_path: Path
) -> None:
    state = weights | oracle.buffers(DEPTHS, WINDOW, SIDE)
    name = "image_encoder.layers.0.blocks.0.attn.relative_position_index"
    torch.save({"model": state | {name: state[name].T.contiguous()}}, tmp_path / "turned.pth")
    with pytest.raises(CheckpointError, match=f"{name} is not what"):
        read(tmp_path / "turned.pth")


def test_other_towers_are_refused_by_name(weights: dict[str, Tensor], tmp_path: Path) -> None:
    focal = {name.replace("attn.qkv", "modulation.f"): t for name, t in weights.items()}
    torch.save({"model": focal}, tmp_path / "focal.pth")
    with pytest.raises(CheckpointError, match="FocalNet"):
        read(tmp_path / "focal.pth")
    lost = {name: t for name, t in weights.items() if not name.startswith("text_encoder.")}
    torch.save({"model": lost}, tmp_path / "image.pth")
    with pytest.raises(CheckpointError, match=r"token_embedding\.weight"):
        read(tmp_path / "image.pth")


def test_sizes_that_the_reference_cannot_cut_are_not_written_for_it(
    weights: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(weights, tmp_path / "in.pth")  # without buffers it is taken for one of 224 pixels
    with pytest.raises(CheckpointError, match="whole windows") as caught:
        convert(tmp_path / "in.pth", tmp_path / "out.pth", "unicl")
    assert "a multiple of 48" in str(caught.value)
    assert not (tmp_path / "out.pth").exists()


def test_asking_for_a_release_by_name_says_where_it_is() -> None:
    with pytest.raises(UsageError, match="not on the hub") as caught:
        read("unicl-swin-t")
    assert "github.com/microsoft/UniCL/releases" in str(caught.value)
