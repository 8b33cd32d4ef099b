"""Draws the cut-outs that scenes are composed of; rebuilds `cutouts/`. Needs the extra `mini`.

    python -m seesay.recipes.made.collect_cutouts --work DIR

One sheet for each vendor, a grid of COLUMNS columns of cells of CELL pixels, and a table that says
what lies in which cell and what it is called.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from seesay.recipes.made.cutouts import CELL, COLUMNS, CONCEPTS, FOLDER, VENDORS
from seesay.recipes.mini import drawings
from seesay.recipes.mini.composed import things
from seesay.recipes.mini.render import Renderer
from seesay.recipes.mini.sources import CLDR, SOLID, unpacked
from seesay.recipes.mini.sources import VENDORS as PACKAGES


def collect(work: Path) -> None:
    """Write the sheets and the table from packages under WORK/packages."""
    named = {thing.concept: thing for thing in things()}
    for package in CLDR:
        unpacked(package, work)
    rows = ["vendor\tcell\tconcept\tname\tplural"]
    for vendor in VENDORS:
        unpacked(SOLID if vendor == "solid" else PACKAGES[vendor], work)
        renderer = Renderer(work / "packages")
        art: dict[str, drawings.Drawing] = {}
        for drawing in drawings.emoji_drawings(work / "packages", vendor, plain=True):
            art.setdefault(drawing.english[0].lower(), drawing)
        high = -(-len(CONCEPTS) // COLUMNS)
        sheet = Image.new("RGBA", (COLUMNS * CELL, high * CELL))
        for cell, concept in enumerate(CONCEPTS):
            drawn = renderer.cutout(art[concept])
            assert drawn is not None, (vendor, concept)
            drawn = drawn.crop(drawn.getchannel("A").getbbox())
            thing = named[concept]
            drawn.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
            left, top = cell % COLUMNS * CELL, cell // COLUMNS * CELL
            sheet.paste(drawn, (left, top))
            row = (vendor, str(cell), concept, thing.english, thing.plural)
            rows.append("\t".join(row))
        sheet.save(FOLDER / f"{vendor}.webp", quality=70, alpha_quality=75, method=6)
    (FOLDER / "cutouts.tsv").write_text("\n".join(rows) + "\n", "utf-8")


def main() -> None:
    """Collect, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="where packages are kept")
    collect(parser.parse_args().work)


if __name__ == "__main__":
    main()
