"""Files in Microsoft's layout give what their equations say, however their tables are stored."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import seesay
from parity.blip_models import close
from reference import florence2_hub as oracle
from seesay.checkpoints.convert import convert
from seesay.checkpoints.files import read_json, read_tensors, write_json
from seesay.checkpoints.load import read
from seesay.cli.main import run
from seesay.errors import CheckpointError, UsageError
from seesay.families.florence2.health import health
from seesay.processing.bytelevel import SPECIAL, ByteLevelTokenizer
from seesay.types import Prompt

RELATIVE = 1e-5
LENGTHS = (7, 3, 5)


def folder_of(weights: dict[str, Tensor], folder: Path, pickled: bool = False) -> Path:
    """A folder as on the hub."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(oracle.CONFIG))
    pixels = {"size": {"height": 90, "width": 52}, "resample": 3, "do_center_crop": False}
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
    if pickled:
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_file(weights, folder / "model.safetensors")
    return folder


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixels, prompts with their mask, and the beginning of what is written."""
    generator = torch.Generator().manual_seed(5)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    ids = torch.randint(4, oracle.VOCAB, mask.shape, generator=generator).masked_fill(~mask, 1)
    pixels = torch.randn(len(LENGTHS), 3, 90, 52, generator=generator)
    prefix = torch.randint(4, oracle.VOCAB, (len(LENGTHS), 4), generator=generator)
    return pixels, ids, mask, prefix


def logits(module: Any, pixels: Tensor, ids: Tensor, mask: Tensor, prefix: Tensor) -> Tensor:
    whole = torch.ones_like(prefix).bool()
    with torch.no_grad():
        return module.eval()(Prompt(pixels, prefix, whole, ids, mask))


@pytest.mark.parametrize("pickled", [False, True])
def test_features_and_logits(pickled: bool, tmp_path: Path) -> None:
    w = oracle.random_weights()
    found = read(folder_of(w, tmp_path, pickled))
    module: Any = found.module.eval()
    assert (found.layout, found.config.text.max_length) == ("hub", oracle.POSITIONS)
    assert found.config.image.image_size == (90, 52)
    pixels, ids, mask, prefix = inputs()
    given = logits(module, pixels, ids, mask, prefix)
    with torch.no_grad():
        map_, tokens = module.image(pixels), module.encode_image(pixels)
        for i, length in enumerate(LENGTHS):
            assert close(map_[i], oracle.image_map(w, pixels[i])) < RELATIVE
            assert close(tokens[i], oracle.image_tokens(w, pixels[i])) < RELATIVE
            source = oracle.read(w, pixels[i], ids[i, :length])
            assert close(given[i], oracle.logits(w, source, prefix[i])) < RELATIVE
            # the published code looks at padding, and then the batch decides
            source = oracle.read(w, pixels[i], ids[i])
            theirs = oracle.logits(w, source, prefix[i])
            assert (close(given[i], theirs) < RELATIVE) == (length == max(LENGTHS))
            batch = logits(module, pixels, ids, torch.ones_like(mask), prefix)
            assert close(batch[i], theirs) < RELATIVE


def test_padding_is_seen_as_by_the_code_on_the_hub_when_asked_for(tmp_path: Path) -> None:
    w = oracle.random_weights()
    folder = folder_of(w, tmp_path)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*SPECIAL, *letters, *(f"<loc_{i}>" for i in range(40))]
    vocabulary = {word: i for i, word in enumerate(words)}
    ByteLevelTokenizer(vocabulary, [], words[-40:]).save(folder)
    raw, prefix = ["abc<loc_7>", "x", "ab"], inputs()[3]
    pixels = inputs()[0]
    for compat in (None, "hf", "hub"):
        model: Any = seesay.load(folder, dtype="float32", compat=compat)
        asked = model.processor.prompts("prompt", raw)
        assert asked.ids.tolist()[1] == [0, vocabulary["x"], 2, 1, 1, 1]
        given = logits(model.module, pixels, asked.ids, asked.mask, prefix)
        for i in range(3):
            ids = asked.ids[i] if compat == "hub" else asked.ids[i][asked.ids[i] != 1]
            wanted = oracle.logits(w, oracle.read(w, pixels[i], ids), prefix[i])
            assert close(given[i], wanted) < RELATIVE
    with pytest.raises(UsageError, match="no compat 'lavis'"):
        seesay.load(folder, compat="lavis")
    with pytest.raises(UsageError, match="is not None, 'hf', 'lavis' or 'hub'"):
        seesay.load(folder, compat="huh")  # type: ignore[arg-type]


def test_any_one_of_the_tied_tables_will_do(tmp_path: Path) -> None:
    w, names = oracle.random_weights(), oracle.tables()
    whole = read(folder_of(w, tmp_path / "whole"))
    for i, kept in enumerate(names):
        some = {name: t for name, t in w.items() if name not in names or name == kept}
        del some["language_model.final_logits_bias"]
        found = read(folder_of(some, tmp_path / str(i)))
        assert found.config.text.tied
        assert found.fingerprint == whole.fingerprint
    none = {name: t for name, t in w.items() if name not in names}
    with pytest.raises(CheckpointError, match=r"missing: language_model\.model\.shared"):
        read(folder_of(none, tmp_path / "none"))


@pytest.mark.parametrize("stored", [(0, 3), (1, 3), (2, 3), (0, 1, 2, 3), (1, 2), (0, 1, 2)])
def test_tables_that_differ_are_kept_apart_and_told(
    stored: tuple[int, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    w, names = oracle.random_weights(), oracle.tables()
    apart = torch.Generator().manual_seed(1)
    drawn = {names[i]: torch.randn(oracle.VOCAB, oracle.WIDTH, generator=apart) for i in stored}
    damaged = {name: t for name, t in w.items() if name not in names} | drawn
    with caplog.at_level(logging.WARNING, "seesay"):
        found = read(folder_of(damaged, tmp_path / "hub"))
    assert "should be one differ" in caplog.text
    assert all(name in caplog.text for name in drawn)
    assert not found.config.text.tied
    # each is used where it stands; where none stands, that of the network as a whole, or the next
    used = dict(w)
    for role, others in ((1, (0, 2, 3)), (2, (0, 1, 3)), (3, (0, 2, 1))):
        kept = next(i for i in (role, *others) if i in stored)
        used[names[role]] = drawn[names[kept]]
    pixels, ids, mask, prefix = inputs()
    given = logits(found.module, pixels[:1], ids[:1], mask[:1], prefix[:1])
    source = oracle.read(used, pixels[0], ids[0])
    assert close(given[0], oracle.logits(used, source, prefix[0])) < RELATIVE
    # nothing is lost on the way to our layout and back
    convert(tmp_path / "hub", tmp_path / "native", "native")
    convert(tmp_path / "native", tmp_path / "again", "hub")
    assert read(tmp_path / "again").fingerprint == found.fingerprint
    with pytest.raises(CheckpointError, match="tables of tokens differ"):
        convert(tmp_path / "hub", tmp_path / "hf", "hf")


def test_a_bias_of_logits_is_not_passed_over(tmp_path: Path) -> None:
    w = oracle.random_weights()
    w["language_model.final_logits_bias"][0, 3] = 1
    with pytest.raises(CheckpointError, match="final_logits_bias is not what the configuration"):
        read(folder_of(w, tmp_path))


def test_files_say_how_many_positions_there_are(tmp_path: Path) -> None:
    w = oracle.random_weights()
    for half in ("encoder", "decoder"):
        name = f"language_model.model.{half}.embed_positions.weight"
        w[name] = torch.randn(4 * oracle.POSITIONS + 2, oracle.WIDTH)
    found = read(folder_of(w, tmp_path))
    assert found.config.text.max_length == 4 * oracle.POSITIONS


def test_tables_with_more_rows_than_tokens_are_cut(tmp_path: Path) -> None:
    w = oracle.random_weights()
    wanted = read(folder_of(w, tmp_path / "exact")).fingerprint
    for name in oracle.tables():
        w[name] = torch.cat([w[name], torch.randn(13, oracle.WIDTH)])
    # not even what is cut off needs to agree
    assert read(folder_of(w, tmp_path / "longer")).fingerprint == wanted


def test_half_precision_stays_as_it_is_stored(tmp_path: Path) -> None:
    w = {name: tensor.half() for name, tensor in oracle.random_weights().items()}
    found = read(folder_of(w, tmp_path / "half"))
    assert {t.dtype for t in found.module.state_dict().values()} == {torch.float16}
    convert(tmp_path / "half", tmp_path / "back", "hub")
    for name, tensor in read_tensors(tmp_path / "back/model.safetensors").items():
        if "embed_positions" in name:  # whose first two rows mean nothing
            tensor, w[name] = tensor[2:], w[name][2:]
        assert torch.equal(tensor.half(), w[name])


def test_configurations_that_are_not_florences_are_refused(tmp_path: Path) -> None:
    folder = folder_of(oracle.random_weights(), tmp_path)
    data = read_json(folder / "config.json")
    for part, change in (
        ("vision_config", {"image_feature_source": ["last_frame"]}),
        ("vision_config", {"projection_dim": 20}),
        ("text_config", {"scale_embedding": True}),
        ("text_config", {"activation_function": "swish"}),
        ("text_config", {"decoder_ffn_dim": 31}),
    ):
        write_json(folder / "config.json", data | {part: data[part] | change})
        with pytest.raises(CheckpointError):
            read(folder)


def test_a_model_that_only_starts_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the wrong table gives in files of large-ft, by a table whose first row wins always."""
    model: Any = seesay.create("florence2-tiny")
    model.save(tmp_path / "native")
    sound = health(seesay.load(tmp_path / "native", dtype="float32"))
    assert sound["tables_are_one"]
    assert sound["writes"]
    folder = convert(tmp_path / "native", tmp_path / "hub", "hub")
    tensors = read_tensors(folder / "model.safetensors")
    table = tensors["language_model.lm_head.weight"].clone()
    norm = "language_model.model.decoder.layers.1.final_layer_norm"
    tensors[f"{norm}.bias"] = torch.ones_like(tensors[f"{norm}.bias"])
    table[0] = 100
    save_file(tensors | {"language_model.lm_head.weight": table}, folder / "model.safetensors")
    assert run(["info", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["health"]
    assert not told["tables_are_one"]
    assert not told["writes"]
    assert told["row_lengths"].keys() == {"read", "written", "predicted"}
    assert run(["info", str(folder)]) == 0
    assert "  tables are one: False\n  row lengths:\n" in capsys.readouterr().out
