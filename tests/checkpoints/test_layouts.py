"""From any layout to any other and back, bit for bit; and what each of them cannot say."""

from __future__ import annotations

import json
import os
import stat
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import seesay
from seesay.checkpoints import native
from seesay.checkpoints.convert import convert
from seesay.checkpoints.load import read
from seesay.errors import CheckpointError, InputError, StorageError, UsageError
from seesay.model import Model


def scrambled(name: str, dtype: torch.dtype = torch.float32, **config: Any) -> Model:
    """A model without a tensor at its initial value."""
    model = seesay.create(name)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in model.module.state_dict(keep_vars=True).values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    return model.to(dtype=dtype)


def same(a: Path, b: Path) -> None:
    first, second = read(a), read(b)
    assert first.fingerprint == second.fingerprint
    assert first.config == second.config
    left, right = first.module.state_dict(), second.module.state_dict()
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert tensor.dtype is right[name].dtype
        assert torch.equal(tensor, right[name]), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("name", "layouts"),
    [
        ("clip-tiny", ["native", "hf", "open_clip", "hf", "native"]),
        ("clip-tiny-resnet", ["native", "open_clip", "native"]),
    ],
)
def test_round_trips_are_exact(
    name: str, layouts: list[str], dtype: torch.dtype, tmp_path: Path
) -> None:
    scrambled(name, dtype).save(tmp_path / "0")
    for i, (_, layout) in enumerate(pairwise(layouts)):
        convert(tmp_path / f"{i}", tmp_path / f"{i + 1}", layout)
        assert read(tmp_path / f"{i + 1}").layout == layout
        same(tmp_path / "0", tmp_path / f"{i + 1}")
    last = len(layouts) - 1
    assert all(
        (tmp_path / "0" / file).read_bytes() == (tmp_path / f"{last}" / file).read_bytes()
        for file in ("model.safetensors", "tokenizer.json")
    )


def test_openai_state_dicts_there_and_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import dataclasses

    from seesay import registry
    from seesay.families.clip.configs import tiny

    config = tiny()
    image = dataclasses.replace(config.image, width=64, num_heads=1)  # type: ignore[type-var]
    text = dataclasses.replace(config.text, width=64, num_heads=1)
    config = dataclasses.replace(config, image=image, text=text)
    family, variant = registry.variant("clip-tiny")
    processor = family.make_processor(config, variant.settings())
    native.save(tmp_path / "native", family, config, processor, family.build(config))
    made = convert(tmp_path / "native", tmp_path / "model.pt", "openai")
    assert made.is_file()
    same(tmp_path / "native", made)
    convert(made, tmp_path / "back", "native")
    same(tmp_path / "native", tmp_path / "back")
    folder = convert(made, tmp_path / "folder", "openai")
    assert [path.name for path in folder.iterdir()] == ["model.pt"]
    same(made, folder)
    same(made, convert(made, tmp_path / "model.safetensors", "openai"))
    # the numbers by which OpenAI's files are told from others: reading ours back is no guess
    numbers = torch.load(made, weights_only=True)
    assert numbers["input_resolution"].item() == 32
    assert numbers["context_length"].item() == 77
    assert numbers["vocab_size"].item() == 49408
    assert "activation" not in caplog.text


def test_transformers_reads_what_we_write(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = scrambled("clip-tiny")
    with torch.no_grad():
        for parameter in model.module.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    model.save(tmp_path / "native")
    convert(tmp_path / "native", tmp_path / "hf", "hf")
    theirs = transformers.CLIPModel.from_pretrained(tmp_path / "hf").eval()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(tmp_path / "hf")
    texts = ["a photo of a cat", "two dogs, 3 birds!"]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        wanted = theirs.get_text_features(**batch)
        wanted = getattr(wanted, "pooler_output", wanted)
    wanted = wanted / wanted.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(model.embed_texts(texts), wanted, atol=1e-5, rtol=0)


def test_open_clip_options_we_do_not_build_are_refused(tmp_path: Path) -> None:
    scrambled("clip-tiny").save(tmp_path / "native")
    folder = convert(tmp_path / "native", tmp_path / "open_clip", "open_clip")
    path = folder / "open_clip_config.json"
    data = json.loads(path.read_text())
    data["model_cfg"]["vision_cfg"]["patch_dropout"] = 0.5  # of training alone
    data["model_cfg"]["vision_cfg"]["ls_init_value"] = None
    path.write_text(json.dumps(data))
    same(tmp_path / "native", folder)
    data["model_cfg"]["vision_cfg"]["timm_model_name"] = "convnext_base"
    path.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=r"vision_cfg\.timm_model_name = 'convnext_base'"):
        read(folder)


def test_a_folder_may_hold_two_layouts(tmp_path: Path) -> None:
    scrambled("clip-tiny").save(tmp_path / "native")
    both = convert(tmp_path / "native", tmp_path / "both", "hf")
    other = convert(tmp_path / "native", tmp_path / "other", "open_clip")
    for file in other.glob("open_clip*"):
        file.rename(both / file.name)
    assert read(both).layout == "hf"
    assert read(both, layout="open_clip").layout == "open_clip"
    assert read(both / "open_clip_model.safetensors").layout == "open_clip"
    assert read(both / "model.safetensors").layout == "hf"
    with pytest.raises(UsageError, match="no layout 'onnx'"):
        read(both, layout="onnx")


def test_the_fingerprint_is_of_the_weights_and_of_what_is_done_to_inputs(tmp_path: Path) -> None:
    model = scrambled("clip-tiny", torch.float16)
    model.save(tmp_path / "half")
    model.to(dtype="float32").save(tmp_path / "single")
    sound = read(tmp_path / "half").fingerprint
    assert read(tmp_path / "single").fingerprint == sound
    assert read(tmp_path / "half", compat="hf").fingerprint != sound
    with torch.no_grad():
        model.module.image.class_embedding[3] += 1  # type: ignore[union-attr,operator,index]
    model.save(tmp_path / "single")
    assert read(tmp_path / "single").fingerprint != sound


def test_without_a_tokenizer_all_but_text_works(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPConfig(
        text_config={"vocab_size": 99, "hidden_size": 16, "num_attention_heads": 2}
        | {"num_hidden_layers": 1, "bos_token_id": 1, "eos_token_id": 2, "intermediate_size": 8},
        vision_config={"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
        | {"image_size": 16, "patch_size": 8, "intermediate_size": 8},
    )
    transformers.CLIPModel(config).save_pretrained(tmp_path)
    loaded = read(tmp_path)
    with pytest.raises(InputError, match="came without a tokenizer"):
        loaded.processor.texts(["a cat"])
    scrambled("clip-tiny").processor.save(tmp_path)
    with pytest.raises(InputError, match="ids reach 49407, the model's 98"):
        read(tmp_path).processor.texts(["a cat"])


# -- our own folder -------------------------------------------------------------------------------


def test_saving_replaces_our_own_and_nothing_else(tmp_path: Path) -> None:
    model = scrambled("clip-tiny")
    model.save(tmp_path / "a")
    model.save(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match="holds something else"):
        model.save(tmp_path / "photos")
    assert os.listdir(tmp_path / "photos") == ["cat.jpg"]


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_files_may_be_read_by_whom_the_umask_lets(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        scrambled("clip-tiny").save(tmp_path / "a")
        convert(tmp_path / "a", tmp_path / "b", "open_clip")
    finally:
        os.umask(before)
    for path in tmp_path.rglob("*"):
        usual = 0o777 if path.is_dir() else 0o666
        assert stat.S_IMODE(path.stat().st_mode) == usual & ~umask, path


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = scrambled("clip-tiny")
    model.save(tmp_path / "a")
    before = read(tmp_path / "a").fingerprint

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(native, "write_safetensors", full)
    with pytest.raises(StorageError, match="No space left"):
        model.save(tmp_path / "a")
    monkeypatch.undo()
    assert read(tmp_path / "a").fingerprint == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    model = scrambled("clip-tiny")
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "model")
    for _ in range(2):  # to nothing, then to what the first wrote
        model.save(tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        assert os.listdir(tmp_path / "disk") == ["model"]
    same(tmp_path / "disk" / "model", tmp_path / "link")


def test_when_the_second_rename_fails_the_old_folder_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = scrambled("clip-tiny")
    model.save(tmp_path / "a")
    renames: list[Path] = []
    rename = Path.rename

    def second_fails(self: Path, target: Path) -> Path:
        renames.append(self)
        if len(renames) == 2:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", second_fails)
    with pytest.raises(StorageError, match="Input/output"):
        model.save(tmp_path / "a")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["a"]
    read(tmp_path / "a")


def test_a_newer_format_says_so(tmp_path: Path) -> None:
    scrambled("clip-tiny").save(tmp_path)
    path = tmp_path / "seesay.json"
    path.write_text(json.dumps(native.sealed(json.loads(path.read_text()) | {"format": 99})))
    with pytest.raises(CheckpointError, match="format 99") as caught:
        read(tmp_path)
    assert "upgrade" in str(caught.value)


def test_tensors_of_another_configuration(tmp_path: Path) -> None:
    scrambled("clip-tiny").save(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["logit_scale"] = torch.zeros(2)
    save_file(tensors, tmp_path / "model.safetensors")
    data = json.loads((tmp_path / "seesay.json").read_text())
    data["files"]["model.safetensors"] = {
        "size": (tmp_path / "model.safetensors").stat().st_size,
        "sha256": native.sha256(tmp_path / "model.safetensors"),
    }
    (tmp_path / "seesay.json").write_text(json.dumps(native.sealed(data)))
    with pytest.raises(CheckpointError, match="do not fit the configuration: logit_scale"):
        read(tmp_path)
