"""SentencePiece models (spiece.model) read without the sentencepiece package.

Such a file is one protocol buffer message. Of it we need the pieces with their scores, and how text
is normalised before it is cut; the cutting itself is the `tokenizers` package's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import Unigram

from seesay.errors import CheckpointError

UNIGRAM = 1
UNKNOWN, CONTROL = 2, 3
"""Numbers of sentencepiece_model.proto: a kind of model, two kinds of pieces."""

Field = int | bytes


def read_sentencepiece(path: Path) -> Tokenizer:
    """Return the tokenizer in a SentencePiece model of the unigram kind.

    Paper: arXiv 1808.06226; arXiv 1804.10959 for unigram models.
    Reference: google/sentencepiece, src/sentencepiece_model.proto; transformers,
        convert_slow_tokenizer.py, SpmConverter.
    Differs: the `tokenizers` package normalises a character and its combining marks as one, and
        loses the marks of some compatibility characters.

    Raises:
        CheckpointError: The file is damaged, or its model is of another kind.
    """
    try:
        data = path.read_bytes()
        pieces = [_piece(dict(_fields(value))) for number, value in _fields(data) if number == 1]
        parts = {number: value for number, value in _fields(data) if number != 1}
        trained, normal = dict(_fields(_bytes(parts[2]))), dict(_fields(_bytes(parts[3])))
        kinds = [kind for _, _, kind in pieces]
        model = Unigram(
            [(piece, score) for piece, score, _ in pieces],
            unk_id=kinds.index(UNKNOWN),
            byte_fallback=bool(trained.get(35, 0)),
        )
        charsmap = _bytes(normal.get(2, b""))
        known = normalizers.Precompiled(charsmap) if charsmap else None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from None
    except Exception as error:  # whatever a damaged file makes of its numbers
        raise CheckpointError(
            f"{path} is damaged or not a SentencePiece model ({error})", "fetch it again"
        ) from None
    if trained.get(3, UNIGRAM) != UNIGRAM:
        raise CheckpointError(
            f"{path} is not a unigram model", "put the tokenizer.json made from it in its place"
        )
    pipeline = Tokenizer(model)
    steps: list[normalizers.Normalizer] = [] if known is None else [known]
    if normal.get(4, 1):  # remove_extra_whitespaces
        # spaces alone; `Strip` would take other blanks too
        steps += [
            normalizers.Replace(Regex(r"\A +| +\z"), ""),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    pipeline.normalizer = normalizers.Sequence(steps)
    prefix = "always" if normal.get(3, 1) else "never"  # add_dummy_prefix
    pipeline.pre_tokenizer = pre_tokenizers.Metaspace("▁", prefix, split=False)
    pipeline.decoder = decoders.Metaspace("▁", prefix)
    pipeline.add_special_tokens(
        [
            AddedToken(piece, normalized=False, special=True)
            for piece, _, kind in pieces
            if kind in (UNKNOWN, CONTROL)
        ]
    )
    return pipeline


def _piece(fields: dict[int, Field]) -> tuple[str, float, int]:
    """The text of a piece, its score and its kind."""
    (score,) = struct.unpack("<f", _bytes(fields.get(2, b"\0\0\0\0")))
    kind = fields.get(3, 1)
    assert isinstance(kind, int)
    return _bytes(fields[1]).decode(), score, kind


def _bytes(value: Field) -> bytes:
    assert isinstance(value, bytes), "a number where bytes should be"
    return value


def _fields(message: Field) -> Iterator[tuple[int, Field]]:
    """Yield number and value of the fields of a message: a number, or the bytes of it."""
    data, at = _bytes(message), 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            length, at = _varint(data, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + length > len(data):
            raise ValueError("it ends too early")
        yield number, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at a byte, and where the next thing begins."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
