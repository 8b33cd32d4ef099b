"""What files beside the weights say about pixels and tokens is done, refused or warned about."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import seesay
from seesay.checkpoints import hub, native
from seesay.checkpoints.convert import convert
from seesay.checkpoints.load import read
from seesay.errors import CheckpointError
from seesay.processing.image import ImageSpec

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    seesay.create("clip-tiny").save(tmp_path / "native")
    return tmp_path / "native"


@pytest.fixture
def hf(plain: Path, tmp_path: Path) -> Path:
    return convert(plain, tmp_path / "hf", "hf")


@pytest.fixture
def open_clip(plain: Path, tmp_path: Path) -> Path:
    return convert(plain, tmp_path / "open_clip", "open_clip")


def edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"resample": 9},
        {"resample": "bicubic"},
        {"resample": [3]},
        {"do_rescale": False},
        {"do_resize": False},
        {"rescale_factor": 1 / 127.5},
        {"rescale_factor": "1/255"},
        {"image_mean": [0.5, 0.5]},
        {"image_mean": [0.5, 0.5, float("nan")]},
        {"image_mean": 0.5},
        {"image_std": [0.5, 0.5, 0]},
        {"image_std": [0.5, 0.5, -1]},
        {"image_std": [0.5, 0.5, "x"]},
        {"crop_size": {"height": 0, "width": 0}},
        {"crop_size": {"height": 10**9, "width": 10**9}},
        {"crop_size": "32"},
        {"size": {"shortest_edge": -1}},
        {"size": {"longest_edge": 3}},
    ],
    ids=str,
)
def test_pixels_we_do_not_make_are_refused(fields: dict[str, Any], hf: Path) -> None:
    edit(hf / "preprocessor_config.json", **fields)
    with pytest.raises(CheckpointError):
        read(hf)


@pytest.mark.parametrize(
    "fields",
    [
        {"mean": [0.5]},
        {"std": [0, 0, 0]},
        {"interpolation": "sinc"},
        {"resize_mode": "longest"},
        {"size": [0, 5]},
    ],
    ids=str,
)
def test_pixels_open_clip_would_make_and_we_do_not(fields: dict[str, Any], open_clip: Path) -> None:
    edit(open_clip / "open_clip_config.json", preprocess_cfg=fields)
    with pytest.raises(CheckpointError):
        read(open_clip)


def test_pixels_that_are_not_normalised(hf: Path) -> None:
    edit(hf / "preprocessor_config.json", do_normalize=False, resample=4)
    image = read(hf).processor.image
    assert (image.mean, image.std, image.resample) == ((0, 0, 0), (1, 1, 1), "box")


def test_native_settings_that_cannot_be(plain: Path) -> None:
    data = json.loads((plain / "seesay.json").read_text())
    data["settings"]["image"]["std"] = [1, 0, 1]
    (plain / "seesay.json").write_text(json.dumps(native.sealed(data)))
    with pytest.raises(CheckpointError, match="not positive"):
        read(plain)


@pytest.mark.parametrize(
    "fields",
    [
        {"size": (0, 5)},
        {"size": (5,)},
        {"size": (5, 5.0)},
        {"mean": (0, 0)},
        {"std": (1, 1, 0)},
        {"std": (1, 1, float("inf"))},
        {"resample": "cubic"},
        {"resize": "longest"},
        {"centre": "ceil"},
        {"shortest_edge": 0},
    ],
    ids=str,
)
def test_a_description_of_pixels_is_checked_when_it_is_made(fields: dict[str, Any]) -> None:
    sound: dict[str, Any] = {"size": (4, 4), "mean": (0, 0, 0), "std": (1, 1, 1)}
    ImageSpec(**sound)
    with pytest.raises(ValueError, match=r"."):
        ImageSpec(**sound | fields)


def test_missing_settings_are_warned_about(
    hf: Path, open_clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "seesay"):
        sound = read(hf).settings
        assert caplog.text == ""
        (hf / "preprocessor_config.json").unlink()
        assert read(hf).settings == sound
        assert "has no preprocessor_config.json" in caplog.text
        caplog.clear()
        edit(open_clip / "open_clip_config.json", preprocess_cfg=None)
        read(open_clip)
        assert "has no preprocess_cfg" in caplog.text


def test_missing_settings_of_a_released_size_are_its_own(
    hf: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (hf / "preprocessor_config.json").unlink()
    monkeypatch.setattr(hub, "fetch", lambda *_: (hf, "c" * 40))
    image = read("clip-vit-l-14-laion2b").processor.image
    assert image.mean == image.std == (0.5, 0.5, 0.5)
    assert caplog.text == ""


# -- tokens ---------------------------------------------------------------------------------------


def test_two_vocabularies_of_one_size_are_two_models(plain: Path, hf: Path, tmp_path: Path) -> None:
    sound = read(hf)
    assert sound.fingerprint == read(plain).fingerprint
    data = json.loads((hf / "tokenizer.json").read_text())
    vocab, merges = data["model"]["vocab"], data["model"]["merges"]
    # the same tokens in the older two files
    whole = (hf / "tokenizer.json").read_text()
    (hf / "tokenizer.json").unlink()
    (hf / "vocab.json").write_text(json.dumps(vocab))
    pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in merges]
    (hf / "merges.txt").write_text("\n".join(["#version: 0.2", *pairs, ""]))
    assert read(hf).fingerprint == sound.fingerprint
    # no file at all: the published vocabulary
    (hf / "vocab.json").unlink()
    assert read(hf).fingerprint == sound.fingerprint
    # two ids change places, and then two merges
    vocab["cat</w>"], vocab["dog</w>"] = vocab["dog</w>"], vocab["cat</w>"]
    (hf / "tokenizer.json").write_text(json.dumps(data))
    other = read(hf)
    assert other.fingerprint != sound.fingerprint
    data = json.loads(whole)
    merges = data["model"]["merges"]
    merges[0], merges[1] = merges[1], merges[0]
    (hf / "tokenizer.json").write_text(json.dumps(data))
    assert read(hf).fingerprint not in (sound.fingerprint, other.fingerprint)


def test_a_strangers_tokenizer_beside_a_lone_file_is_left_out(
    hf: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from reference import openai_clip as oracle

    shapes = oracle.text_shapes(embed=8, width=64, depth=1, vocab=49408, length=5, mlp=16)
    shapes |= oracle.vit_shapes(embed=8, width=64, depth=1, patch=8, image=16, mlp=16)
    place = tmp_path / "downloads"
    place.mkdir()
    torch.save(oracle.random_weights(shapes), place / "model.pt")
    (place / "tokenizer.json").write_text('{"model": {"type": "WordPiece", "vocab": {"a": 0}}}')
    loaded = read(place / "model.pt")
    assert "read without the tokenizer beside it" in caplog.text
    assert loaded.processor.texts(["a cat"]).ids.tolist() == [[49406, 320, 2368, 49407]]
    # in a checkpoint's own folder it is damage
    (hf / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not a tokenizer"):
        read(hf)
