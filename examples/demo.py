"""`make demo`: search a small gallery by words, name pictures, ask; read a page, find things.

Every line after a `$` is a command you can type; this script only types it for you.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from pathlib import Path

import seesay
from seesay.cli.main import run

HERE = Path(__file__).resolve().parent
GALLERY = Path(os.path.relpath(HERE / "gallery"))
SHEETS = Path(os.path.relpath(HERE / "sheets"))
OUT = Path("demo")
INDEX = OUT / "gallery.index"

SEARCHES = [
    "a cat",
    "a rocket taking off",
    "一杯咖啡",
    "红色的花",
    "buildings - people",
]


DESCRIBED = ["cat-drawing.jpg", "sports-car.jpg", "owl.jpg"]
ASKED = [
    ("dog-drawing.jpg", "what is this?"),
    ("train-drawing.jpg", "is this a photo or a drawing?"),
]
PAGE_QUESTIONS = ["What is the title?", "What is the phone?", "What is the city?"]


def type_command(*words: object) -> None:
    """Print a command and run it in this process; leave with its code when it fails."""
    arguments = [str(word) for word in words]
    print(f"\n$ seesay {shlex.join(arguments)}", flush=True)
    code = run(arguments)
    if code:
        sys.exit(code)


def forget_other_models() -> None:
    """Remove an index that an earlier version of the default model has made."""
    if INDEX.exists():
        made_with = seesay.Collection.open(INDEX).model
        if made_with is None or made_with.fingerprint != seesay.load("seesay/mini").fingerprint:
            shutil.rmtree(INDEX)


def main() -> None:
    started = time.perf_counter()
    OUT.mkdir(exist_ok=True)
    page, drawing = OUT / "search.html", OUT / "relevance.png"
    lines, things = OUT / "lines.png", OUT / "things.png"
    cat, bee = GALLERY / "tabby-cat.jpg", GALLERY / "honey-bee.jpg"
    print("seesay 看图说话: finding pictures by words, with no network")
    forget_other_models()
    type_command("index", GALLERY, "--out", INDEX)
    for query in SEARCHES:
        type_command("search", INDEX, query, "-k", 3)
    type_command("search", INDEX, "--image", cat, "-k", 3)
    type_command("classify", cat, "--labels", "猫,狗,鸟,汽车,房子")
    type_command("match", cat, "a cat", "a dog", "一只猫")
    type_command("relevance", bee, "a bee", "--save-annotated", drawing)
    type_command("caption", *(GALLERY / name for name in DESCRIBED))
    for name, question in ASKED:
        type_command("ask", GALLERY / name, question)
    note, form, scene = (SHEETS / f"{name}.png" for name in ("note", "form", "things"))
    type_command("read", note, "--regions", "--save-annotated", lines)
    type_command("ask", "--document", form, *PAGE_QUESTIONS)
    type_command("detect", scene, "--save-annotated", things)
    type_command("search", INDEX, "animals", "-k", 12, "--html", page)
    columns = shutil.get_terminal_size().columns
    print("\n" + "-" * min(columns, 60))
    print(f"done in {time.perf_counter() - started:.0f} s; look at")
    for made in (page, drawing, lines, things):
        print(f"  {made.resolve()}")
    print("and at your own pictures:  .venv/bin/seesay search ~/Pictures 'a red bicycle'")


if __name__ == "__main__":
    main()
