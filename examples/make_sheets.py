"""Makes `examples/sheets`: `python examples/make_sheets.py`.

Small pages and scenes for seesay/page, of the split for testing: it has never seen their fonts,
values and drawings.
"""

from __future__ import annotations

from pathlib import Path

from seesay.recipes.made.pages import page
from seesay.recipes.made.scenes import scene
from seesay.recipes.page.samples import SCALE
from seesay.recipes.page.trace import SIZE

OUT = Path(__file__).parent / "sheets"
SEED = 4242
PAGES = {"form": (6, 3), "note": (15, 2)}
"""Index and level."""
SCENES = {"things": 19}


def main() -> None:
    OUT.mkdir(exist_ok=True)
    for name, (index, level) in PAGES.items():
        page(SEED, index, level, SIZE, "test", SCALE).image.save(OUT / f"{name}.png")
    for name, index in SCENES.items():
        scene(SEED, index, SIZE, "test").image.save(OUT / f"{name}.png")


if __name__ == "__main__":
    main()
