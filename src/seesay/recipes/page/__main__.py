"""Rebuild seesay/page: `python -m seesay.recipes.page --work DIR`.

Goes on where it was stopped. Two processes that torchrun starts share the work:
`torchrun --nproc-per-node 2 -m seesay.recipes.page --work DIR`, one thread each.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from seesay.model import load
from seesay.recipes.page import judge
from seesay.recipes.page.export import export
from seesay.recipes.page.stages import BEFORE, run
from seesay.train.parallel import joined


def main() -> None:
    """Parse the arguments, train all stages, export, measure."""
    parser = argparse.ArgumentParser(prog="python -m seesay.recipes.page", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="runs, pictures and figures")
    parser.add_argument("--out", type=Path, help="where the weights go; default WORK/weights")
    parser.add_argument("--count", type=int, default=150, help="pictures of each kind to measure")
    told = parser.parse_args()
    out = told.out or told.work / "weights"
    with joined("cpu") as world:
        last = run(told.work, world)
        if world.rank:
            return
    export(last, told.work / "vocabulary", out)
    export(told.work / BEFORE, told.work / "vocabulary", told.work / "before")
    test = told.work / f"test-{judge.SEED}"
    if not test.exists():
        judge.make(test, told.count)
    figures = {
        name: judge.measure(load(folder), test)
        for name, folder in (("before", told.work / "before"), ("after", out))
    }
    (told.work / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
