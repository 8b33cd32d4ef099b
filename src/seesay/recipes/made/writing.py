"""Collections of made pages and scenes as files, to be trained on and measured with.

Pictures lie in `images/<split>/`; `<split>.jsonl` has one line for each picture and question, as
training reads it (`image`, `prefix`, `suffix`). Beside it stand the same labels in the forms that
other programs read.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PIL import Image, features
from PIL import __version__ as pillow

import seesay
from seesay.errors import UsageError
from seesay.recipes.made.cutouts import cutouts
from seesay.recipes.made.labels import Sample, of_page, of_scene
from seesay.recipes.made.pages import LEVELS, SIZE, Page, page
from seesay.recipes.made.scenes import Scene, scene
from seesay.recipes.made.vocabulary import SPLITS, Split

QUALITY = 92
"""Of the JPEG files."""

Advance = Callable[[], None]


def write_pages(
    out: Path, count: int, seed: int, *, size: int = SIZE, level: int = 3,
    scale: float | None = None, advance: Advance = lambda: None,
) -> dict[str, int]:  # fmt: skip
    """Write `count` pages for training and a tenth of it for validation and for testing each.

    Besides the JSON lines of each split: `<split>_words.jsonl` with the quad of every word and the
    box of every letter, `<split>_docvqa.json` with the questions in DocVQA's form, and
    `<split>_text.json` with the words in COCO-Text's.

    Args:
        out: A folder that is empty or does not exist.
        count: Pages for training.
        seed: Equal seeds make equal files.
        size: Of a page's sides, in pixels.
        level: How much stands on a page, 1 to 3.
        scale: Of type and margins, 1 on a page of 384 pixels; None lets them grow with the page.
        advance: Called after each page.

    Returns:
        How many JSON lines each split has.

    Raises:
        UsageError: The folder has something in it, or a number makes no sense.
    """
    if level not in LEVELS:
        raise UsageError(f"level={level}", "levels are 1 to 3")
    scale = size / SIZE if scale is None else scale
    _check(out, count, size)
    for split in SPLITS:  # what cannot be made is refused before anything is written
        page(seed, 0, level, size, split, scale)
    counts = _begin(out, count)
    lines: dict[str, int] = {}
    for split, pages in counts.items():
        samples, words, texts = [], [], CocoText(split)
        asked: list[dict[str, Any]] = []
        for index in range(pages):
            made = page(seed, index, level, size, split, scale)
            name = _save(out, split, index, made.image)
            drawn = of_page(made, random.Random(f"{seed}/{index}"))
            samples += [row(name, sample) for sample in drawn]
            words.append(_words(name, made))
            asked += _docvqa(name, index, len(asked), made, split)
            texts.add(name, index, made)
            advance()
        write_lines(out / f"{split}.jsonl", samples)
        write_lines(out / f"{split}_words.jsonl", words)
        document = {"dataset_name": "made pages", "dataset_version": "1", "dataset_split": split}
        _write(out / f"{split}_docvqa.json", {**document, "data": asked})
        _write(out / f"{split}_text.json", texts.document)
        lines[split] = len(samples)
    _finish(out, "pages", counts, seed=seed, size=size, level=level, scale=scale)
    return lines


def write_scenes(
    out: Path, count: int, seed: int, *, size: int = 384, advance: Advance = lambda: None
) -> dict[str, int]:
    """Write `count` scenes for training and a tenth of it for validation and for testing each.

    Besides the JSON lines of each split: `instances_<split>.json` with boxes and outlines in COCO's
    form. Arguments, result and errors are those of `write_pages`.
    """
    _check(out, count, size)
    counts = _begin(out, count)
    lines: dict[str, int] = {}
    for split, scenes in counts.items():
        samples, coco = [], Coco(split)
        for index in range(scenes):
            made = scene(seed, index, size, split)
            name = _save(out, split, index, made.image)
            drawn = of_scene(made, random.Random(f"{seed}/{index}"))
            samples += [row(name, sample) for sample in drawn]
            coco.add(name, index, made)
            advance()
        write_lines(out / f"{split}.jsonl", samples)
        _write(out / f"instances_{split}.json", coco.document)
        lines[split] = len(samples)
    _finish(out, "scenes", counts, seed=seed, size=size)
    return lines


def counted(count: int) -> dict[Split, int]:
    """How many pictures each split has, for `count` in training."""
    return {split: count if split == "train" else max(1, count // 10) for split in SPLITS}


def _check(out: Path, count: int, size: int) -> None:
    if count < 1:
        raise UsageError(f"count={count}", "make at least one picture")
    if not 128 <= size <= 2048:
        raise UsageError(f"size={size}", "sides of 128 to 2048 pixels can be made")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} has something in it", "name a folder that is new or empty")


def _begin(out: Path, count: int) -> dict[Split, int]:
    """Make the folders; return how many pictures go into each."""
    counts = counted(count)
    for split in counts:
        (out / "images" / split).mkdir(parents=True)
    return counts


def _finish(out: Path, kind: str, counts: dict[Split, int], **told: float) -> None:
    """Say how the collection was made; its presence says that it is whole."""
    versions = {"seesay": seesay.__version__, "pillow": pillow}
    versions["freetype"] = features.version("freetype2") or "unknown"
    made = {"kind": kind, "count": counts["train"], **told, "pictures": counts}
    _write(out / "made.json", {**made, "versions": versions})


def _save(out: Path, split: Split, index: int, image: Image.Image) -> str:
    name = f"images/{split}/{index:06}.jpg"
    image.save(out / name, quality=QUALITY, subsampling=0)
    return name


def row(image: str, sample: Sample) -> dict[str, Any]:
    """Return a sample about a picture as a row of JSON lines."""
    one = len(sample.answers) == 1
    suffix = sample.answers[0] if one else list(sample.answers)
    return {"image": image, "prefix": sample.prefix, "suffix": suffix}


def _rounded(corners: tuple[tuple[float, float], ...]) -> list[list[float]]:
    return [[round(x, 2), round(y, 2)] for x, y in corners]


def _words(name: str, made: Page) -> dict[str, Any]:
    return {
        "image": name,
        "width": made.image.width,
        "height": made.image.height,
        "kind": made.kind,
        "lines": [{"text": line.text, "quad": _rounded(line.quad)} for line in made.lines],
        "words": [
            {"text": word.text, "quad": _rounded(word.quad), "line": word.line}
            for word in made.words
        ],
        "characters": [[c.char, *(round(v, 2) for v in c[1:])] for c in made.characters],
    }


def _docvqa(
    name: str, index: int, first: int, made: Page, split: Split
) -> list[dict[str, Any]]:  # fmt: skip
    return [
        {
            "questionId": first + i,
            "question": question.text,
            "question_types": [question.kind],
            "image": name,
            "docId": index,
            "answers": list(question.answers),
            "data_split": split,
        }
        for i, question in enumerate(made.questions)
    ]


class CocoText:
    """Words in the form of COCO-Text: pictures, words, and which word is in which picture."""

    def __init__(self, split: Split) -> None:
        self.split = split
        self.document: dict[str, Any] = {"imgs": {}, "anns": {}, "imgToAnns": {}}

    def add(self, name: str, index: int, made: Page) -> None:
        """Add a page and its words."""
        anns = self.document["anns"]
        width, height = made.image.size
        self.document["imgs"][str(index)] = {
            "id": index, "file_name": name, "width": width, "height": height, "set": self.split,
        }  # fmt: skip
        own = self.document["imgToAnns"][str(index)] = []
        for word in made.words:
            number = len(anns)
            xs, ys = zip(*word.quad, strict=True)
            box = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
            anns[str(number)] = {
                "id": number,
                "image_id": index,
                "bbox": [round(v, 2) for v in box],
                "mask": [v for corner in _rounded(word.quad) for v in corner],
                "area": round(box[2] * box[3], 2),
                "utf8_string": word.text,
                "legibility": "legible",
                "language": "english",
                "class": "machine printed",
            }
            own.append(number)


class Coco:
    """Things in the form of COCO's instances."""

    def __init__(self, split: Split) -> None:
        names = sorted({cutout.name for cutout in cutouts(split)})
        self.numbers = {name: i for i, name in enumerate(names, 1)}
        self.document: dict[str, Any] = {
            "images": [],
            "annotations": [],
            "categories": [{"id": number, "name": name} for name, number in self.numbers.items()],
        }

    def add(self, name: str, index: int, made: Scene) -> None:
        """Add a scene and its things."""
        annotations = self.document["annotations"]
        width, height = made.image.size
        self.document["images"].append(
            {"id": index, "file_name": name, "width": width, "height": height}
        )
        for thing in made.things:
            x1, y1, x2, y2 = thing.box
            outline = [v for corner in _rounded(thing.outline) for v in corner]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index,
                    "category_id": self.numbers[thing.name],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "segmentation": [outline],
                    "iscrowd": 0,
                }
            )


def _write(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", "utf-8")


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(told, ensure_ascii=False) + "\n" for told in rows), "utf-8")
