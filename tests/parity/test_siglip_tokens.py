"""SigLIP's token ids are SentencePiece's and transformers', with vocabularies trained here."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

import seesay
from seesay.checkpoints.convert import convert
from seesay.checkpoints.load import read
from seesay.errors import CheckpointError, InputError
from seesay.families.siglip.configs import TextConfig
from seesay.families.siglip.tokens import SiglipTokenizer, byte_tokenizer, read_pipeline
from seesay.processing.sentencepiece import read_sentencepiece

CORPUS = [
    "a photo of a cat", "two dogs run on the beach", "the quick brown fox jumps over the lazy dog",
    "a red bicycle leans against a wall", "people walk under umbrellas in the rain",
    "看图说话 一只猫", "ein Foto von einer Katze", "naïve café résumé", "0123456789 and more 42",
]  # fmt: skip
TEXTS = [
    "a photo of a cat", "A Photo, of: a CAT!!", "", "...", "it's the dogs' 12345 bones",
    "naïve café ½ ﬁne ①② ｆｕｌｌ", "看图说话 红色自行车", "😀 emoji",
    "tab\tand\nline  two   spaces ", "x" * 90, "cat " * 90, "e\u0301 and é", "\x00nul",
]  # fmt: skip


def text_config(**facts: Any) -> TextConfig:
    sizes = {"width": 8, "depth": 1, "num_heads": 1, "mlp_width": 8, "vocab_size": 4000}
    return TextConfig(**sizes | {"max_length": 16} | facts)


def train_sentencepiece(folder: Path, **options: Any) -> Path:
    """A model as the released one: no start token, </s> is 1."""
    sentencepiece = pytest.importorskip("sentencepiece")
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 20),
        model_writer=written,
        **{"vocab_size": 150, "hard_vocab_limit": False, "minloglevel": 2}
        | {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "num_threads": 1}
        | options,
    )
    path = folder / "spiece.model"
    path.write_bytes(written.getvalue())
    return path


@pytest.fixture(scope="module")
def spiece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_sentencepiece(tmp_path_factory.mktemp("spiece"))


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer.json like Gemma's: byte pairs with bytes to fall back on, and </s> among them."""
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{b:02X}>" for b in range(256))]
    pipeline = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    pipeline.normalizer = normalizers.Replace(" ", "▁")
    pipeline.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=[*tokens[:5], "</s>"])
    pipeline.train_from_iterator(CORPUS * 5, trainer)
    data = json.loads(pipeline.to_str())
    for token in tokens[5:]:
        data["model"]["vocab"][token] = len(data["model"]["vocab"])
    folder = tmp_path_factory.mktemp("gemma")
    (folder / "tokenizer.json").write_text(json.dumps(data))
    return folder


# -- SentencePiece -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byte_fallback": True, "vocab_size": 400},
        {"normalization_rule_name": "identity"},
        {"add_dummy_prefix": False, "normalization_rule_name": "nmt_nfkc_cf"},
        {"remove_extra_whitespaces": False},
    ],
    ids=str,
)
def test_a_sentencepiece_model_is_read_without_its_package(
    options: dict[str, Any], tmp_path: Path
) -> None:
    path = train_sentencepiece(tmp_path, **options)
    theirs = pytest.importorskip("sentencepiece").SentencePieceProcessor(model_file=str(path))
    ours = read_sentencepiece(path)
    assert ours.get_vocab_size() == theirs.get_piece_size()
    for text in TEXTS:
        assert ours.encode(text, add_special_tokens=False).ids == theirs.encode(text), text


# without "<", with which sentencepiece does not see the tokens that it writes itself, and without
# marks, which the normaliser of the tokenizers package loses after a character that it changes
KNOWN = st.characters(
    max_codepoint=0x2FFF, exclude_categories=["Cs", "Cn", "M"], exclude_characters="<"
)


@settings(max_examples=200, deadline=None)
@given(st.text(KNOWN, max_size=30))
def test_any_text_is_cut_as_sentencepiece_cuts_it(spiece: Path, text: str) -> None:
    theirs = pytest.importorskip("sentencepiece").SentencePieceProcessor(model_file=str(spiece))
    tokenizer = SiglipTokenizer(read_sentencepiece(spiece), text_config(max_length=999), "lower")
    cleaned = tokenizer.clean(text)
    assert tokenizer.ids([text]) == [[*theirs.encode(cleaned), 1]]


@pytest.mark.parametrize("damage", [b"", b"\n\x05ab", b"\xff" * 40, b"not a model at all"])
def test_a_damaged_model_is_named(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(damage)
    with pytest.raises(CheckpointError, match=r"spiece\.model is damaged"):
        read_pipeline(tmp_path)


def test_a_truncated_model_is_named(spiece: Path, tmp_path: Path) -> None:
    whole = spiece.read_bytes()
    for length in (10, len(whole) // 2, len(whole) - 3):
        (tmp_path / "spiece.model").write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"spiece\.model is damaged"):
            read_pipeline(tmp_path)


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = train_sentencepiece(tmp_path, model_type="bpe")
    with pytest.raises(CheckpointError, match="not a unigram model"):
        read_sentencepiece(path)


# -- transformers --------------------------------------------------------------------------------


def test_ids_of_the_first_generation_are_those_of_transformers(spiece: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.SiglipTokenizer(str(spiece))
    ours = SiglipTokenizer(read_sentencepiece(spiece), text_config(), "canonicalize", "hf")
    texts = [*TEXTS, "snake_case and {braces} <unk> [x]", "(parenthesis) \"quotes\" 'n' such"]
    batch = theirs(texts, padding="max_length", truncation=True, max_length=16)["input_ids"]
    ids, mask = ours(texts)
    assert ids.shape[1] == 16
    assert ids.tolist() == batch
    assert (ids[~mask] == 1).all()


def test_ids_of_the_second_generation_are_those_of_transformers(gemma: Path) -> None:
    transformers = pytest.importorskip("transformers")
    data = json.loads((gemma / "tokenizer.json").read_text())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in data["merges"]]
    theirs = transformers.Siglip2Tokenizer(vocab=data["vocab"], merges=merges, padding_side="right")
    pipeline = read_pipeline(gemma)
    assert pipeline is not None
    ours = SiglipTokenizer(pipeline, text_config(pad_id=0), "lower")
    for text in TEXTS:
        plain = theirs(text, add_special_tokens=False)["input_ids"][:15]
        assert ours.ids([text]) == [[*plain, 1]], text


# -- rules ---------------------------------------------------------------------------------------


def test_texts_are_cleaned_as_the_authors_do() -> None:
    pipeline = byte_tokenizer()
    first = SiglipTokenizer(pipeline, text_config(), "canonicalize")
    assert first.clean("  A snake_case, Café-bar:\n it's!  ") == "a snake case cafébar its"
    like_hf = SiglipTokenizer(pipeline, text_config(), "canonicalize", "hf")
    assert like_hf.clean("A snake_case") == "a snakecase"
    second = SiglipTokenizer(pipeline, text_config(), "lower")
    assert second.clean("  A snake_case, ÉCOLE:\n it's!  ") == "  a snake_case, école:\n it's!  "
    assert second.clean("half a \ud83d pair") == "half a \ufffd pair"


def test_rows_end_with_their_token_however_long_the_text(gemma: Path) -> None:
    pipeline = read_pipeline(gemma)
    assert pipeline is not None
    tokenizer = SiglipTokenizer(pipeline, text_config(pad_id=0), "lower")
    assert tokenizer.end_id == pipeline.token_to_id("<eos>") != pipeline.token_to_id("</s>")
    ids, mask = tokenizer(["cat", "cat " * 90, ""])
    assert ids.shape == mask.shape == (3, 16)
    assert ids.dtype is torch.long
    for row, counted in zip(ids, mask, strict=True):
        assert row[counted][-1] == tokenizer.end_id
        assert (row[~counted] == 0).all()
    assert mask.sum(1).tolist()[1:] == [16, 1]
    assert tokenizer([]).ids.shape == (0, 0)


def test_a_text_cannot_end_itself(gemma: Path) -> None:
    for compat, ends in ((None, 1), ("hf", 2)):
        pipeline = read_pipeline(gemma)
        assert pipeline is not None
        tokenizer = SiglipTokenizer(pipeline, text_config(pad_id=0), "lower", compat)
        [ids] = tokenizer.ids(["a <eos> cat"])
        assert ids.count(tokenizer.end_id) == ends


def test_a_strangers_tokenizer_is_refused(gemma: Path) -> None:
    pipeline = read_pipeline(gemma)
    assert pipeline is not None
    small = SiglipTokenizer(pipeline, text_config(vocab_size=50), "lower")
    with pytest.raises(InputError, match="unknown to a model of 50"):
        small(["看图说话"])
    with pytest.raises(CheckpointError, match="no token <eos> or </s> to end a text"):
        SiglipTokenizer(Tokenizer(models.BPE(vocab={"a": 0}, merges=[])), text_config(), "lower")


# -- in a checkpoint's folder --------------------------------------------------------------------


@pytest.fixture
def hf(tmp_path: Path) -> Path:
    """A folder of transformers' layout whose tokenizer has been taken away."""
    seesay.create("siglip-tiny").save(tmp_path / "native")
    folder = convert(tmp_path / "native", tmp_path / "hf", "hf")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    path = folder / "config.json"
    data = json.loads(path.read_text())
    del data["text_config"]["pad_token_id"]
    path.write_text(json.dumps(data))
    return folder


def test_either_file_beside_the_weights_serves(hf: Path, spiece: Path, tmp_path: Path) -> None:
    (hf / "spiece.model").write_bytes(spiece.read_bytes())
    (hf / "tokenizer_config.json").write_text('{"tokenizer_class": "SiglipTokenizer"}')
    loaded = read(hf)
    assert loaded.settings["cleaning"] == "canonicalize"
    words = ["A photo, of a cat!", "two dogs"]
    wanted = loaded.processor.texts(words).ids.tolist()
    # saved by us it is tokenizer.json, with the same ids and the same fingerprint
    native = convert(hf, tmp_path / "again", "native")
    assert (native / "tokenizer.json").is_file()
    again = read(native)
    assert again.processor.texts(words).ids.tolist() == wanted
    assert again.fingerprint == loaded.fingerprint


@pytest.mark.parametrize(
    "told",
    [
        {"pad_token": "<mask>", "added_tokens_decoder": {"4": {"content": "<mask>"}}},
        {"pad_token": {"content": "<mask>"}},
        {"pad_token": "<mask>", "tokenizer_class": "GemmaTokenizerFast"},
    ],
)
def test_what_pads_a_text_is_told_by_the_tokenizers_files(hf: Path, told: dict[str, Any]) -> None:
    byte_tokenizer().save(str(hf / "tokenizer.json"))
    (hf / "tokenizer_config.json").write_text(json.dumps(told))
    assert read(hf).config.text.pad_id == 4


@pytest.fixture
def other(hf: Path) -> Path:
    """The same of a vocabulary that is not the one for tests, so that nothing stands in for it."""
    path = hf / "config.json"
    data = json.loads(path.read_text())
    data["text_config"]["vocab_size"] = 300
    path.write_text(json.dumps(data))
    state = load_file(hf / "model.safetensors")
    state["text_model.embeddings.token_embedding.weight"] = torch.randn(300, 24)
    save_file(state, hf / "model.safetensors")
    return hf


def test_without_a_tokenizer_only_texts_are_refused(other: Path) -> None:
    model = seesay.load(other)
    assert model.embed_pixels(torch.randn(1, 3, 32, 32)).shape == (1, 40)
    with pytest.raises(InputError, match="came without a tokenizer") as caught:
        model.embed_texts(["a cat"])
    assert "spiece.model" in (caught.value.hint or "")


@pytest.mark.parametrize("kept", ["spiece.model", "tokenizer.json"])
def test_transformers_reads_the_words_of_what_we_write(
    kept: str, other: Path, spiece: Path, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    if kept == "spiece.model":
        (other / kept).write_bytes(spiece.read_bytes())
    else:
        read_sentencepiece(spiece).save(str(other / kept))
    place = convert(convert(other, tmp_path / "mine", "native"), tmp_path / "out", "hf")
    theirs = transformers.AutoTokenizer.from_pretrained(place)
    assert (type(theirs) is transformers.SiglipTokenizer) == (kept == "spiece.model")
    words = ["a photo of a cat", "two dogs", "cat " * 30]
    batch = theirs(words, padding="max_length", truncation=True)
    assert list(batch) == ["input_ids"]  # and no mask, which would hide the padding
    ids, mask = read(place).processor.texts(words)
    assert batch["input_ids"] == ids.tolist()
    assert mask.sum(1).tolist()[2] == 20
    assert read(place).fingerprint == read(other).fingerprint


def test_a_damaged_tokenizer_is_named(hf: Path) -> None:
    (hf / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not a tokenizer"):
        read(hf)
