"""Strings to BERT's token ids and back: words, and pieces of words."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from seesay.errors import CheckpointError
from seesay.processing.tokens import encodable

_log = logging.getLogger("seesay")
VOCABULARY = Path(__file__).with_name("bert_base_uncased_vocab.txt.gz")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ADDED = ("[DEC]", "[ENC]")
"""Tokens that models add after the vocabulary; few write them into its files."""


class WordPieceTokenizer:
    """Words of a text, lowered and without accents, cut into the longest pieces that are known.

    Paper: arXiv 1609.08144, section 4.1; arXiv 1810.04805, section 3.
    Reference: google-research/bert, tokenization.py; transformers,
        models/bert/tokenization_bert.py.
    Differs: what looks like a special token in a text is text. Which characters are letters is
        decided by the Unicode version of the `tokenizers` package.

    Args:
        vocabulary: Token to id; what goes on a word begins with "##".
        lowercase: Whether case and accents go, as in the uncased models.

    Raises:
        ValueError: One of `SPECIAL` is not among the tokens.
    """

    def __init__(self, vocabulary: Mapping[str, int], *, lowercase: bool = True) -> None:
        self._told = False
        lacking = [token for token in SPECIAL if token not in vocabulary]
        if lacking:
            raise ValueError(f"there is no token {lacking[0]}")
        self.vocabulary = vocabulary
        self.lowercase = lowercase
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            vocabulary[token] for token in SPECIAL
        )
        self.size = max(vocabulary.values()) + 1

    @classmethod
    @lru_cache(maxsize=1)
    def published(cls) -> WordPieceTokenizer:
        """Return the tokenizer of bert-base-uncased."""
        return cls(_listed(gzip.decompress(VOCABULARY.read_bytes()).decode()))

    @classmethod
    def from_folder(cls, folder: Path) -> WordPieceTokenizer | None:
        """Read tokenizer.json, or vocab.txt; None when neither is there.

        Raises:
            CheckpointError: The file is damaged or of another kind of tokenizer.
        """
        whole, listed = folder / "tokenizer.json", folder / "vocab.txt"
        path = whole if whole.is_file() else listed
        if not path.is_file():
            return None
        try:
            if path == whole:
                return cls._from_json(json.loads(path.read_bytes()))
            told = folder / "tokenizer_config.json"
            how = json.loads(told.read_bytes()) if told.is_file() else {}
            lowercase = bool(how.get("do_lower_case", True))
            return cls(_listed(path.read_text(encoding="utf-8")), lowercase=lowercase)
        except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
            raise CheckpointError(f"{path} is not a tokenizer this model knows: {error}") from None

    @classmethod
    def _from_json(cls, data: Mapping[str, Any]) -> WordPieceTokenizer:
        model, normalizer = data["model"], data["normalizer"]
        if model.get("type", "WordPiece") != "WordPiece":
            raise ValueError("it is not a word-piece tokenizer")
        if normalizer.get("type") != "BertNormalizer":
            raise ValueError("it does not normalise texts as BERT does")
        ids = dict(model["vocab"])
        ids |= {token["content"]: token["id"] for token in data.get("added_tokens", [])}
        if not all(isinstance(i, int) and i >= 0 for i in ids.values()):
            raise ValueError("an id is not a number")
        return cls(ids, lowercase=bool(normalizer.get("lowercase", True)))

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text; without start, end and padding.

        The first text that has words the vocabulary lacks is told of in the log.
        """
        found = [row.ids for row in self._backend.encode_batch([encodable(t) for t in texts])]
        if not self._told:
            for text, row in zip(texts, found, strict=True):
                if missing := row.count(self.unk_id):
                    what = f"{missing} of {len(row)} tokens of {text[:40]!r}"
                    _log.warning("%s are not in this model's vocabulary", what)
                    self._told = True
                    break
        return found

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Return texts, without special tokens and with punctuation beside its word."""
        return [self._backend.decode([i for i in row if i not in self._silent]) for row in rows]

    @cached_property
    def digest(self) -> str:
        """Short hex digest of tokens and ids; equal whatever file they were read from."""
        told = [sorted(self.vocabulary.items()), self.lowercase]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Write tokenizer.json, in the form that transformers reads too."""
        pipeline = self._pipeline()
        pipeline.add_special_tokens(list(SPECIAL))
        pipeline.post_processor = processors.BertProcessing(
            ("[SEP]", self.sep_id), ("[CLS]", self.cls_id)
        )
        pipeline.save(str(folder / "tokenizer.json"), pretty=False)

    @cached_property
    def _backend(self) -> Tokenizer:
        return self._pipeline()

    @cached_property
    def _silent(self) -> frozenset[int]:
        """Ids that are no text: the special tokens, and those that models add to them."""
        ids = {self.vocabulary[token] for token in SPECIAL}
        return frozenset(ids | {self.vocabulary.get(token, self.size) for token in ADDED})

    def _pipeline(self) -> Tokenizer:
        model = WordPiece(dict(self.vocabulary), unk_token="[UNK]", max_input_chars_per_word=100)
        pipeline = Tokenizer(model)
        pipeline.normalizer = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=self.lowercase
        )
        pipeline.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        pipeline.decoder = decoders.WordPiece(prefix="##", cleanup=True)
        return pipeline


def _listed(text: str) -> dict[str, int]:
    """The tokens of a list, one a line, numbered from 0."""
    return {token: i for i, token in enumerate(text.removesuffix("\n").split("\n"))}
