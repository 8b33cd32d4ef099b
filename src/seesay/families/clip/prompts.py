"""The published prompts of zero-shot classification: a label goes where the braces are."""

from __future__ import annotations

from seesay.processing.prompts import IMAGENET_80

IMAGENET_7 = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)
"""The subset that the same notebook selects; a little better than all 80 on small models."""

TEMPLATES = {
    "photo": ("a photo of a {}.",),
    "imagenet-7": IMAGENET_7,
    "imagenet-80": IMAGENET_80,
    "none": ("{}",),
}
"""Prompt sets by name; the first is the default."""
