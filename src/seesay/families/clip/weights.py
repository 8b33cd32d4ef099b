"""The layouts that CLIP was published in."""

from __future__ import annotations

from seesay.families.clip.hf import HF
from seesay.families.clip.open_clip import OPEN_CLIP
from seesay.families.clip.openai import OPENAI

LAYOUTS = (HF, OPEN_CLIP, OPENAI)
"""Tried in this order: a folder may hold the first two at once."""
