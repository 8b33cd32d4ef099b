"""The layouts that Florence-2 was published in."""

from __future__ import annotations

from seesay.families.florence2.hf import HF
from seesay.families.florence2.hub import HUB

LAYOUTS = (HF, HUB)
