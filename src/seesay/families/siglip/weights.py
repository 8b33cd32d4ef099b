"""The layouts that SigLIP was published in."""

from __future__ import annotations

from seesay.families.siglip.hf import HF
from seesay.families.siglip.open_clip import OPEN_CLIP

LAYOUTS = (HF, OPEN_CLIP)
"""Tried in this order: a folder may hold both at once."""
