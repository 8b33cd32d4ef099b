"""Pictures and strings of seesay/mini to tensors, and ids back to text."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from seesay.config import from_dict
from seesay.errors import CheckpointError, InputError, UsageError
from seesay.families.mini.configs import MiniConfig
from seesay.processing.image import ImageSpec, pixels
from seesay.types import Picture, Prompt, TextBatch

TOKENIZER = "tokenizer.json"
WORDS = "writer.json"
SHIPPED = Path(__file__).with_name("weights")
UNKNOWN = 0

PAD, UNKNOWN_TOKEN, START, ASK, END = "<pad>", "<unk>", "<start>", "<ask>", "<end>"
"""The writer's special tokens; their ids are 0 to 4. START begins what is written and END ends it,
ASK begins a question."""
_START, _ASK, _END = 2, 3, 4


class MiniProcessor:
    """Turns pictures and strings into what the towers read.

    Args:
        image: How pictures become pixels.
        tokenizer: Strings to the text tower's ids.
        max_length: Where texts are cut off.
        words: Strings to the writer's ids and back; None for a model without a writer.
        longest: Where texts that are read or written are cut off.
    """

    end_ids: tuple[int, ...] = (_END,)

    def __init__(
        self,
        image: ImageSpec,
        tokenizer: Tokenizer,
        max_length: int,
        words: Tokenizer | None = None,
        longest: int = 64,
    ) -> None:
        self.image = image
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.words = words
        self.longest = longest

    def images(self, pictures: Sequence[Picture]) -> Tensor:
        """Return normalised pixels [B, 3, h, w]."""
        return pixels(pictures, self.image)

    def texts(self, texts: Sequence[str]) -> TextBatch:
        """Return ids and mask [B, L]; an empty text is one unknown token."""
        encoded = self.tokenizer.encode_batch(list(texts))
        return padded([e.ids[: self.max_length] or [UNKNOWN] for e in encoded])

    def prompts(self, task: str, texts: Sequence[str]) -> Prompt:
        """Return what is read and how what is written begins, without pixels.

        Args:
            task: "caption": texts are beginnings of captions, perhaps empty. "answer": they are
                questions.
            texts: One for each image.

        Raises:
            UsageError: There is no such task.
        """
        words = self._known_words
        if task == "caption":
            begun = prefix_ids(words, texts)
            return Prompt(None, *padded([row[: self.longest // 2] for row in begun]))
        if task != "answer":
            raise UsageError(f"seesay/mini is not asked to {task!r}", "known: caption, answer")
        asked = padded([row[: self.longest // 2] for row in question_ids(words, texts)])
        return Prompt(None, *padded([[_START]] * len(texts)), *asked)

    def written(
        self,
        texts: Sequence[str],
        prefix: str = "",
        max_length: int | None = None,
        *,
        task: str = "caption",
    ) -> tuple[TextBatch, Tensor]:
        """Return start, prefix, text and end as ids and mask [B, L], and where each text begins.

        Captions and answers are written alike; `task` is what other families ask for.
        """
        limit = min(max_length or self.longest, self.longest)
        [begun] = prefix_ids(self._known_words, [prefix])
        ended = text_ids(self._known_words, texts)
        rows = [[*[*begun, *row[:-1]][: limit - 1], _END] for row in ended]
        return padded(rows), torch.full((len(rows),), min(len(begun), limit - 1))

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Return the texts of rows of written ids."""
        found: list[str] = self._known_words.decode_batch([list(row) for row in rows])
        return [text.strip() for text in found]

    @property
    def _known_words(self) -> Tokenizer:
        if self.words is None:
            raise InputError(
                "this seesay/mini has no words to write with",
                "it was saved before the model learnt to write; train again from seesay/mini",
            )
        return self.words

    def settings(self) -> dict[str, Any]:
        """Return what decides pixels and ids."""
        return {"image": dataclasses.asdict(self.image)}

    def save(self, folder: Path) -> None:
        """Write the tokenizers into a folder."""
        self.tokenizer.save(str(folder / TOKENIZER), pretty=False)
        if self.words is not None:
            self.words.save(str(folder / WORDS), pretty=False)


def question_ids(words: Tokenizer, questions: Sequence[str]) -> list[list[int]]:
    """Return the ids of questions, which are read without their question marks."""
    asked = [question.strip().rstrip("?？!！.。 ") for question in questions]
    return [[_ASK, *encoding.ids] for encoding in words.encode_batch(asked)]


def prefix_ids(words: Tokenizer, prefixes: Sequence[str]) -> list[list[int]]:
    """Return the ids of how texts begin, perhaps with nothing."""
    return [[_START, *encoding.ids] for encoding in words.encode_batch(list(prefixes))]


def text_ids(words: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of what is written after its beginning."""
    return [[*encoding.ids, _END] for encoding in words.encode_batch(list(texts))]


def padded(rows: Sequence[Sequence[int]]) -> TextBatch:
    """Return rows of ids, each with one at least, as ids and mask [B, L], padded on the right."""
    longest = max((len(row) for row in rows), default=1)
    ids = torch.zeros(len(rows), longest, dtype=torch.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    lengths = torch.tensor([len(row) for row in rows])
    return TextBatch(ids, torch.arange(longest) < lengths[:, None])


def make_processor(
    config: MiniConfig, settings: Mapping[str, Any], folder: Path | None = None
) -> MiniProcessor:
    """Return the processor of a checkpoint; a folder without a tokenizer gets the shipped one.

    Raises:
        CheckpointError: The settings or the tokenizer's file are damaged.
    """
    image = from_dict(ImageSpec, settings["image"])
    tokenizer = _tokenizer(folder, TOKENIZER, config.text.vocab_size)
    if config.writer is None:
        return MiniProcessor(image, tokenizer, config.text.max_length)
    words = _tokenizer(folder, WORDS, config.writer.vocab_size)
    longest = config.writer.max_length
    return MiniProcessor(image, tokenizer, config.text.max_length, words, longest)


def _tokenizer(folder: Path | None, name: str, most: int) -> Tokenizer:
    """Read a tokenizer of at most so many tokens from a folder, or the shipped one."""
    path = folder / name if folder else SHIPPED / name
    path = path if path.is_file() else SHIPPED / name
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust reader raises bare Exceptions
        raise CheckpointError(f"{path}: not a tokenizer ({error})") from None
    if tokenizer.get_vocab_size() > most:
        raise CheckpointError(f"{path}: {tokenizer.get_vocab_size()} tokens, the model has {most}")
    return tokenizer
