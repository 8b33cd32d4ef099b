"""Florence-2's pictures and strings to tensors, and ids back to text and regions."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seesay.checkpoints.files import Source
from seesay.config import from_dict
from seesay.errors import CheckpointError, InputError
from seesay.families.florence2.configs import VOCAB_SIZE, Florence2Config
from seesay.families.florence2.prompts import expand, expand_as_published
from seesay.processing.bytelevel import ByteLevelTokenizer
from seesay.processing.image import ImageSpec, pixels
from seesay.processing.tokens import padded
from seesay.types import Picture, Prompt, TextBatch

if TYPE_CHECKING:
    from seesay.generation.rules import Rule
    from seesay.regions import Region, Regions

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
PUBLISHED_SIZE = 50265
IMAGE_TOKEN = "<image>"
"""Stands for a picture in the prompts of transformers; ours have none."""
EMPTY = 2
"""Tokens of a prompt that says nothing: `<s>` and `</s>`."""

ADDED = (
    *("<od>", "</od>", "<ocr>", "</ocr>"),
    *(f"<loc_{i}>" for i in range(1000)),
    *("<cap>", "</cap>", "<ncap>", "</ncap>", "<dcap>", "</dcap>"),
    *("<grounding>", "</grounding>", "<seg>", "</seg>", "<sep>"),
    *("<region_cap>", "</region_cap>", "<region_to_desciption>", "</region_to_desciption>"),
    *("<proposal>", "</proposal>", "<poly>", "</poly>", "<and>"),
)
"""Tokens after BART's 50265, in the published order and spelling; few files hold them."""

_log = logging.getLogger("seesay")


class Florence2Processor:
    """Turns pictures and prompts into what the network reads, and what it writes into regions.

    Args:
        image: How pictures become pixels.
        tokenizer: Strings to ids, or None.
        positions: The most tokens there are positions for, image tokens included.
        image_tokens: How many of them a picture of this size takes.
        compat: "hub" reproduces the code that was published with the weights (padding of prompts
            is seen; task tokens are found anywhere, and a space behind them is read), "hf"
            transformers (task tokens are found anywhere).
        why_none: What to tell who needs a tokenizer when there is none.
    """

    def __init__(
        self,
        image: ImageSpec,
        tokenizer: ByteLevelTokenizer | None,
        *,
        positions: int,
        image_tokens: int,
        compat: str | None = None,
        why_none: str = "the checkpoint came without a tokenizer",
    ) -> None:
        self.image = image
        self.tokenizer = tokenizer
        self.positions = positions
        self.image_tokens = image_tokens
        self.compat = compat
        self._why_none = why_none
        self.end_ids: tuple[int, ...] = () if tokenizer is None else (tokenizer.end_id,)

    def images(self, pictures: Sequence[Picture]) -> Tensor:
        """Return normalised pixels [B, 3, h, w]."""
        return pixels(pictures, self.image)

    def texts(self, texts: Sequence[str]) -> TextBatch:
        """Return ids and mask [B, L] of `<s>` text `</s>`, nothing in it expanded.

        Raises:
            InputError: There is no tokenizer.
        """
        return padded([self._whole(row) for row in self._tokens.ids(texts)], self._tokens.pad_id)

    def expand(self, raw: str) -> str:
        """Return the sentence that a raw prompt such as "<OD>" stands for.

        Raises:
            UsageError: A task token that stands alone has an input, or one that needs an input has
                none.
        """
        if self.compat is None:
            return expand(raw)
        return expand_as_published(raw, strip=self.compat == "hf")

    def prompt_ids(self, task: str, text: str = "") -> list[int]:
        """Return the ids of a prompt: a task token and what stands behind it.

        Raises:
            InputError: There is no tokenizer, or the prompt does not fit beside an image.
            UsageError: See `expand`.
        """
        row = self._whole(self._tokens.ids([self.expand(task + text)])[0])
        self._check(row, task + text)
        return row

    def prompts(self, task: str, texts: Sequence[str]) -> Prompt:
        """Return what is read and how what is written begins, without pixels.

        Args:
            task: What it is for; raw prompts say all themselves.
            texts: Raw prompts, one for each image: "<CAPTION>", "<DocVQA>who wrote this?".

        Raises:
            InputError: There is no tokenizer, or a prompt does not fit beside an image.
            UsageError: See `expand`.
        """
        asked = padded([self.prompt_ids(raw) for raw in texts], self._tokens.pad_id)
        start = torch.full((len(texts), 1), self._tokens.end_id)
        mask = torch.ones_like(asked.mask) if self.compat == "hub" else asked.mask
        return Prompt(None, start, torch.ones_like(start, dtype=torch.bool), asked.ids, mask)

    def written(
        self,
        texts: Sequence[str],
        prefix: str = "",
        max_length: int | None = None,
        *,
        task: str = "prompt",
    ) -> tuple[TextBatch, Tensor]:
        """Return `</s>` `<s>` prefix text `</s>`, to be learnt or scored, and where it begins.

        Args:
            texts: What is written, places as tokens.
            prefix: What they begin with, which is neither scored nor learnt; without one `<s>` is.
            max_length: The most tokens of each, both starts, prefix and end included.
            task: What it is for, which changes nothing.

        Returns:
            Ids and mask [B, L], and the position of the first token of each text, int64 [B].
        """
        tokens, limit = self._tokens, min(max_length or self.positions, self.positions)
        begun = [tokens.end_id, tokens.start_id, *(tokens.ids([prefix])[0] if prefix else [])]
        rows = [[*[*begun, *row][: limit - 1], tokens.end_id] for row in tokens.ids(texts)]
        starts = torch.full((len(rows),), min(len(begun), limit - 1) if prefix else 1)
        return padded(rows, self._tokens.pad_id), starts

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Return the texts of rows of ids: places stay, starts, ends and padding go."""
        return self._tokens.decode(rows)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return what each id of a row adds to its text."""
        return self._tokens.pieces(ids)

    def parse(
        self,
        task: str,
        text: str,
        size: tuple[int, int],
        logprobs: Sequence[tuple[str, float]] | None = None,
    ) -> Regions:
        """Return what a written text says, and where; see `parsing.parse`."""
        from seesay.families.florence2 import parsing

        return parsing.parse(task, text, size, logprobs)

    def spell(self, task: str, regions: Sequence[Region], size: tuple[int, int]) -> str:
        """Return the text that says these regions; see `parsing.spell`."""
        from seesay.families.florence2 import parsing

        return parsing.spell(task, regions, size)

    def rule(self, task: str) -> Rule | None:
        """Return what keeps an answer well-formed; see `grammar.rule`."""
        from seesay.families.florence2 import grammar

        return grammar.rule(self._tokens, task)

    def settings(self) -> dict[str, Any]:
        """Return what decides pixels and ids."""
        return {
            "image": dataclasses.asdict(self.image),
            "compat": self.compat,
            "vocabulary": self.tokenizer.digest if self.tokenizer else None,
        }

    def save(self, folder: Path) -> None:
        """Write the tokenizer into a folder."""
        if self.tokenizer is not None:
            self.tokenizer.save(folder)

    @property
    def _tokens(self) -> ByteLevelTokenizer:
        if self.tokenizer is None:
            hint = "put its tokenizer.json, or vocab.json and merges.txt, beside the weights"
            raise InputError(self._why_none, hint)
        return self.tokenizer

    def _whole(self, row: Sequence[int]) -> list[int]:
        return [self._tokens.start_id, *row, self._tokens.end_id]

    def _check(self, row: Sequence[int], raw: str) -> None:
        room = self.positions - self.image_tokens
        if len(row) > room:
            raise InputError(
                f"the prompt {raw[:40]!r}... has {len(row)} tokens, and {room} fit beside the "
                f"{self.image_tokens} of the image",
                f"the model has {self.positions} positions for both",
            )


def make_processor(
    config: Florence2Config, settings: Mapping[str, Any], folder: Path | None = None
) -> Florence2Processor:
    """Return the processor of a checkpoint; a folder without a tokenizer gets the published one.

    Raises:
        CheckpointError: The settings or the tokenizer's files are damaged, or pixels of this size
            are more than it has positions for.
    """
    image, rows = from_dict(ImageSpec, settings["image"]), config.text.vocab_size
    tokenizer = ByteLevelTokenizer.from_folder(folder) if folder else None
    if tokenizer is None and rows >= VOCAB_SIZE:
        tokenizer = published_tokenizer()
    if tokenizer is not None and tokenizer.size == PUBLISHED_SIZE:
        tokenizer = tokenizer.with_tokens(ADDED)
    told: dict[str, Any] = {"compat": settings.get("compat")}
    if tokenizer is not None:
        whole, tokenizer = tokenizer, tokenizer.below(rows)
        left_out = {*whole.whole} - {*tokenizer.vocabulary} - {IMAGE_TOKEN, *ADDED}
        if tokenizer.size > rows:
            told["why_none"] = (
                f"the tokenizer's ids reach {tokenizer.size - 1}, the model's {rows - 1}"
            )
            tokenizer = None
        elif left_out:
            names = [name for name in whole.whole if name in left_out]
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            _log.warning(
                "the model's table of tokens ends at %d rows, so %s%s of its tokenizer are left "
                "out: they are read as plain text until the embeddings are resized to it",
                rows,
                ", ".join(names[:3]),
                more,
            )
    return Florence2Processor(
        image,
        tokenizer,
        positions=config.text.max_length,
        image_tokens=_image_tokens(config, image.size),
        **told,
    )


def _image_tokens(config: Florence2Config, size: tuple[int, int]) -> int:
    """Return how many tokens a picture of this height and width takes; refuse what does not fit."""
    rows, columns = config.image.grid(*size)
    tokens, most, positions = 1 + rows * columns, config.max_grid, config.text.max_length
    told = f"{size[1]} x {size[0]} pixels are {columns} x {rows} image tokens"
    if max(rows, columns) > most:
        raise CheckpointError(f"{told}, but {most} at most on a side", "ask for a smaller picture")
    if tokens + EMPTY > positions:
        raise CheckpointError(
            f"{told} and their mean, and no prompt fits beside them into {positions} positions",
            "ask for a smaller picture",
        )
    return tokens


@lru_cache(maxsize=1)
def published_tokenizer() -> ByteLevelTokenizer:
    """Return BART's tokenizer with the tokens of Florence-2."""
    return ByteLevelTokenizer.published().with_tokens(ADDED)


def published_settings(size: int | tuple[int, int] = 768, **spec: Any) -> dict[str, Any]:
    """Return the settings of the released checkpoints at an image size.

    Args:
        size: Side, or height and width, of the pixels.
        spec: Fields of `ImageSpec` that depart from the usual.
    """
    told = {
        "size": (size, size) if isinstance(size, int) else tuple(size),
        "mean": MEAN,
        "std": STD,
        "resize": "squash",
    } | spec
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in told.items()}
    return {"image": dataclasses.asdict(ImageSpec(**fields)), "compat": None}


def unsaid_settings(source: Source, config: Florence2Config, file: str) -> dict[str, Any]:
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
