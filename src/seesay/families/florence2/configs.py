"""Configurations of Florence-2."""

from __future__ import annotations

from dataclasses import dataclass

from seesay.networks.bart import BartConfig
from seesay.networks.davit import DavitConfig

VOCAB_SIZE = 51289
"""BART's 50265 tokens and 1024 more: locations and the tags of grammars."""


@dataclass(frozen=True, kw_only=True)
class Florence2Config:
    """One checkpoint of Florence-2.

    Attributes:
        image: The vision tower.
        text: The encoder that reads image and prompt, and the decoder that writes.
        max_grid: Most rows, and most columns, of image tokens that there are positions for.
        max_frames: Most frames of a video that there are positions for; images are the first.
        question: The task token that questions are put behind where they bring none.
        spelled: Whether tokens are letters. Then three in a row may come again, as they do in any
            text.
    """

    image: DavitConfig
    text: BartConfig
    max_grid: int = 50
    max_frames: int = 100
    question: str = "<VQA>"
    spelled: bool = False


def base(max_length: int = 1024) -> Florence2Config:
    """Return the sizes of microsoft/Florence-2-base and -base-ft: their config.json."""
    return Florence2Config(
        image=DavitConfig(), text=BartConfig(vocab_size=VOCAB_SIZE, max_length=max_length)
    )


def large(max_length: int = 1024) -> Florence2Config:
    """Return the sizes of microsoft/Florence-2-large and -large-ft: their config.json.

    Files of the former have 4096 positions since December 2024; their shapes say so.
    """
    return Florence2Config(
        image=DavitConfig(
            widths=(256, 512, 1024, 2048), num_heads=(8, 16, 32, 64), num_groups=(8, 16, 32, 64)
        ),
        text=BartConfig(
            vocab_size=VOCAB_SIZE,
            max_length=max_length,
            width=1024,
            encoder_depth=12,
            decoder_depth=12,
            num_heads=16,
            mlp_width=4096,
        ),
    )


def tiny() -> Florence2Config:
    """Return the size that contract tests run on; it reads with the published vocabulary."""
    return Florence2Config(
        image=DavitConfig(
            image_size=(64, 64),
            widths=(8, 12, 16, 24),
            depths=(1, 1, 2, 1),
            num_heads=(2, 3, 2, 4),
            num_groups=(1, 2, 4, 3),
            window_size=3,
        ),
        text=BartConfig(
            vocab_size=VOCAB_SIZE,
            width=16,
            encoder_depth=2,
            decoder_depth=2,
            num_heads=2,
            mlp_width=28,
        ),
    )


def page() -> Florence2Config:
    """Return the sizes of seesay/page, whose tokens are letters, places and few words.

    The tower begins with patches of 8 pixels, a letter's width: that is half of the work of the
    published four stages at this size.
    """
    return Florence2Config(
        image=DavitConfig(
            image_size=(256, 256),
            widths=(96, 192),
            depths=(1, 3),
            num_heads=(3, 6),
            num_groups=(3, 6),
            patch_sizes=(16, 3),
            strides=(8, 2),
            paddings=(4, 1),
            norms_first=(False, True),
            window_size=8,
        ),
        text=BartConfig(
            vocab_size=1416,
            max_length=512,
            width=192,
            encoder_depth=3,
            decoder_depth=4,
            num_heads=3,
            mlp_width=768,
            dropout=0.0,
        ),
        max_grid=48,
        max_frames=8,
        question="<DocVQA>",
        spelled=True,
    )
