"""Damaged, foreign and hostile checkpoints end in one clear error, and nothing in them runs."""

from __future__ import annotations

import io
import json
import os
import pickle
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import seesay
from reference import openai_clip as oracle
from seesay.checkpoints.convert import convert
from seesay.checkpoints.load import read
from seesay.errors import CheckpointError

SHAPES = oracle.text_shapes(
    embed=8, width=64, depth=1, vocab=20, length=5, mlp=16
) | oracle.vit_shapes(embed=8, width=64, depth=1, patch=8, image=16, mlp=16)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return oracle.random_weights(SHAPES)


@pytest.fixture
def native(tmp_path: Path) -> Path:
    seesay.create("clip-tiny").save(tmp_path / "native")
    return tmp_path / "native"


@pytest.fixture
def hf(native: Path, tmp_path: Path) -> Path:
    return convert(native, tmp_path / "hf", "hf")


@pytest.fixture
def pickled(weights: dict[str, Tensor], tmp_path: Path) -> Path:
    torch.save(weights, tmp_path / "model.pt")
    return tmp_path / "model.pt"


@pytest.fixture
def scripted(weights: dict[str, Tensor], tmp_path: Path) -> Path:
    return write_archive(tmp_path / "scripted.pt", weights)


def refused(path: Path, *mentions: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        read(path)
    for mention in mentions:
        assert mention in str(caught.value), str(caught.value)
    return str(caught.value)


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)


CUTS: dict[str, Callable[[int], int]] = {
    "empty": lambda size: 0,
    "a few bytes": lambda size: 7,
    "half": lambda size: size // 2,
    "one byte short": lambda size: size - 1,
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("kind", ["native", "hf", "pickled", "scripted"])
def test_truncated(kind: str, cut: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(kind)
    file = path / "model.safetensors" if path.is_dir() else path
    os.truncate(file, CUTS[cut](file.stat().st_size))
    refused(path, file.name)


def test_a_flipped_bit_in_a_native_checkpoint_is_found(native: Path) -> None:
    sound = read(native).fingerprint
    for file in sorted(native.iterdir()):
        kept = file.read_bytes()
        for position in range(5, len(kept), len(kept) // 9):
            flip(file, position)
            if file.name != "seesay.json":
                refused(native, file.name)
            else:  # between its fields a bit may be harmless
                with suppress(CheckpointError):
                    assert read(native).fingerprint == sound
            file.write_bytes(kept)
    assert read(native).fingerprint == sound


@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["pickled", "scripted"])
def test_a_flipped_bit_in_the_tensors_of_a_zip_is_found(
    kind: str, where: float, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(kind)
    with zipfile.ZipFile(path) as archive:
        storages = [info for info in archive.infolist() if "/data/" in info.filename]
    largest = max(storages, key=lambda info: info.file_size)
    flip(path, largest.header_offset + 200 + int((largest.file_size - 300) * where))
    refused(path, path.name, "damaged")


def test_every_bit_of_the_head_of_a_safetensors_file(hf: Path) -> None:
    """A head that lies is refused, or the file still means the same tensors."""
    file = hf / "model.safetensors"
    sound, kept = read(hf).fingerprint, file.read_bytes()
    for position in [*range(8), *range(8, 600, 23)]:
        flip(file, position)
        with suppress(CheckpointError):
            assert read(hf).fingerprint == sound
        file.write_bytes(kept)


def test_a_huge_head_is_not_believed(hf: Path) -> None:
    (hf / "model.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    refused(hf, "model.safetensors")


def test_a_missing_shard_is_named(hf: Path) -> None:
    file = hf / "model.safetensors"
    index = {"weight_map": {"logit_scale": "model-1.safetensors", "x": "model-2.safetensors"}}
    file.rename(hf / "model-1.safetensors")
    (hf / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(hf, "lacks the shard model-2.safetensors")
    index["weight_map"]["x"] = "../../etc/passwd"
    (hf / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(hf, "outside its folder")


def test_a_large_file_that_was_never_fetched(hf: Path) -> None:
    (hf / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid 1\n")
    refused(hf, "Git LFS", "git lfs pull")


@pytest.mark.parametrize("text", ["", "{", "[1]", "nul", "\xff", '{"a":' * 100_000])
@pytest.mark.parametrize("kind", ["native", "hf"])
def test_damaged_configuration(kind: str, text: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    name = "seesay.json" if kind == "native" else "config.json"
    (folder / name).write_text(text, encoding="latin-1")
    refused(folder, name)


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("vision_config", "hidden_size", "wide"),
        ("vision_config", "hidden_size", 41),
        ("vision_config", "hidden_size", 0),
        ("vision_config", "patch_size", 0),
        ("vision_config", "num_attention_heads", 7),
        ("vision_config", "image_size", None),
        ("vision_config", "hidden_act", "relu7"),
        ("vision_config", "num_hidden_layers", 3),
        ("vision_config", "num_hidden_layers", 1),
        ("vision_config", "num_hidden_layers", 100_000_000),
        ("text_config", "num_hidden_layers", 1e30),
        ("text_config", "vocab_size", -5),
        ("text_config", "max_position_embeddings", 78),
    ],
)
def test_a_configuration_that_does_not_fit(hf: Path, section: str, field: str, value: Any) -> None:
    data = json.loads((hf / "config.json").read_text())
    data[section][field] = value
    (hf / "config.json").write_text(json.dumps(data))
    refused(hf, "config")


ABSURD: list[tuple[str, str, Any]] = [
    ("vision_cfg", "head_width", 0),
    ("vision_cfg", "layers", 10**8),
    ("vision_cfg", "layers", [10**8, 1, 1, 1]),
    ("vision_cfg", "mlp_ratio", float("inf")),
    ("vision_cfg", "image_size", 10**9),
    ("text_cfg", "vocab_size", 10**12),
    ("text_cfg", "width", 10**15),
    ("text_cfg", "heads", 10**9),
]


def test_absurd_sizes_are_refused_at_once(native: Path, tmp_path: Path) -> None:
    from seesay.checkpoints.native import sealed

    folder = convert(native, tmp_path / "open_clip", "open_clip")
    path = folder / "open_clip_config.json"
    kept, start = path.read_text(), time.monotonic()
    for section, field, value in ABSURD:
        data = json.loads(kept)
        data["model_cfg"][section][field] = value
        path.write_text(json.dumps(data))
        refused(folder, "open_clip")
    path = native / "seesay.json"
    kept = path.read_text()
    for value in ({"depth": 10**8}, {"depth": float("nan")}, {"width": 10**10}, None, [1], "x"):
        data = json.loads(kept)
        image = data["config"]["image"]
        data["config"]["image"] = image | value if isinstance(value, dict) else value
        path.write_text(json.dumps(sealed(data)))
        refused(native, "native")
    assert time.monotonic() - start < 20


def test_foreign_folders_say_what_is_known(tmp_path: Path, hf: Path) -> None:
    refused(tmp_path, "no checkpoint that seesay knows", "clip/hf")
    data = json.loads((hf / "config.json").read_text()) | {"model_type": "gpt2"}
    (hf / "config.json").write_text(json.dumps(data))
    refused(hf, "no checkpoint that seesay knows")
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "other.pt")
    refused(tmp_path / "other.pt", "no checkpoint that seesay knows")
    (tmp_path / "notes.txt").write_text("hello")
    refused(tmp_path / "notes.txt", "no known weight format")


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x02garbage", b"PK\x03\x04" + b"\0" * 99, b"x" * 500]
)
@pytest.mark.parametrize("suffix", [".pt", ".bin", ".safetensors"])
def test_rubbish(content: bytes, suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"model{suffix}").write_bytes(content)
    refused(tmp_path / f"model{suffix}", f"model{suffix}")


# -- code -----------------------------------------------------------------------------------------


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def test_pickled_code_does_not_run(tmp_path: Path, hf: Path, weights: dict[str, Tensor]) -> None:
    marker = tmp_path / "marker"
    bombs = [Bomb(marker), {"a": Bomb(marker)}, weights | {"bomb": Bomb(marker)}]
    for i, bomb in enumerate(bombs):
        torch.save(bomb, tmp_path / f"{i}.pt")
        refused(tmp_path / f"{i}.pt", "never run", "safetensors")
        (tmp_path / f"{i}.bin").write_bytes(pickle.dumps(bomb))
        refused(tmp_path / f"{i}.bin", f"{i}.bin")
    (hf / "model.safetensors").unlink()
    torch.save({"logit_scale": Bomb(marker)}, hf / "pytorch_model.bin")
    refused(hf, "never run")
    assert not marker.exists()


def test_code_in_an_archive_does_not_run(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    marker = tmp_path / "marker"
    path = write_archive(tmp_path / "bomb.pt", weights, Bomb(marker))
    refused(path, "never run")
    assert not marker.exists()


def test_modules_in_a_folder_do_not_run(hf: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (hf / "modeling_evil.py").write_text(f"import os; os.mkdir({str(marker)!r})")
    data = json.loads((hf / "config.json").read_text())
    data["auto_map"] = {"AutoModel": "modeling_evil.Evil", "AutoConfig": "modeling_evil.Evil"}
    (hf / "config.json").write_text(json.dumps(data))
    read(hf)
    assert not marker.exists()


def test_an_archive_that_reaches_past_its_storage(
    tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    path = write_archive(tmp_path / "long.pt", weights, claim=10**9)
    refused(path, "long.pt")


def write_archive(
    path: Path, weights: dict[str, Tensor], extra: Any = None, claim: int | None = None
) -> Path:
    """A TorchScript archive by hand: what scripting writes, and what an attacker might."""
    storages: list[Tensor] = []

    class Module:
        pass

    class Pickler(pickle._Pickler):  # the one in Python can be taught to write foreign names
        def persistent_id(self, thing: Any) -> Any:
            if isinstance(thing, Storage):
                return ("storage", Global("torch", "FloatStorage"), thing.key, "cpu", thing.count)
            return None

        def save(self, thing: Any, save_persistent_id: bool = True) -> None:
            if isinstance(thing, Global):
                self.write(f"c{thing.module}\n{thing.name}\n".encode())
            elif isinstance(thing, Module):
                self.write(b"c__torch__.clip\nModule\n)\x81")
                self.save(vars(thing))
                self.write(b"b")
            elif isinstance(thing, Tensor):
                storages.append(thing.float().contiguous())
                count = claim or thing.numel()
                self.write(b"ctorch._utils\n_rebuild_tensor_v2\n")
                shape = (claim,) if claim else tuple(thing.shape)
                stride = (1,) if claim else storages[-1].stride()
                storage = Storage(str(len(storages) - 1), count if not claim else thing.numel())
                self.save((storage, 0, shape, stride, False, None))
                self.write(b"R")
            else:
                super().save(thing, save_persistent_id)

    root = Module()
    for name, value in weights.items():
        *parents, last = name.split(".")
        node: Any = root
        for parent in parents:
            node = vars(node).setdefault(parent, Module())
        setattr(node, last, value)
    if extra is not None:
        root.extra = extra  # type: ignore[attr-defined]
    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump(root)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("clip/data.pkl", buffer.getvalue())
        archive.writestr("clip/constants.pkl", pickle.dumps((), protocol=2))
        archive.writestr("clip/code/clip.py", "import os; os.abort()")
        for i, storage in enumerate(storages):
            archive.writestr(f"clip/data/{i}", storage.numpy().tobytes())
    return path


class Global:
    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Storage:
    def __init__(self, key: str, count: int) -> None:
        self.key, self.count = key, count
