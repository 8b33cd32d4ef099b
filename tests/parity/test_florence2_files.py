"""From pictures and prompts to texts: pixels and ids of transformers, folders it reads, compat."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import seesay
from parity.florence2_models import FEATURES, LOGITS, V, build, close, redrawn, saved
from seesay.checkpoints.convert import convert
from seesay.checkpoints.files import Source, read_json, read_tensors, write_json
from seesay.checkpoints.load import read
from seesay.errors import UsageError
from seesay.families.florence2.hf import hf_config
from seesay.processing.image import open_picture

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

PROMPTS = [
    "<OD>",
    "<OPEN_VOCABULARY_DETECTION>wheels",
    "<REGION_TO_CATEGORY><loc_52><loc_332><loc_932><loc_774>",
    "<CAPTION_TO_PHRASE_GROUNDING> a green car, 停车 in front of <and> it's  yellow ",
    "<DocVQA>What is the date?",
    "",
]


def pictures() -> list[Image.Image]:
    noise = np.random.default_rng(0)
    sizes = [(50, 37), (130, 164), (64, 64), (7, 190), (900, 400), (64, 65)]
    return [Image.fromarray(noise.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for transformers, of a model with the published vocabulary."""
    made = tmp_path_factory.mktemp("florence2")
    model: Any = seesay.create("florence2-tiny")
    frames = model.module.projector.frames.clone()
    redrawn(model.module)
    model.module.projector.frames.copy_(frames)
    model.save(made / "native")
    return convert(made / "native", made / "hf", "hf")


def test_transformers_reads_what_is_written(folder: Path) -> None:
    found = read(folder)
    processor: Any = found.processor
    theirs = transformers.AutoProcessor.from_pretrained(folder, use_fast=False)
    model = transformers.Florence2ForConditionalGeneration.from_pretrained(folder).eval()
    told = theirs(text=PROMPTS, images=pictures(), return_tensors="pt", padding=True)
    pixels = processor.images([open_picture(image) for image in pictures()])
    assert float((pixels - told["pixel_values"]).abs().max()) < 1e-5
    asked = processor.prompts("prompt", PROMPTS)
    image = told["input_ids"] == model.config.image_token_id
    assert image.sum(1).tolist() == [processor.image_tokens] * len(PROMPTS)
    counted = told["attention_mask"].bool() & ~image
    for i, ids in enumerate(told["input_ids"]):
        assert asked.ids[i][asked.mask[i]].tolist() == ids[counted[i]].tolist()
    prefix = torch.tensor([[2, 0, 50, 51000]]).expand(len(PROMPTS), -1)
    whole = torch.ones_like(prefix).bool()
    with torch.no_grad():
        module: Any = found.module.eval()
        logits = module(asked._replace(pixels=pixels, prefix=prefix, prefix_mask=whole))
        wanted = model(**told, decoder_input_ids=prefix).logits
        assert close(logits, wanted[..., : logits.shape[-1]]) < LOGITS
        # a row that no token has is never the likeliest
        assert int(wanted.argmax(-1).max()) < logits.shape[-1]
    assert model.generation_config.num_beams == 3
    assert model.generation_config.no_repeat_ngram_size == 3


def test_texts_of_ids_are_those_of_transformers(folder: Path) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    processor: Any = read(folder).processor
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(4, 51289, (40, 12), generator=generator).tolist()
    rows = [[i for i in row if i not in (50264, 3)] for row in rows]
    for row in rows:
        (text,) = processor.decode([[2, 0, 0, *row, 0, *row[:3], 2, 1, 1]])
        assert text == theirs.decode([*row, *row[:3]], skip_special_tokens=False)
        assert "".join(processor.pieces(row)) == processor.decode([row])[0]


def test_tokens_added_behind_the_one_of_images_are_kept_where_there_are_rows_for_them(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changed = Path(shutil.copytree(folder, tmp_path / "hf"))
    tokens = read_json(changed / "tokenizer.json")
    like = tokens["added_tokens"][-1]
    assert like == like | {"id": 51289, "content": "<image>"}
    tokens["added_tokens"].append(like | {"id": 51291, "content": "<sum>"})
    write_json(changed / "tokenizer.json", tokens)
    tensors = read_tensors(changed / "model.safetensors")
    name = "model.language_model.shared.weight"
    table = tensors[name].clone()
    table[51291] = torch.arange(table.shape[1]) / 100
    save_file(tensors | {name: table}, changed / "model.safetensors", {"format": "pt"})

    convert(changed, tmp_path / "native", "native")
    convert(tmp_path / "native", tmp_path / "again", "hf")
    for place in ("hf", "native", "again"):
        found = read(tmp_path / place)
        processor: Any = found.processor
        assert found.config.text.vocab_size == 51292
        assert processor.prompt_ids("<sum>5") == [0, 51291, 245, 2]
        assert processor.decode([[2, 0, 51291, 2]]) == ["<sum>"]
        rows = found.module.get_parameter("text.token_embedding.weight")
        assert torch.equal(rows[51291], table[51291])
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "again")
    assert again.convert_tokens_to_ids(["<image>", "<sum>"]) == [51289, 51291]
    assert read_json(tmp_path / "again" / "config.json")["image_token_id"] == 51289

    tokens["added_tokens"][-1]["id"] = len(table)
    write_json(changed / "tokenizer.json", tokens)
    caplog.clear()
    processor = read(changed).processor
    (told,) = (record.message for record in caplog.records if "table of tokens" in record.message)
    assert "ends at 51328 rows, so <sum> of its tokenizer are left out" in told
    assert 51328 not in processor.prompt_ids("<sum>5")
    assert processor.decode([processor.prompt_ids("<sum>5")]) == ["<sum>5"]
    assert processor.prompt_ids("<loc_999>") == [0, 51268, 2]


def test_the_hub_layout_and_back(folder: Path, tmp_path: Path) -> None:
    there = convert(folder, tmp_path / "hub", "hub")
    again = convert(there, tmp_path / "hf", "hf")
    assert read(there).fingerprint == read(folder).fingerprint
    first, second = (read_tensors(at / "model.safetensors") for at in (folder, again))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert read_json(folder / "config.json") == read_json(again / "config.json")
    hub = read_tensors(there / "model.safetensors")
    projection = "model.multi_modal_projector.image_projection.weight"
    assert torch.equal(hub["image_projection"].T, first[projection])
    assert first["model.language_model.shared.weight"].shape[0] == 51328
    assert hub["language_model.model.shared.weight"].shape[0] == 51289
    assert torch.equal(
        hub["language_model.lm_head.weight"], hub["language_model.model.shared.weight"]
    )


def test_pictures_are_squashed_with_antialias() -> None:
    processor: Any = seesay.create("florence2-tiny").processor
    theirs = pytest.importorskip("transformers.models.clip.image_processing_pil_clip")
    wanted = theirs.CLIPImageProcessorPil(
        size={"height": 64, "width": 64},
        do_center_crop=False,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
        resample=3,
    )(pictures(), return_tensors="pt")["pixel_values"]
    pixels = processor.images([open_picture(image) for image in pictures()])
    assert float((pixels - wanted).abs().max()) < 1e-5
    # without it, it is another picture
    array = torch.from_numpy(np.array(pictures()[1])).permute(2, 0, 1)[None].float()
    plain = torch.nn.functional.interpolate(array, (64, 64), mode="bicubic", antialias=False)
    smooth = pixels[1] * torch.tensor(processor.image.std).view(3, 1, 1)
    smooth = (smooth + torch.tensor(processor.image.mean).view(3, 1, 1)) * 255
    assert float((plain[0] - smooth).abs().max()) > 30


def test_a_model_without_a_tokenizer_still_looks(tmp_path: Path) -> None:
    model = build()
    found = read(saved(model, tmp_path))
    processor: Any = found.processor
    assert processor.tokenizer is None
    assert found.config.text.vocab_size == V
    with pytest.raises(seesay.errors.InputError, match="without a tokenizer"):
        processor.prompt_ids("<OD>")
    pixels = processor.images([open_picture(image) for image in pictures()[:2]])
    assert pixels.shape == (2, 3, 52, 90)
    with torch.no_grad():
        tokens = model.model.get_image_features(pixels).pooler_output
        module: Any = found.module.eval()
        assert close(module.encode_image(pixels), tokens) < FEATURES
    assert tokens.shape[1] == processor.image_tokens


def test_images_of_any_size_there_are_positions_for(folder: Path) -> None:
    found = read(folder, image_size=(352, 96))
    theirs = transformers.Florence2ForConditionalGeneration.from_pretrained(folder).eval()
    processor, module = found.processor, found.module.eval()
    pixels = processor.images([open_picture(image) for image in pictures()[:2]])
    assert pixels.shape == (2, 3, 352, 96)
    with torch.no_grad():
        wanted = theirs.model.get_image_features(pixels).pooler_output
        assert close(module.encode_image(pixels), wanted) < FEATURES  # type: ignore[operator]
    assert wanted.shape[1] == 1 + 11 * 3 == processor.image_tokens  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"64 x 1632 pixels .* 50 at most on a side"):
        read(folder, image_size=(1632, 64))
    # the positions of the text network are for the image and the prompt
    assert read(folder, image_size=(992, 992)).processor.image_tokens == 962  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="no prompt fits beside them into 1024 positions"):
        read(folder, image_size=(1600, 1600))


def test_what_the_configuration_leaves_out_is_as_transformers_has_it(tmp_path: Path) -> None:
    parts = {"vision_config": {"depths": [1, 1, 2, 1]}, "text_config": {"encoder_layers": 1}}
    whole = {name: {**part} for name, part in parts.items()}
    whole["text_config"]["model_type"] = "bart"
    transformers.Florence2Config(**whole).save_pretrained(tmp_path)
    found = hf_config(Source(tmp_path))
    write_json(tmp_path / "config.json", {"model_type": "florence2", **parts})
    assert hf_config(Source(tmp_path)) == found
    assert (found.image.depths, found.text.encoder_depth) == ((1, 1, 2, 1), 1)
