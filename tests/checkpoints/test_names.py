"""What a name stands for: a built-in, what lies here, what the hub's cache holds, the hub."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import seesay
from seesay import registry
from seesay.checkpoints import hub, native
from seesay.checkpoints.convert import convert
from seesay.checkpoints.load import read
from seesay.errors import CheckpointError, StorageError, UsageError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with one repository, as its client lays it out."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    repo = tmp_path / "cache" / "models--someone--model"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT)
    seesay.create("clip-tiny").save(tmp_path / "native")
    convert(tmp_path / "native", repo / "snapshots" / COMMIT, "hf")
    return repo


@pytest.mark.usefixtures("cache")
def test_a_cached_model_loads_with_no_network() -> None:
    for revision in (None, "main", COMMIT):
        loaded = read("someone/model", offline=True, revision=revision)
        assert loaded.revision == COMMIT
        assert loaded.layout == "hf"


@pytest.mark.usefixtures("cache")
def test_what_is_not_cached_says_how_to_go_on() -> None:
    for name, revision in (("someone/other", None), ("someone/model", "v2")):
        with pytest.raises(StorageError, match="not in the cache") as caught:
            read(name, offline=True, revision=revision)
        assert "local folder" in str(caught.value)


def test_the_switch_of_the_hub_is_honoured(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "_listing", lambda *_: pytest.fail("reached for the network"))
    assert read("someone/model").revision == COMMIT
    with pytest.raises(StorageError, match="switched off"):
        read("clip-vit-b-32")


def test_online_only_the_preferred_weights_are_fetched(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    snapshot = next((cache / "snapshots").iterdir())
    (snapshot / "model.safetensors").rename(tmp_path / "weights")
    asked: list[Any] = []

    def download(repo: str, **arguments: Any) -> str:
        if arguments["local_files_only"]:
            raise FileNotFoundError
        asked.append((arguments["revision"], arguments["allow_patterns"]))
        if "model.safetensors" in arguments["allow_patterns"]:
            (tmp_path / "weights").rename(snapshot / "model.safetensors")
        return str(snapshot)

    listing = ["README.md", "config.json", "flax_model.msgpack", "model.safetensors"]
    listing += ["modeling_evil.py", "pytorch_model.bin", "tf_model.h5", "vocab.json"]
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(hub, "_listing", lambda *_: listing)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert read("someone/model", revision="v1").revision == COMMIT
    # the weights are of the commit that the companions were found at, whatever v1 is by now
    assert asked == [("v1", ["*.json", "*.txt", "*.model"]), (COMMIT, ["model.safetensors"])]
    shards = ["config.json", "pytorch_model-00001-of-2.bin", "pytorch_model.bin.index.json"]
    assert hub._choose(shards, ["model.safetensors", "pytorch_model.bin.index.json"]) == [
        "pytorch_model.bin.index.json",
        "pytorch_model-*.bin",
    ]


def test_a_variant_is_fetched_at_the_commit_it_was_checked_against(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    asked: list[Any] = []

    def fetch(repo: str, revision: str | None, *_: Any) -> tuple[Path, str]:
        asked.append((repo, revision))
        return next((cache / "snapshots").iterdir()), COMMIT

    monkeypatch.setattr(hub, "fetch", fetch)
    assert read("clip-vit-b-32").variant == "clip-vit-b-32"
    assert read("openai/clip-vit-base-patch32").variant == "clip-vit-b-32"
    read("openai/clip-vit-base-patch32", revision="main")
    pinned = "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268"
    repo = "openai/clip-vit-base-patch32"
    assert asked == [(repo, pinned), (repo, pinned), (repo, "main")]


def test_names_that_are_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'clip-vit-b32'. Did you mean clip-vit-b-32"):
        read("clip-vit-b32")
    with pytest.raises(UsageError, match="no file, folder or model"):
        read("not/a/model")
    for lost in (tmp_path / "not" / "there", Path("not/there")):
        with pytest.raises(UsageError, match="no file or folder"):
            read(lost)
    with pytest.raises(UsageError, match="no released weights"):
        read("clip-tiny")


def test_what_lies_here_is_meant_before_what_has_the_same_name_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = seesay.create("clip-tiny", seed=7)
    for name in ("clip-vit-b-32", "openai/clip-vit-base-patch32", "someone/model"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        model.save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "fetch", lambda *_: pytest.fail("asked the hub"))
    for name in ("clip-vit-b-32", "openai/clip-vit-base-patch32", "someone/model"):
        loaded = read(name)
        assert loaded.config == model.config
        assert loaded.variant is None or loaded.variant == "clip-tiny"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read("~/someone/model").config == model.config


def test_a_packaged_model_and_a_commit_are_meant_whatever_lies_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "seesay" / "mini").mkdir(parents=True)
    assert read("seesay/mini").variant == "seesay/mini"
    asked: list[str] = []
    monkeypatch.setattr(hub, "fetch", lambda repo, *_: asked.append(repo) or pytest.skip())
    seesay.create("clip-tiny").save(tmp_path / "someone" / "model")
    with pytest.raises(pytest.skip.Exception):
        read("someone/model", revision="main")
    assert asked == ["someone/model"]
    with pytest.raises(UsageError, match="only the hub has a revision 'main'"):
        read("./someone/model", revision="main")


@pytest.mark.parametrize(
    "name", ["./a", ".a/b", "../a", "/a/b", "~/a", "~a/b", "a/..", "a..b/c", "a/b\\c", "a\\b"]
)
def test_a_path_is_never_looked_up_on_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "fetch", lambda *_: pytest.fail("asked the hub"))
    with pytest.raises(UsageError, match="no file or folder"):
        read(name, offline=False)


@pytest.mark.parametrize("name", ["", "x" * 5000, "a\0b", "a/b\n"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(UsageError, match="no file, folder or model"):
        read(name)


def test_a_file_of_our_own_folder_stands_for_the_folder(tmp_path: Path) -> None:
    seesay.create("clip-tiny").save(tmp_path)
    whole = read(tmp_path)
    for name in ("model.safetensors", "seesay.json"):
        loaded = read(tmp_path / name)
        assert (loaded.layout, loaded.fingerprint) == ("native", whole.fingerprint)
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.seek(-9, os.SEEK_END)
        file.write(b"?")
    with pytest.raises(CheckpointError, match="SHA-256"):
        read(tmp_path / "model.safetensors")


def test_only_the_name_of_a_released_size_is_recorded(tmp_path: Path) -> None:
    family, variant = registry.variant("clip-tiny")
    config = variant.config()
    processor = family.make_processor(config, variant.settings())
    for name, recorded in (
        ("clip-tiny", "clip-tiny"),
        ("openai/clip-vit-base-patch32", "clip-vit-b-32"),
        ("/some/where/else", None),
        (None, None),
    ):
        native.save(tmp_path / "a", family, config, processor, family.build(config), name=name)
        assert json.loads((tmp_path / "a" / "seesay.json").read_text())["name"] == recorded
        assert read(tmp_path / "a").variant == recorded
