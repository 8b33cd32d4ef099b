"""What tiles and larger pictures cost and gain on pages that are too large for the model.

Pages of a few lines, twice as high and wide as seesay/page looks at, in type that it could read at
their own size. `python -m benchmarks.resolution`; it is no part of `make bench`, which is about
speed alone.
"""

from __future__ import annotations

import argparse
import time
from typing import Any, NamedTuple

import seesay
from seesay.evaluate.text.edits import character_errors
from seesay.recipes.made.pages import Page, page
from seesay.recipes.page.samples import SCALE
from seesay.recipes.page.trace import SIZE

SEED = 3000
WAYS: dict[str, tuple[int | None, dict[str, Any]]] = {
    "the whole page": (None, {}),
    "lines with their places": (None, {"regions": True}),
    "--image-size 320": (320, {}),
    "--tiles 2x1": (None, {"tiles": (2, 1)}),
    "--tiles 2x2": (None, {"tiles": (2, 2)}),
    "--tiles 3x2": (None, {"tiles": (3, 2)}),
}
"""`image_size` of `load`, and arguments of `read`."""


class Figures(NamedTuple):
    """Of one way to read: wrong characters of all, and seconds of a page."""

    cer: float
    seconds: float


def run(count: int, times: int = 2) -> dict[str, Figures]:
    """Read so many pages in every way."""
    pages = [page(SEED, i, 2, times * SIZE, "test", SCALE) for i in range(count)]
    return {
        name: _read(seesay.load("seesay/page", image_size=size), pages, given)
        for name, (size, given) in WAYS.items()
    }


def _read(model: seesay.Model, pages: list[Page], given: dict[str, Any]) -> Figures:
    started = time.process_time()
    found = model.read([made.image for made in pages], max_new_tokens=200, **given)
    seconds = (time.process_time() - started) / len(pages)
    wrong = [character_errors(f.text, made.text) for f, made in zip(found, pages, strict=True)]
    return Figures(sum(w.edits for w in wrong) / sum(w.length for w in wrong), seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--times", type=int, default=2, help="sides, in those of the model's view")
    told = parser.parse_args()
    print(f"{'':26}{'CER':>7}{'s a page':>10}")
    for name, figures in run(told.count, told.times).items():
        print(f"{name:26}{100 * figures.cer:6.1f}%{figures.seconds:10.2f}", flush=True)


if __name__ == "__main__":
    main()
