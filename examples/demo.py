"""`make demo`: index a small gallery, find pictures by English and Chinese words, name them.

Every line after a `$` is a command you can type; this script only types it for you.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from pathlib import Path

from seesay.cli.main import run

HERE = Path(__file__).resolve().parent
GALLERY = HERE / "gallery"
OUT = Path("demo")
INDEX = OUT / "gallery.index"

SEARCHES = [
    "a cat",
    "a rocket taking off",
    "一杯咖啡",
    "红色的花",
    "buildings - people",
]


def type_command(line: str) -> None:
    """Print a command and run it in this process; leave with its code when it fails."""
    print(f"\n$ seesay {line}", flush=True)
    code = run(shlex.split(line))
    if code:
        sys.exit(code)


def main() -> None:
    started = time.perf_counter()
    OUT.mkdir(exist_ok=True)
    print("seesay 看图说话: finding pictures by words, with no network")
    type_command(f"index {GALLERY} --out {INDEX}")
    for words in SEARCHES:
        type_command(f"search {INDEX} {shlex.quote(words)} -k 3")
    photo = GALLERY / "tabby-cat.jpg"
    type_command(f"search {INDEX} --image {photo} -k 3")
    type_command(f"classify {photo} --labels 猫,狗,鸟,汽车,房子")
    type_command(f"match {photo} 'a cat' 'a dog' '一只猫'")
    bee = GALLERY / "honey-bee.jpg"
    type_command(f"relevance {bee} 'a bee' --save-annotated {OUT / 'relevance.png'}")
    page = OUT / "search.html"
    type_command(f"search {INDEX} 'animals' -k 12 --html {page} -f")
    columns = shutil.get_terminal_size().columns
    print("\n" + "-" * min(columns, 60))
    print(f"done in {time.perf_counter() - started:.0f} s; look at")
    print(f"  {page.resolve()}")
    print(f"  {(OUT / 'relevance.png').resolve()}")
    print("and at your own pictures:  .venv/bin/seesay search ~/Pictures 'a red bicycle'")


if __name__ == "__main__":
    main()
