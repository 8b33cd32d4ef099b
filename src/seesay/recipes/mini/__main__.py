"""Rebuild seesay/mini: `python -m seesay.recipes.mini --work DIR`.

Goes on where it was stopped. Needs pip, npm, apt-get and dpkg for the packages, and the Python
packages transformers (the teacher's text) and resvg-py (rendering).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from seesay.recipes.mini.stages import run


def main() -> None:
    """Parse the arguments and run all stages."""
    parser = argparse.ArgumentParser(prog="python -m seesay.recipes.mini", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="downloads, caches and states")
    parser.add_argument("--gallery", type=Path, help="photos.tsv and its pictures, to report on")
    parser.add_argument("--out", type=Path, help="where the weights go; default WORK/weights")
    parser.add_argument("--writer", action="store_true", help="the writer alone, on shipped towers")
    told = parser.parse_args()
    run(told.work, told.gallery, told.out or told.work / "weights", writer_alone=told.writer)


if __name__ == "__main__":
    main()
