"""Conversion refuses what a layout cannot hold, and the command says what is wrong."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import seesay
from seesay import registry
from seesay.checkpoints import load, native
from seesay.checkpoints.convert import convert
from seesay.checkpoints.load import read
from seesay.cli.commands.convert import convert as command
from seesay.errors import CheckpointError, UsageError
from seesay.families.clip.configs import ClipConfig, tiny


def saved(folder: Path, config: ClipConfig, *, compat: str | None = None, **image: Any) -> Path:
    """A native checkpoint of any configuration and pixels."""
    family, variant = registry.variant("clip-tiny")
    settings = variant.settings()
    settings = {"image": settings["image"] | image, "compat": compat}
    processor = family.make_processor(config, settings)
    native.save(folder, family, config, processor, family.build(config))
    return folder


def small(**text: Any) -> ClipConfig:
    """A vocabulary without a tokenizer, which takes its time."""
    return dataclasses.replace(
        tiny(), text=dataclasses.replace(tiny().text, **{"vocab_size": 99, "end_id": None} | text)
    )


def wide(**text: Any) -> ClipConfig:
    """Heads of 64, which OpenAI's layout takes for granted."""
    config = small(width=64, num_heads=1, **text)
    image = dataclasses.replace(config.image, width=64, num_heads=1)  # type: ignore[type-var]
    return dataclasses.replace(config, image=image)


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    return saved(tmp_path / "vit", small())


def test_a_layout_that_cannot_say_it_refuses(vit: Path, tmp_path: Path) -> None:
    seesay.create("clip-tiny-resnet").save(tmp_path / "resnet")
    with pytest.raises(CheckpointError, match="heads that are not 64 wide"):
        convert(vit, tmp_path / "x", "openai")
    with pytest.raises(CheckpointError, match="no CLIP with such an image tower"):
        convert(tmp_path / "resnet", tmp_path / "x", "hf")
    with pytest.raises(UsageError, match="holds something else"):
        convert(vit, tmp_path / "resnet", "hf")
    assert sorted(os.listdir(tmp_path)) == ["resnet", "vit"]


@pytest.mark.parametrize(
    ("layout", "image", "named"),
    [
        ("openai", {"mean": (0.5, 0.5, 0.5)}, "settings.image.mean = [0.5, 0.5, 0.5]"),
        ("openai", {"resample": "bilinear"}, "settings.image.resample = bilinear"),
        ("open_clip", {"shortest_edge": 40}, "settings.image.shortest_edge = 40"),
        ("open_clip", {"centre": "floor"}, "settings.image.centre = floor"),
        ("hf", {"centre": "floor"}, "settings.image.centre = floor"),
    ],
)
def test_pixels_that_a_layout_cannot_describe(
    layout: str, image: dict[str, Any], named: str, tmp_path: Path
) -> None:
    source = saved(tmp_path / "source", wide(), **image)
    with pytest.raises(CheckpointError) as caught:
        convert(source, tmp_path / "x", layout)
    assert caught.value.what == f"the layout {layout} cannot hold {named}"
    assert os.listdir(tmp_path) == ["source"]
    same = convert(source, tmp_path / "y", "native")
    assert read(same).fingerprint == read(source).fingerprint


@pytest.mark.parametrize("layout", ["openai", "open_clip"])
def test_an_end_token_that_a_layout_cannot_tell(layout: str, tmp_path: Path) -> None:
    source = saved(tmp_path / "source", wide(end_id=50))
    with pytest.raises(CheckpointError, match=r"cannot hold config\.text\.end_id = 50"):
        convert(source, tmp_path / "x", layout)
    assert read(convert(source, tmp_path / "hf", "hf")).config.text.end_id == 50


@pytest.mark.parametrize("layout", ["openai", "open_clip", "hf"])
def test_a_way_of_processing_that_no_published_layout_knows(layout: str, tmp_path: Path) -> None:
    source = saved(tmp_path / "source", wide(), compat="hf")
    with pytest.raises(CheckpointError, match=r"settings\.compat = hf"):
        convert(source, tmp_path / "x", layout)


@pytest.mark.parametrize("name", ["box", "hamming", "lanczos", "nearest", "bilinear"])
def test_every_filter_has_its_name_in_each_layout(name: str, tmp_path: Path) -> None:
    source = saved(tmp_path / "source", small(), resample=name)
    for layout in ("hf", "open_clip"):
        assert read(convert(source, tmp_path / layout, layout)).processor.image.resample == name


def test_a_folder_layout_is_no_file(vit: Path, tmp_path: Path) -> None:
    for layout, name in (
        ("native", "x.safetensors"),
        ("native", "x.pt"),
        ("hf", "x.bin"),
        ("open_clip", "x.pth"),
    ):
        with pytest.raises(UsageError, match=f"the layout {layout} is a folder"):
            convert(vit, tmp_path / name, layout)
    assert os.listdir(tmp_path) == ["vit"]


def test_the_start_token_is_the_tokenizers_own_or_unsaid(vit: Path, tmp_path: Path) -> None:
    known = convert(saved(tmp_path / "known", tiny()), tmp_path / "a", "hf")
    assert json.loads((known / "config.json").read_text())["text_config"]["bos_token_id"] == 49406
    unknown = convert(vit, tmp_path / "b", "hf")
    assert "bos_token_id" not in json.loads((unknown / "config.json").read_text())["text_config"]
    assert not list(unknown.glob("tokenizer*"))


# -- the command ----------------------------------------------------------------------------------


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, list(map(str, arguments)))


def test_the_ending_tells_the_layout(tmp_path: Path) -> None:
    source = saved(tmp_path / "source", wide())
    for name in ("a.pt", "b.pth", "c.bin"):
        assert run(source, tmp_path / name).exit_code == 0
        assert read(tmp_path / name).layout == "openai"
    done = run(source, tmp_path / "folder", "--json")
    assert json.loads(done.stdout) == {
        "source": str(source),
        "target": str(tmp_path / "folder"),
        "layout": "native",
    }
    assert done.stderr == ""
    assert read(tmp_path / "folder").layout == "native"


def test_what_cannot_be_is_said_before_weights_are_read(
    vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "_read", lambda *_: pytest.fail("read the weights"))
    for arguments, said in (
        (["--to", "openclip"], "no layout 'openclip'. Did you mean open_clip"),
        (["--to", "clip-retreival"], "Did you mean clip-retrieval"),
        (["--to", "seesay", "--revision", "x"], "a collection has no revision"),
    ):
        error = run(vit, tmp_path / "x", *arguments).exception
        assert isinstance(error, UsageError)
        assert said in error.what
    with pytest.raises(UsageError, match="exists"):
        convert(vit, vit, "hf")
    monkeypatch.undo()
    with pytest.raises(UsageError, match="only the hub has a revision 'v1'"):
        convert(vit, tmp_path / "x", "hf", revision="v1")


def test_a_family_without_layouts_has_a_tidy_hint(tmp_path: Path) -> None:
    seesay.create("mini-tiny").save(tmp_path / "mini")
    with pytest.raises(UsageError) as caught:
        convert(tmp_path / "mini", tmp_path / "x", "hf")
    assert caught.value.hint == "known: native"
