"""Files of the BLIP repository and of LAVIS give what their equations say, of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from parity.blip_models import close
from reference import blip_original as oracle
from seesay.checkpoints.convert import convert
from seesay.checkpoints.load import read
from seesay.errors import CheckpointError
from seesay.types import Prompt

KINDS = ("pretraining", "retrieval", "captioning", "vqa", "nlvr", "classification")
RELATIVE = 1e-5
LENGTHS = (7, 3, 5)


def file(kind: str, folder: Path, **sizes: Any) -> tuple[dict[str, Tensor], Path]:
    """The tensors, and a file of them with what training leaves beside them."""
    weights, path = oracle.random_weights(kind, **sizes), folder / f"{kind}.pth"
    left = {"optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}, "config": {"lr": 1e-5}}
    torch.save({"model": weights, "epoch": 4, **left}, path)
    return weights, path


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    ids = torch.randint(1, 61, mask.shape, generator=generator)
    pixels = torch.randn(len(LENGTHS), 3, 24, 24, generator=generator)
    return pixels, ids, mask


def rows(ids: Tensor, mask: Tensor) -> list[Tensor]:
    return [row[: int(seen.sum())] for row, seen in zip(ids, mask, strict=True)]


@pytest.mark.parametrize("kind", ["pretraining", "retrieval"])
def test_vectors_and_matching(kind: str, tmp_path: Path) -> None:
    w, path = file(kind, tmp_path)
    module: Any = read(path).module.eval()
    pixels, ids, mask = inputs()
    with torch.no_grad():
        tokens = module.encode_image(pixels)
        found = module.match(tokens, ids, mask)
        vectors = module.embed_image(pixels), module.embed_text(ids, mask)
        for i, row in enumerate(rows(ids, mask)):
            image = oracle.image_tokens(w, pixels[i])
            assert close(tokens[i], image) < RELATIVE
            fused = oracle.text_features(w, "text_encoder", row, [image])
            assert close(found[i], oracle.affine(w, "itm_head", fused[0])) < RELATIVE
            vector = oracle.affine(w, "vision_proj", image[0])
            assert close(vectors[0][i], vector / vector.norm()) < RELATIVE
            alone = oracle.text_features(w, "text_encoder", row)
            vector = oracle.affine(w, "text_proj", alone[0])
            assert close(vectors[1][i], vector / vector.norm()) < RELATIVE
    assert float(module.logit_scale.exp()) == pytest.approx(1 / 0.0415, rel=1e-6)


@pytest.mark.parametrize("kind", ["pretraining", "captioning"])
def test_captions(kind: str, tmp_path: Path) -> None:
    w, path = file(kind, tmp_path)
    module: Any = read(path).module.eval()
    pixels, ids, mask = inputs()
    with torch.no_grad():
        found = module(Prompt(pixels, ids, mask))
        for i, row in enumerate(rows(ids, mask)):
            image = oracle.image_tokens(w, pixels[i])
            seen = oracle.text_features(w, "text_decoder.bert", row, [image], causal=True)
            assert close(found[i, : len(row)], oracle.next_token_logits(w, seen)) < RELATIVE


def test_answers(tmp_path: Path) -> None:
    w, path = file("vqa", tmp_path)
    module: Any = read(path).module.eval()
    pixels, ids, mask = inputs()
    answers = torch.tensor([[59, 4, 9]]).expand(len(ids), -1)
    prompt = Prompt(pixels, answers, torch.ones_like(answers).bool(), ids, mask)
    with torch.no_grad():
        found = module(prompt)
        for i, row in enumerate(rows(ids, mask)):
            image = oracle.image_tokens(w, pixels[i])
            asked = oracle.text_features(w, "text_encoder", row, [image])
            seen = oracle.text_features(w, "text_decoder.bert", answers[i], [asked], causal=True)
            assert close(found[i], oracle.next_token_logits(w, seen)) < RELATIVE


@pytest.mark.parametrize("kind", ["nlvr", "classification"])
def test_classifiers(kind: str, tmp_path: Path) -> None:
    classes = 2 if kind == "nlvr" else 3
    w, path = file(kind, tmp_path, classes=classes, text=(61, 20, 64, 4))
    module: Any = read(path).module.eval()
    pixels, ids, mask = inputs()
    second = pixels.flip(0) + 0.5
    with torch.no_grad():
        if kind == "nlvr":
            found = module.compare(pixels, second, ids, mask)
        else:
            found = module.classify_pair(pixels, ids, mask)
        for i, row in enumerate(rows(ids, mask)):
            looked = [pixels[i], second[i]] if kind == "nlvr" else [pixels[i]]
            images = [oracle.image_tokens(w, one) for one in looked]
            fused = oracle.text_features(w, "text_encoder", row, images)
            assert close(found[i], oracle.classified(w, fused)) < RELATIVE
    assert found.shape == (3, classes)


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(kind: str, tmp_path: Path) -> None:
    """Every tensor of the model comes back bit for bit; the temperature to its last digit."""
    w, path = file(kind, tmp_path)
    native = convert(path, tmp_path / "native", "native")
    back = torch.load(convert(native, tmp_path / "back.pth", "blip"), weights_only=True)["model"]
    temperature = back.pop("temp", None)
    assert (temperature is not None) == (kind in ("pretraining", "retrieval"))
    if temperature is not None:
        assert float(temperature) == pytest.approx(float(w["temp"]), rel=3e-7)
    dropped = w.keys() - back.keys() - {"temp"}
    assert all("_m." in name or oracle.whole(name) or "queue" in name for name in dropped)
    assert back.keys() <= w.keys()
    assert all(torch.equal(tensor, w[name]) for name, tensor in back.items())
    assert read(tmp_path / "back.pth").fingerprint == read(path).fingerprint


def test_an_encoder_and_a_decoder_that_should_be_one_and_differ(tmp_path: Path) -> None:
    w, path = file("pretraining", tmp_path)
    name = "text_decoder.bert.encoder.layer.1.intermediate.dense.bias"
    torch.save({"model": w | {name: w[name] + 1}}, path)
    with pytest.raises(CheckpointError, match="should be equal") as caught:
        read(path)
    assert name in caught.value.what


def test_every_parameter_moves_the_output(tmp_path: Path) -> None:
    """Of the kinds that have parts of their own, in double precision."""
    from parity.siglip_models import every_parameter_counts

    pixels, ids, mask = inputs()
    pixels = pixels.double()
    for kind in ("pretraining", "nlvr"):
        module: Any = read(file(kind, tmp_path)[1]).module.double().eval()

        def output(module: Any = module, kind: str = kind) -> Tensor:
            with torch.no_grad():
                if kind == "nlvr":
                    return module.compare(pixels, pixels.flip(0), ids, mask)
                parts = [module(Prompt(pixels, ids, mask))[mask].flatten()]
                parts.append(module.match(module.encode_image(pixels), ids, mask).flatten())
                cosines = module.embed_image(pixels) @ module.embed_text(ids, mask).T
                return torch.cat([*parts, (module.logit_scale.exp() * cosines).flatten()])

        every_parameter_counts(module, output)
