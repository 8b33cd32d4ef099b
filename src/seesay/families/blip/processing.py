"""BLIP's pictures and strings to tensors, and ids back to text."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seesay.checkpoints.files import Source
from seesay.config import from_dict
from seesay.errors import InputError, UsageError
from seesay.families.blip.configs import BlipConfig, Kind
from seesay.processing.image import ImageSpec, pixels
from seesay.processing.tokens import padded
from seesay.processing.wordpiece import ADDED, WordPieceTokenizer
from seesay.types import Picture, Prompt, TextBatch

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
START_ID = 30522
"""[DEC], the first id after bert-base-uncased's; [ENC] is the next."""

READ = {"nlvr": (512, 40), "classification": (40, 50)}
"""Kind -> the most tokens and words of a text that is read; (35, 30) where it is not listed."""
QUESTION = (35, 50)
WRITTEN = 40

_log = logging.getLogger("seesay")


class BlipProcessor:
    """Turns pictures and strings into what the networks read, and what they write into text.

    A text begins with one of three tokens: [CLS] when it is read on its own, [ENC] when it is read
    looking at an image, [DEC] when it is written.

    Args:
        image: How pictures become pixels.
        tokenizer: Strings to ids, or None.
        kind: What the checkpoint was trained for, which decides how long its texts are.
        positions: The most tokens there are positions for.
        start_id: The id of [DEC].
        compat: "hf" reproduces transformers (no [ENC], texts as they are, writers see padding),
            "lavis" its authors' library (writers see padding).
        why_none: What to tell who needs a tokenizer when there is none.
    """

    def __init__(
        self,
        image: ImageSpec,
        tokenizer: WordPieceTokenizer | None,
        *,
        kind: Kind,
        positions: int,
        start_id: int = START_ID,
        compat: str | None = None,
        why_none: str = "the checkpoint came without a tokenizer",
    ) -> None:
        self.image = image
        self.tokenizer = tokenizer
        self.kind = kind
        self.positions = positions
        self.compat = compat
        self._why_none = why_none
        self.dec_id = start_id
        known = {} if tokenizer is None else tokenizer.vocabulary
        self.enc_id = known.get(ADDED[1], start_id + 1)
        self.end_ids: tuple[int, ...] = () if tokenizer is None else (tokenizer.sep_id,)

    def images(self, pictures: Sequence[Picture]) -> Tensor:
        """Return normalised pixels [B, 3, h, w]."""
        return pixels(pictures, self.image)

    def texts(self, texts: Sequence[str], max_length: int | None = None) -> TextBatch:
        """Return ids and mask [B, L] of texts that are read on their own: [CLS] text [SEP].

        Raises:
            InputError: There is no tokenizer.
        """
        return self._read(texts, self._tokens.cls_id, max_length)

    def pairs(self, texts: Sequence[str], max_length: int | None = None) -> TextBatch:
        """Return ids and mask [B, L] of texts that are read looking at an image: [ENC] text [SEP].

        Raises:
            InputError: There is no tokenizer.
        """
        return self._read(texts, self._looking_id, max_length)

    def prompts(self, task: str, texts: Sequence[str]) -> Prompt:
        """Return what is read and how what is written begins, without pixels.

        Args:
            task: "caption": texts are beginnings of captions, perhaps empty. "answer": they are
                questions.
            texts: One for each image.

        Raises:
            InputError: There is no tokenizer.
            UsageError: There is no such task.
        """
        if task == "caption":
            begun = [[self.dec_id, *row] for row in self._tokens.ids(texts)]
            prefix, mask = padded(begun, self._tokens.pad_id)
            return Prompt(None, prefix, mask)
        if task != "answer":
            raise UsageError(f"BLIP is not asked to {task!r}", "known: caption, answer")
        length, words = QUESTION
        if self.compat != "hf":
            texts = [clean_question(text, words) for text in texts]
        asked = self._ended(self._looking_id, texts, self._limit(length))
        start = torch.full((len(asked.ids), 1), self.dec_id)
        # the references let the writer see the padding of the questions
        seen = None if self.compat is None else torch.ones_like(asked.mask)
        return Prompt(None, start, torch.ones_like(start, dtype=torch.bool), *asked, seen=seen)

    def written(
        self,
        texts: Sequence[str],
        prefix: str = "",
        max_length: int | None = None,
        *,
        task: str = "caption",
    ) -> tuple[TextBatch, Tensor]:
        """Return [DEC] prefix text [SEP], to be learnt or scored, and where each text begins.

        Args:
            texts: Captions, which are cleaned as in training, or answers, which are left alone.
            prefix: What they begin with, which is neither scored nor learnt.
            max_length: The most tokens of each, start, prefix and end included.
            task: "caption" or "answer".

        Returns:
            Ids and mask [B, L], and the position of the first token of each text, int64 [B].
        """
        if task == "caption" and self.compat != "hf":
            texts = [clean_caption(text) for text in texts]
        tokens, limit = self._tokens, min(max_length or WRITTEN, self.positions)
        begun = [self.dec_id, *tokens.ids([prefix])[0]]
        rows = [[*[*begun, *row][: limit - 1], tokens.sep_id] for row in tokens.ids(texts)]
        starts = torch.full((len(rows),), min(len(begun), limit - 1))
        return padded(rows, self._tokens.pad_id), starts

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Return the texts of rows of ids, without special tokens."""
        return self._tokens.decode(rows)

    def settings(self) -> dict[str, Any]:
        """Return what decides pixels and ids."""
        return {
            "image": dataclasses.asdict(self.image),
            "start_id": self.dec_id,
            "compat": self.compat,
            "vocabulary": self.tokenizer.digest if self.tokenizer else None,
        }

    def save(self, folder: Path) -> None:
        """Write the tokenizer into a folder."""
        if self.tokenizer is not None:
            self.tokenizer.save(folder)

    @property
    def _tokens(self) -> WordPieceTokenizer:
        if self.tokenizer is None:
            hint = "put its tokenizer.json, or vocab.txt, beside the weights"
            raise InputError(self._why_none, hint)
        return self.tokenizer

    @property
    def _looking_id(self) -> int:
        """The id that a text begins with which is read looking at an image."""
        return self._tokens.cls_id if self.compat == "hf" else self.enc_id

    def _limit(self, length: int) -> int:
        """The most tokens of a text; transformers cuts none that there are positions for."""
        return self.positions if self.compat == "hf" else min(length, self.positions)

    def _read(self, texts: Sequence[str], start: int, max_length: int | None) -> TextBatch:
        length, words = READ.get(self.kind, (35, 30))
        if self.compat != "hf":
            texts = [clean_caption(text, words) for text in texts]
        return self._ended(start, texts, self._limit(max_length or length))

    def _ended(self, start: int, texts: Sequence[str], limit: int) -> TextBatch:
        tokens = self._tokens
        rows = [[start, *row[: limit - 2], tokens.sep_id] for row in tokens.ids(texts)]
        return padded(rows, self._tokens.pad_id)


_MARKS = re.compile(r"[.!\"()*#:;~]")
"""Punctuation that the texts were trained without. Commas, hyphens and question marks stay."""


def clean_caption(text: str, max_words: int = 30) -> str:
    """Return a description as in training: lower case, less punctuation, so many words at most."""
    text = re.sub(r"\s{2,}", " ", _MARKS.sub(" ", text.lower()))
    return " ".join(text.rstrip("\n").strip(" ").split(" ")[:max_words])


def clean_question(text: str, max_words: int = 50) -> str:
    """Return a question as in training: lower case, less punctuation, so many words at most."""
    return " ".join(_MARKS.sub("", text.lower()).rstrip(" ").split(" ")[:max_words])


def make_processor(
    config: BlipConfig, settings: Mapping[str, Any], folder: Path | None = None
) -> BlipProcessor:
    """Return the processor of a checkpoint; a folder without a tokenizer gets BERT's.

    Raises:
        CheckpointError: The settings or the tokenizer's files are damaged.
    """
    compat, start_id = settings.get("compat"), settings.get("start_id", START_ID)
    if not isinstance(start_id, int) or not 0 <= start_id < config.text.vocab_size:
        raise ValueError(f"start_id {start_id!r} is none of {config.text.vocab_size} ids")
    tokenizer = WordPieceTokenizer.from_folder(folder) if folder else None
    if tokenizer is None and start_id == START_ID:
        tokenizer = WordPieceTokenizer.published()
    told: dict[str, Any] = {"start_id": start_id, "compat": compat}
    if tokenizer is not None and tokenizer.size > config.text.vocab_size:
        told["why_none"] = (
            f"the tokenizer's ids reach {tokenizer.size - 1}, the model's "
            f"{config.text.vocab_size - 1}"
        )
        tokenizer = None
    return BlipProcessor(
        from_dict(ImageSpec, settings["image"]),
        tokenizer,
        kind=config.kind,
        positions=config.text.max_length,
        **told,
    )


def published_settings(
    size: int | tuple[int, int] = 384, start_id: int = START_ID, **spec: Any
) -> dict[str, Any]:
    """Return the settings of the released checkpoints at an image size.

    Args:
        size: Side, or height and width, of the pixels.
        start_id: The id of [DEC].
        spec: Fields of `ImageSpec` that depart from the usual.
    """
    told = {
        "size": (size, size) if isinstance(size, int) else tuple(size),
        "mean": MEAN,
        "std": STD,
        "resize": "squash",
    } | spec
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in told.items()}
    image = dataclasses.asdict(ImageSpec(**fields))
    return {"image": image, "start_id": start_id, "compat": None}


def unsaid_settings(source: Source, config: BlipConfig, file: str) -> dict[str, Any]:
    """Return the settings of a checkpoint that lacks the file with its own.

    Those of the released size, where that was asked for by name; else those that released
    checkpoints have, with a warning.
    """
    if source.usual is not None:
        return dict(source.usual)
    _log.warning(
        "%s has no %s: its pixels are made as the released models want them", source.folder, file
    )
    return published_settings(config.image.image_size)
