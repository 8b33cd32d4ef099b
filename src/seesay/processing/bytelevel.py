"""Strings to token ids and back: byte pairs in which a space belongs to the word after it."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import count
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE

from seesay.errors import CheckpointError
from seesay.processing.tokens import encodable

VOCABULARY = Path(__file__).with_name("roberta_bpe.txt.gz")
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_BARE = (*range(33, 127), *range(161, 173), *range(174, 256))
"""Bytes that stand for themselves in a vocabulary; the others are written as 256, 257 ..."""
_OTHERS = sorted(set(range(256)) - set(_BARE))
BYTES = {chr(byte): byte for byte in _BARE} | {chr(256 + i): b for i, b in enumerate(_OTHERS)}
"""The letters that stand for bytes in a vocabulary, to the bytes."""


class ByteLevelTokenizer:
    """Texts cut at words, and words into the byte pairs that are known; a space begins its word.

    Paper: arXiv 1508.07909, on bytes: "Language Models are Unsupervised Multitask Learners",
        section 2.2.
    Reference: openai/gpt-2, src/encoder.py; transformers, models/roberta/tokenization_roberta.py.
    Differs: what looks like `<s>`, `</s>` or another of `SPECIAL` in a text is text. Which
        characters are letters is decided by the Unicode version of the `tokenizers` package.

    Args:
        vocabulary: Token to id; bytes as printable characters.
        merges: Pairs of tokens, the most frequent first.
        whole: Tokens of the vocabulary that are found in texts before these are cut, such as
            `<loc_7>`.

    Raises:
        ValueError: A token that is needed is not in the vocabulary.
    """

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        merges: Sequence[tuple[str, str]],
        whole: Iterable[str] = (),
    ) -> None:
        self.vocabulary = vocabulary
        self.merges = merges
        self.whole = tuple(token for token in whole if token not in SPECIAL)
        for token in (*SPECIAL[:4], *self.whole):
            if token not in vocabulary:
                raise ValueError(f"there is no token {token}")
        self.start_id, self.pad_id, self.end_id, self.unk_id = (
            vocabulary[token] for token in SPECIAL[:4]
        )
        self.size = max(vocabulary.values()) + 1

    @classmethod
    @lru_cache(maxsize=1)
    def published(cls) -> ByteLevelTokenizer:
        """Return the tokenizer of RoBERTa and BART, 50265 tokens."""
        listed = gzip.decompress(VOCABULARY.read_bytes()).decode()
        ids: dict[str, int] = {}
        merges = []
        for line in listed.removesuffix("\n").split("\n"):
            *parts, number = line.split(" ")
            ids["".join(parts)] = int(number)
            if len(parts) == 2:
                merges.append((parts[0], parts[1]))
        return cls(ids, merges)

    @classmethod
    def from_folder(cls, folder: Path) -> ByteLevelTokenizer | None:
        """Read tokenizer.json, or vocab.json with merges.txt; None when neither is there.

        Raises:
            CheckpointError: The file is damaged or of another kind of tokenizer.
        """
        whole, parts = folder / "tokenizer.json", (folder / "vocab.json", folder / "merges.txt")
        path = whole if whole.is_file() else parts[0]
        try:
            if whole.is_file():
                return cls._from_json(json.loads(whole.read_bytes()))
            if not all(part.is_file() for part in parts):
                return None
            more = folder / "added_tokens.json"
            added = json.loads(more.read_bytes()) if more.is_file() else {}
            ids = json.loads(parts[0].read_bytes()) | added
            lines = parts[1].read_text(encoding="utf-8").split("\n")
            pairs = [line for line in lines if line and not line.startswith("#version")]
            return cls(_numbered(ids), _paired(pairs, ids), added)
        except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
            raise CheckpointError(f"{path} is not a tokenizer this model knows: {error}") from None

    @classmethod
    def _from_json(cls, data: Mapping[str, Any]) -> ByteLevelTokenizer:
        model, cut = data["model"], data["pre_tokenizer"] or {}
        if model.get("type", "BPE") != "BPE" or cut.get("type") != "ByteLevel":
            raise ValueError("it does not merge pairs of bytes")
        if cut.get("add_prefix_space") or not cut.get("use_regex", True) or data.get("normalizer"):
            raise ValueError("it cuts words in another way")
        added = {token["content"]: token["id"] for token in data.get("added_tokens", [])}
        ids = _numbered(model["vocab"] | added)
        return cls(ids, _paired(model["merges"], ids), added)

    def with_tokens(self, tokens: Iterable[str], first: int | None = None) -> ByteLevelTokenizer:
        """Return this tokenizer with more tokens, found whole in texts.

        Args:
            tokens: Those it has already stay where they are.
            first: The id of the first new one; None for the first after its own.
        """
        new = [token for token in tokens if token not in self.vocabulary]
        ids = dict(zip(new, count(self.size if first is None else first), strict=False))
        return ByteLevelTokenizer({**self.vocabulary, **ids}, self.merges, (*self.whole, *new))

    def below(self, most: int) -> ByteLevelTokenizer:
        """Return this tokenizer without those of its whole tokens that are not below an id."""
        kept = [token for token in self.whole if self.vocabulary[token] < most]
        if len(kept) == len(self.whole):
            return self
        gone = {*self.whole} - {*kept}
        ids = {token: i for token, i in self.vocabulary.items() if token not in gone}
        return ByteLevelTokenizer(ids, self.merges, kept)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text; without start, end and padding."""
        return [row.ids for row in self._backend.encode_batch([encodable(t) for t in texts])]

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Return texts, without start, end and padding, wherever they stand."""
        return [b"".join(self._bytes.get(i, b"") for i in row).decode(*_LENIENT) for row in rows]

    def pieces(self, row: Sequence[int]) -> list[str]:
        """Return what each id adds to the text: joined, they are `decode([row])[0]`.

        A letter whose bytes are spread over several ids belongs to the last of them.
        """
        decoder = codecs.getincrementaldecoder(_LENIENT[0])(_LENIENT[1])
        found = [decoder.decode(self._bytes.get(i, b"")) for i in row]
        if found:
            found[-1] += decoder.decode(b"", final=True)
        return found

    @cached_property
    def digest(self) -> str:
        """Short hex digest of tokens, ids and merges; equal whatever files they were read from."""
        told = [sorted(self.vocabulary.items()), list(map(list, self.merges)), sorted(self.whole)]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Write tokenizer.json, in the form that transformers reads too."""
        pipeline = self._pipeline()
        known = [token for token in SPECIAL if token in self.vocabulary]
        pipeline.add_special_tokens([AddedToken(token, normalized=False) for token in known])
        pipeline.post_processor = processors.RobertaProcessing(
            ("</s>", self.end_id), ("<s>", self.start_id), add_prefix_space=False
        )
        pipeline.save(str(folder / "tokenizer.json"), pretty=False)

    @cached_property
    def _backend(self) -> Tokenizer:
        return self._pipeline()

    @cached_property
    def _bytes(self) -> dict[int, bytes]:
        """What each id writes; nothing for start, end and padding."""
        silent, plain = SPECIAL[:3], {*SPECIAL, *self.whole}
        return {
            i: token.encode()
            if token in plain or not BYTES.keys() >= set(token)
            else bytes(BYTES[letter] for letter in token)
            for token, i in self.vocabulary.items()
            if token not in silent
        }

    def _pipeline(self) -> Tokenizer:
        model = BPE(dict(self.vocabulary), list(self.merges), unk_token=SPECIAL[3])
        pipeline = Tokenizer(model)
        pipeline.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        pipeline.decoder = decoders.ByteLevel()
        pipeline.add_tokens([AddedToken(token, normalized=False) for token in self.whole])
        return pipeline


_LENIENT = ("utf-8", "replace")


def _numbered(ids: Mapping[str, Any]) -> dict[str, int]:
    if not all(isinstance(i, int) and i >= 0 for i in ids.values()):
        raise ValueError("an id is not a number")
    return dict(ids)


def _paired(merges: Sequence[Any], ids: Mapping[str, int]) -> list[tuple[str, str]]:
    pairs = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in merges]
    if not all(len(pair) == 2 and {*pair, "".join(pair)} <= ids.keys() for pair in pairs):
        raise ValueError("a merge is not of two tokens")
    return pairs
