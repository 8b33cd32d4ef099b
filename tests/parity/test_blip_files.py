"""From files and words: pixels and ids of transformers, folders it reads, what compat changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import seesay
from parity.blip_models import LOGITS, build, loaded, redrawn, saved
from seesay.checkpoints.convert import convert
from seesay.checkpoints.files import read_json, read_tensors
from seesay.checkpoints.load import read
from seesay.errors import CheckpointError, InputError, UsageError
from seesay.families.blip.processing import clean_caption, clean_question
from seesay.processing.image import open_picture

transformers = pytest.importorskip("transformers")

WORDS = ["a photo of a CAT.", "Two DOGS: running!", "", "it's " + "long " * 60]
ASKED = ["How many cats? (roughly)", "is it red", "what is the name of the old man there?"]


def made(name: str, folder: Path) -> Path:
    """A native checkpoint of a tiny variant, every parameter drawn anew."""
    model: Any = seesay.create(name)
    redrawn(model.module)
    model.save(folder)
    return folder


def pictures() -> list[Image.Image]:
    noise = np.random.default_rng(0)
    sizes = [(50, 37), (33, 64), (32, 32), (7, 90)]
    return [Image.fromarray(noise.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


def test_from_files_and_words_to_scores(tmp_path: Path) -> None:
    native = made("blip-tiny-retrieval", tmp_path / "native")
    folder = convert(native, tmp_path / "hf", "hf")
    found = read(folder, compat="hf")
    pil = pytest.importorskip("transformers.models.blip.image_processing_pil_blip")
    wanted = pil.BlipImageProcessorPil.from_pretrained(folder)(pictures(), return_tensors="pt")
    processor: Any = found.processor
    pixels = processor.images([open_picture(image) for image in pictures()])
    assert float((pixels - wanted["pixel_values"]).abs().max()) < 1e-5
    tokenizer = transformers.BertTokenizer.from_pretrained(folder)
    words = [*WORDS[:3], "and that was all, wasn't it"]
    told = tokenizer(words, padding=True, return_tensors="pt", return_token_type_ids=False)
    ids, mask = processor.pairs(words)
    assert torch.equal(ids, told["input_ids"])
    assert torch.equal(mask, told["attention_mask"].bool())
    theirs = transformers.BlipForImageTextRetrieval.from_pretrained(folder).eval()
    module: Any = found.module.eval()
    with torch.no_grad():
        scores = module.match(module.encode_image(pixels), ids, mask)
        expected = theirs(**told, pixel_values=wanted["pixel_values"]).itm_score
    assert float((scores - expected).abs().max()) < LOGITS


@pytest.mark.parametrize("kind", ["captioning", "vqa", "retrieval"])
def test_folders_that_were_converted_load_in_transformers_with_every_key(
    kind: str, tmp_path: Path
) -> None:
    name = f"blip-tiny-{kind}"
    if kind == "vqa":  # transformers builds no decoder for a ViT of another width
        with pytest.raises(CheckpointError, match="ViT of another width"):
            convert(made(name, tmp_path / "native"), tmp_path / "hf", "hf")
        saved(build("QuestionAnswering"), tmp_path / "first")
        source = convert(tmp_path / "first", tmp_path / "wide", "native")
    else:
        source = made(name, tmp_path / "native")
    folder = convert(source, tmp_path / "hf", "hf")
    assert read(folder).fingerprint == read(source).fingerprint
    kinds = {
        "captioning": transformers.BlipForConditionalGeneration,
        "vqa": transformers.BlipForQuestionAnswering,
        "retrieval": transformers.BlipForImageTextRetrieval,
    }
    model, told = kinds[kind].from_pretrained(folder, output_loading_info=True)
    assert not told["missing_keys"]
    assert set(told["unexpected_keys"]) <= {"temp"}
    assert model.config.text_config.bos_token_id == read(source).settings["start_id"]


def test_a_learnt_temperature_survives_a_folder_of_transformers(tmp_path: Path) -> None:
    native = made("blip-tiny-retrieval", tmp_path / "native")
    scale = read(native).module.state_dict()["logit_scale"]
    assert float(scale) != pytest.approx(2.6593, abs=1e-3)
    folder = convert(native, tmp_path / "hf", "hf")
    assert torch.equal(read(folder).module.state_dict()["logit_scale"], scale)
    # a folder of transformers has none, and gets the usual one
    plain = loaded(build("ImageTextRetrieval"), tmp_path / "plain")
    assert float(plain.module.logit_scale.detach()) == pytest.approx(2.65926)
    again = convert(tmp_path / "plain", tmp_path / "again", "hf")
    names = [
        read_tensors(path / "model.safetensors").keys() for path in (tmp_path / "plain", again)
    ]
    assert names[0] == names[1]


def test_from_transformers_to_the_authors_layout_and_back(tmp_path: Path) -> None:
    """With its own vocabulary, heads and epsilons, which lie beside the weights."""
    first = saved(build("ConditionalGeneration"), tmp_path / "hf")
    there = convert(first, tmp_path / "blip", "blip")
    assert {path.name for path in there.iterdir()} == {
        "model.pth",
        "med_config.json",
        "tokenizer.json",
    }
    back = convert(there, tmp_path / "back", "hf")
    assert read(back).fingerprint == read(there).fingerprint == read(first).fingerprint
    model = transformers.BlipForConditionalGeneration.from_pretrained(back)
    assert model.config.vision_config.num_attention_heads == 5


@pytest.mark.parametrize("kind", ["pretraining", "nlvr", "classification"])
def test_what_transformers_has_no_class_for_is_not_written(kind: str, tmp_path: Path) -> None:
    name = "blip-tiny" if kind == "pretraining" else f"blip-tiny-{kind}"
    with pytest.raises(CheckpointError, match=f"no BLIP for {kind}"):
        convert(made(name, tmp_path / "native"), tmp_path / "hf", "hf")
    folder = convert(tmp_path / "native", tmp_path / "blip", "blip")
    assert read(folder).fingerprint == read(tmp_path / "native").fingerprint
    # heads that are not 64 wide are told beside the weights
    assert read_json(folder / "med_config.json")["num_attention_heads"] == 3
    with pytest.raises(UsageError, match="a folder, not a file"):
        convert(tmp_path / "native", tmp_path / "blip.pth", "blip")


def test_a_folder_without_a_tokenizer_loads(tmp_path: Path) -> None:
    native = made("blip-tiny-captioning", tmp_path / "native")
    folder = convert(native, tmp_path / "hf", "hf")
    digest = read(folder).settings["vocabulary"]
    (folder / "tokenizer.json").unlink()
    assert read(folder).settings["vocabulary"] == digest  # BERT's, which is shipped
    other = saved(build("ConditionalGeneration"), tmp_path / "other")
    (other / "vocab.txt").unlink()
    processor: Any = read(other).processor
    for call in (processor.texts, processor.pairs, lambda t: processor.prompts("caption", t)):
        with pytest.raises(InputError, match="without a tokenizer") as caught:
            call(["a"])
        assert "vocab.txt" in str(caught.value)
    assert processor.images([open_picture(pictures()[0])]).shape == (1, 3, 24, 24)


# -- words to ids ----------------------------------------------------------------------------------

CLS, SEP, DEC, ENC = 101, 102, 30522, 30523


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made("blip-tiny-vqa", tmp_path_factory.mktemp("vqa") / "native")


def rows(batch: Any) -> list[list[int]]:
    return [row[seen].tolist() for row, seen in zip(*batch, strict=True)]


def test_texts_begin_as_in_training_and_end_where_they_are_cut(folder: Path) -> None:
    processor: Any = read(folder).processor
    alone, looking = rows(processor.texts(WORDS)), rows(processor.pairs(WORDS))
    assert [row[0] for row in alone] == [CLS] * 4
    assert [row[0] for row in looking] == [ENC] * 4
    assert [row[1:] for row in alone] == [row[1:] for row in looking]
    assert {row[-1] for row in alone} == {SEP}
    assert alone[0] == [CLS, 1037, 6302, 1997, 1037, 4937, SEP]  # without its full stop
    assert alone[2] == [CLS, SEP]
    assert len(alone[3]) == 34  # thirty words, one of them in three pieces
    assert [len(row) for row in rows(processor.texts(["a " * 60, "b"], max_length=9))] == [9, 3]


def test_questions_and_captions_as_prompts(folder: Path) -> None:
    processor: Any = read(folder).processor
    asked = processor.prompts("answer", ASKED)
    assert asked.prefix.tolist() == [[DEC]] * 3
    assert asked.seen is None
    found = rows((asked.ids, asked.mask))
    assert found[0] == [ENC, 2129, 2116, 8870, 1029, 5560, SEP]  # brackets go, the mark stays
    assert found[1][0] == ENC
    begun = processor.prompts("caption", ["a picture of ", "", "two"])
    assert begun.ids is None
    assert rows((begun.prefix, begun.prefix_mask)) == [[DEC, 1037, 3861, 1997], [DEC], [DEC, 2048]]
    with pytest.raises(UsageError, match="known: caption, answer"):
        processor.prompts("sing", ["a"])
    assert processor.end_ids == (SEP,)
    assert processor.decode([[DEC, 2048, 6077, SEP, 0, 0], [ENC, 1037]]) == ["two dogs", "a"]


def test_what_is_written_and_where_it_begins(folder: Path) -> None:
    processor: Any = read(folder).processor
    batch, starts = processor.written(["Two dogs.", "a cat"], "a picture of ")
    assert rows(batch)[0] == [DEC, 1037, 3861, 1997, 2048, 6077, SEP]
    assert starts.tolist() == [4, 4]
    batch, starts = processor.written(["12:30", "yes"], task="answer")
    assert rows(batch) == [[DEC, 2260, 1024, 2382, SEP], [DEC, 2748, SEP]]  # the colon stays
    assert starts.tolist() == [1, 1]
    batch, starts = processor.written(["word " * 50], "a picture of ")
    assert rows(batch)[0][-1] == SEP
    assert batch.ids.shape == (1, 35)  # four, thirty words, the end
    batch, starts = processor.written(["word " * 50], "a picture of ", max_length=6)
    assert (batch.ids.shape, starts.tolist()) == ((1, 6), [4])


def test_compat_is_what_the_references_do(folder: Path) -> None:
    theirs: Any = read(folder, compat="hf").processor
    lavis: Any = read(folder, compat="lavis").processor
    ours: Any = read(folder).processor
    for processor in (theirs, lavis):
        asked = processor.prompts("answer", ASKED)
        assert asked.seen.all()
        assert not asked.mask.all()
    assert rows(theirs.pairs(["a cat."])) == [[CLS, 1037, 4937, 1012, SEP]]
    assert rows(lavis.pairs(["a cat."])) == rows(ours.pairs(["a cat."])) == [[ENC, 1037, 4937, SEP]]
    assert theirs.pairs(["long " * 60]).ids.shape == (1, 48)  # as many as there are positions
    assert theirs.settings()["compat"] == "hf"
    with pytest.raises(UsageError, match="blip has no compat 'paper'"):
        read(folder, compat="paper")


def test_families_without_such_a_compat_say_so(tmp_path: Path) -> None:
    source = made("clip-tiny", tmp_path / "clip")
    with pytest.raises(UsageError, match="clip has no compat 'lavis'") as caught:
        read(source, compat="lavis")
    assert "known: hf" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "caption", "question"),
    [
        ('A "man" (left)  eats: pizza!', "a man left eats pizza", "a man left  eats pizza"),
        ("two  dogs\n", "two dogs", "two  dogs\n"),
        ("Is it 3.5, or #4? ", "is it 3 5, or 4?", "is it 35, or 4?"),
        ("", "", ""),
        ("~*~", "", ""),
    ],
)
def test_texts_are_cleaned_as_in_training(text: str, caption: str, question: str) -> None:
    assert clean_caption(text) == caption
    assert clean_question(text) == question
    assert clean_caption("w " * 40) == " ".join("w" * 30)
    assert clean_question("w " * 60) == " ".join("w" * 50)
