"""Strings to token ids: byte pairs with an end-of-word mark, between a start and an end token."""

from __future__ import annotations

import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from seesay.errors import CheckpointError, InputError
from seesay.types import TextBatch

START, END = "<|startoftext|>", "<|endoftext|>"

_WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
_ALPHABET = (*range(33, 127), *range(161, 173), *range(174, 256))
"""Bytes that stand for themselves in a vocabulary; the others are written as 256, 257 ..."""

Compat = Literal["hf"]


@dataclass(frozen=True)
class Vocabulary:
    """Tokens and the order in which pairs of them merge.

    Attributes:
        ids: Token to id; bytes as printable characters, the last token of a word ends in "</w>".
        merges: Pairs of tokens, the most frequent first.
    """

    ids: Mapping[str, int]
    merges: Sequence[tuple[str, str]]

    @classmethod
    @lru_cache(maxsize=4)
    def from_merges(cls, path: Path, count: int) -> Vocabulary:
        """Build the vocabulary from the first `count` merges of a gzipped list with a head line.

        Ids follow the published order: bytes, bytes that end a word, merges, start, end.
        """
        lines = gzip.decompress(path.read_bytes()).decode().split("\n")[1 : 1 + count]
        merges = [(left, right) for left, right in (line.split() for line in lines)]
        others = len(set(range(256)) - set(_ALPHABET))
        letters = [chr(byte) for byte in _ALPHABET] + [chr(256 + i) for i in range(others)]
        tokens = letters + [letter + "</w>" for letter in letters]
        tokens += [left + right for left, right in merges] + [START, END]
        return cls({token: i for i, token in enumerate(tokens)}, merges)

    @classmethod
    def from_folder(cls, folder: Path) -> Vocabulary | None:
        """Read tokenizer.json, or vocab.json with merges.txt; None when neither is there.

        Raises:
            CheckpointError: The files are damaged or of another kind of tokenizer.
        """
        whole, parts = folder / "tokenizer.json", (folder / "vocab.json", folder / "merges.txt")
        try:
            if whole.is_file():
                data = json.loads(whole.read_bytes())
                model = data["model"]
                if model.get("end_of_word_suffix") != "</w>":
                    raise ValueError("it is not a byte-pair tokenizer with end-of-word marks")
                ids = dict(model["vocab"])
                ids |= {token["content"]: token["id"] for token in data.get("added_tokens", [])}
                pairs = model["merges"]
            elif all(part.is_file() for part in parts):
                whole = parts[0]
                ids = json.loads(parts[0].read_bytes())
                lines = parts[1].read_text(encoding="utf-8").split("\n")
                pairs = [line for line in lines if line and not line.startswith("#version")]
            else:
                return None
            merges = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in pairs]
            if not all(isinstance(i, int) for i in ids.values()) or not {START, END} <= ids.keys():
                raise ValueError(f"it lacks {START} or {END}")
            if not all(len(pair) == 2 for pair in merges):
                raise ValueError("a merge is not of two tokens")
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise CheckpointError(f"{whole} is not a tokenizer this model knows: {error}") from None
        return cls(ids, merges)

    @cached_property
    def digest(self) -> str:
        """Short hex digest of tokens, ids and merges; equal whatever files they were read from."""
        told = [sorted(self.ids.items()), list(map(list, self.merges))]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


class BytePairTokenizer:
    """Batches of strings to ids and masks.

    Paper: arXiv 1508.07909, on bytes as in GPT-2.
    Reference: openai/CLIP, clip/simple_tokenizer.py and clip/clip.py, tokenize;
        huggingface/transformers, models/clip/tokenization_clip.py for `compat="hf"`.
    Differs: rows are padded to the longest of the batch, not to `max_length`; over-long texts are
        cut and keep their end token, unless `overflow="error"`. Which characters are letters is
        decided by the Unicode version of the `tokenizers` package.

    Args:
        vocabulary: Tokens and merges.
        max_length: The most tokens of a text, start and end included.
        compat: None repairs mis-decoded text and resolves HTML entities as the original training
            code does, and pads with 0; "hf" only normalises, as transformers does, and pads with
            the end token.
        overflow: What happens to longer texts: "truncate" or "error".
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        max_length: int,
        *,
        compat: Compat | None = None,
        overflow: Literal["truncate", "error"] = "truncate",
    ) -> None:
        self.vocabulary = vocabulary
        self.max_length = max_length
        self.compat = compat
        self.overflow = overflow
        self.start_id, self.end_id = vocabulary.ids[START], vocabulary.ids[END]
        self.pad_id = self.end_id if compat == "hf" else 0

    def __call__(self, texts: Sequence[str]) -> TextBatch:
        """Return ids and mask [B, L]; the mask is True from start to end token.

        Raises:
            InputError: A text has more than `max_length` tokens and `overflow` is "error".
        """
        return padded(self.ids(texts), self.pad_id)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, start and end included, without padding."""
        if self.compat is None:
            texts = [clean(text) for text in texts]
        else:
            texts = [encodable(text) for text in texts]
        rows = []
        room = self.max_length - 2
        for text, found in zip(texts, self._backend.encode_batch(texts), strict=True):
            if len(found.ids) > room and self.overflow == "error":
                raise InputError(
                    f"{text[:40]!r} has {len(found.ids) + 2} tokens, more than {self.max_length}"
                )
            rows.append([self.start_id, *found.ids[:room], self.end_id])
        return rows

    def save(self, folder: Path) -> None:
        """Write tokenizer.json, in the form that transformers reads too."""
        pipeline = _pipeline(self.vocabulary, compat="hf")
        pipeline.post_processor = processors.RobertaProcessing(
            (END, self.end_id), (START, self.start_id), trim_offsets=False, add_prefix_space=False
        )
        pipeline.save(str(folder / "tokenizer.json"))

    @cached_property
    def _backend(self) -> Tokenizer:
        return _pipeline(self.vocabulary, self.compat)


def _pipeline(vocabulary: Vocabulary, compat: Compat | None) -> Tokenizer:
    model: Any = BPE(
        vocab=dict(vocabulary.ids),
        merges=list(vocabulary.merges),
        unk_token=END,
        continuing_subword_prefix="",
        end_of_word_suffix="</w>",
    )
    pipeline = Tokenizer(model)
    words = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
    # transformers cuts words a second time, which shows in special tokens typed in capitals
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=compat == "hf")
    pipeline.pre_tokenizer = pre_tokenizers.Sequence([words, to_bytes])
    pipeline.decoder = decoders.ByteLevel()
    pipeline.add_special_tokens([START, END])
    if compat == "hf":
        collapse = normalizers.Replace(Regex(r"\s+"), " ")
        steps = [normalizers.NFC(), collapse, normalizers.Lowercase()]
        pipeline.normalizer = normalizers.Sequence(steps)
    return pipeline


def padded(rows: Sequence[Sequence[int]], pad_id: int) -> TextBatch:
    """Return ids and mask [B, L] of rows of ids, padded on the right to the longest."""
    longest = max(map(len, rows), default=0)
    ids = torch.full((len(rows), longest), pad_id, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.long)
    return TextBatch(ids, torch.arange(longest) < lengths[:, None])


def clean(text: str) -> str:
    """Repair mis-decoded text, resolve HTML entities twice, collapse spaces, lower the case."""
    text = encodable(text)
    # what follows leaves printable ASCII without entities alone, and ftfy takes its time
    if not (text.isascii() and text.isprintable()) or "&" in text:
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", text).strip().lower()


def encodable(text: str) -> str:
    """Replace lone surrogates, which no UTF-8 text can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
