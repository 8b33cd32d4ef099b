"""The published prompts of zero-shot classification: a label goes where the braces are."""

from __future__ import annotations

from seesay.processing.prompts import IMAGENET_80

TEMPLATES = {
    "photo": ("a photo of a {}.",),
    "imagenet-81": ("{}.", *IMAGENET_80),
    "none": ("{}",),
}
"""Prompt sets by name, the first being the default; microsoft/UniCL measures with "imagenet-81"."""
