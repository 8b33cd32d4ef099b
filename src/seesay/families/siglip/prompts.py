"""The published prompts of zero-shot classification: a label goes where the braces are.

The authors measure with CLIP's prompts. Punctuation in them does not reach the first SigLIP.
"""

from __future__ import annotations

from seesay.processing.prompts import IMAGENET_80

TEMPLATES = {
    "photo": ("a photo of a {}.",),
    "this-is": ("this is a photo of {}.",),
    "imagenet-80": IMAGENET_80,
    "none": ("{}",),
}
"""Prompt sets by name; the first is the default, "this-is" the one of transformers' examples."""
