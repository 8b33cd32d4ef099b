"""Where things are in a picture: the results of detection, grounding, segmentation and reading.

Importing this imports neither torch, numpy nor PIL. docs/regions.md shows what can be done with
the results.
"""

from __future__ import annotations

from seesay.regions.types import Box, Point, Region, Regions

__all__ = ["Box", "Point", "Region", "Regions"]
