"""Strings to SigLIP's token ids."""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from seesay.errors import CheckpointError, InputError
from seesay.families.siglip.configs import BYTES, TextConfig
from seesay.processing.sentencepiece import read_sentencepiece
from seesay.processing.tokens import encodable
from seesay.types import TextBatch

Cleaning = Literal["canonicalize", "lower"]
"""What happens to a text first: "lower" lowers its case, "canonicalize" also takes punctuation."""

TOKENIZER, SPIECE = "tokenizer.json", "spiece.model"
ENDS = ("<eos>", "</s>")
"""What the token that ends a text is called: Gemma's, which has the other one too, and T5's."""


class SiglipTokenizer:
    """Batches of strings to ids and masks.

    Paper: arXiv 2303.15343, section 4; arXiv 2502.14786, section 2.
    Reference: google-research/big_vision, evaluators/proj/image_text/prompt_engineering.py,
        canonicalize_text, and pp/ops_text.py; transformers, models/siglip/tokenization_siglip.py.
    Differs: rows are padded to the longest of the batch; the text tower pads the rest. All of
        Unicode is lowered, in training only ASCII was.

    Args:
        pipeline: The vocabulary and how words are cut.
        config: Says how long texts may be and what pads them.
        cleaning: What happens to a text first.
        compat: "hf" removes underscores, and takes "<eos>" in a text for the token, as transformers
            does; they become spaces, and it stays text, in the original.
        spiece: The same vocabulary as a SentencePiece model, to be saved again for transformers.

    Raises:
        CheckpointError: The vocabulary has no token that ends a text.
    """

    def __init__(
        self,
        pipeline: Tokenizer,
        config: TextConfig,
        cleaning: Cleaning,
        compat: str | None = None,
        spiece: bytes | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.config = config
        self.cleaning = cleaning
        self.compat = compat
        self.spiece = spiece
        pipeline.no_padding()
        pipeline.no_truncation()
        # what only looks like a token that ends a text, or pads it, is text
        pipeline.encode_special_tokens = compat != "hf"
        ends = [i for i in map(pipeline.token_to_id, ENDS) if i is not None]
        if not ends:
            raise CheckpointError(f"the tokenizer has no token {' or '.join(ENDS)} to end a text")
        self.end_id: int = ends[0]
        if pipeline.post_processor is None:  # for others who read what is saved
            end = pipeline.id_to_token(self.end_id)
            pipeline.post_processor = processors.TemplateProcessing(
                single=f"$A {end}", special_tokens=[(end, self.end_id)]
            )

    def __call__(self, texts: Sequence[str]) -> TextBatch:
        """Return ids and mask [B, L]; the mask is True up to the end token.

        Raises:
            InputError: The tokenizer is not the model's: there is no vector for one of its ids.
        """
        rows = self.ids(texts)
        longest = max((len(row) for row in rows), default=0)
        ids = torch.full((len(rows), longest), self.config.pad_id, dtype=torch.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        return TextBatch(ids, torch.arange(longest) < lengths[:, None])

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, cut to the longest that is allowed, with its end token."""
        cleaned = [self.clean(text) for text in texts]
        encoded = self.pipeline.encode_batch(cleaned, add_special_tokens=False)
        rows = [[*e.ids[: self.config.max_length - 1], self.end_id] for e in encoded]
        highest = max((max(row) for row in rows), default=0)
        if highest >= self.config.vocab_size:
            raise InputError(
                f"the tokenizer's id {highest} is unknown to a model of {self.config.vocab_size}",
                "put the tokenizer.json that belongs to the weights beside them",
            )
        return rows

    def clean(self, text: str) -> str:
        """Return a text as the vocabulary wants it."""
        text = encodable(text).lower()
        if self.cleaning == "lower":
            return text
        if self.compat != "hf":
            text = text.replace("_", " ")
        return " ".join(text.translate(_NO_PUNCTUATION).split())

    @cached_property
    def digest(self) -> str:
        """Short hex digest of tokens, ids and how words are cut."""
        data = json.loads(self.pipeline.to_str())
        if data["model"]["type"] == "Unigram":
            # scores are single precision; as decimals they come back off by the last bit of double
            vocab = data["model"]["vocab"]
            data["model"]["vocab"] = [[piece, float(np.float32(score))] for piece, score in vocab]
        told = [sorted(self.pipeline.get_vocab().items())]
        told += [data[part] for part in ("normalizer", "pre_tokenizer", "model")]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Write tokenizer.json into a folder, and spiece.model where there is one."""
        self.pipeline.save(str(folder / TOKENIZER), pretty=False)
        if self.spiece is not None:
            (folder / SPIECE).write_bytes(self.spiece)


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def read_pipeline(folder: Path) -> Tokenizer | None:
    """Read tokenizer.json, or spiece.model; None when neither is there.

    Raises:
        CheckpointError: The file is damaged, or of a kind that cannot be read.
    """
    path = folder / TOKENIZER
    if path.is_file():
        try:
            return Tokenizer.from_file(str(path))
        except Exception as error:  # the Rust reader raises bare Exceptions
            raise CheckpointError(f"{path} is not a tokenizer: {error}") from None
    path = folder / SPIECE
    return read_sentencepiece(path) if path.is_file() else None


def byte_tokenizer() -> Tokenizer:
    """Return the tokenizer of the sizes for tests: one token a byte, built as Gemma's is."""
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁"]
    tokens += [f"<0x{byte:02X}>" for byte in range(256)]
    assert len(tokens) == BYTES
    ids = {token: i for i, token in enumerate(tokens)}
    pipeline = Tokenizer(BPE(vocab=ids, merges=[], unk_token="<unk>", byte_fallback=True))
    pipeline.normalizer = normalizers.Replace(" ", "▁")
    pipeline.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    pipeline.add_special_tokens(tokens[:5])
    return pipeline
