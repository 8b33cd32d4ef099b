"""The layouts that BLIP was published in."""

from __future__ import annotations

from seesay.families.blip.hf import HF
from seesay.families.blip.original import BLIP

LAYOUTS = (HF, BLIP)
