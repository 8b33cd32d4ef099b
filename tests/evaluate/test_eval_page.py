"""The page of a report: complete in itself, harmless whatever captions say, never too large."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tablemodel import TableModel, dataset

from seesay.data.record import Dataset, Record
from seesay.errors import StorageError
from seesay.evaluate import cra, matching, retrieval, zeroshot
from seesay.evaluate.page import page

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    '"><script>alert(1)</script>',
    "' onmouseover='alert(1)",
    "</dd></dl></figure></title></style></script><svg onload=alert(1)>",
    "a&lt;b&amp; 猫 \u202e \udcff",
    "long " * 1000,
]
VOID = {"meta", "input", "img"}


class Outline(HTMLParser):
    """Everything a browser would act on, and whether what is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def hostile(folder: Path) -> tuple[TableModel, Dataset]:
    rng = np.random.default_rng(0)
    names = [f"{i}.png" for i in range(len(HOSTILE))]
    shown = [" ".join(text.split()) for text in HOSTILE]
    texts = {text: rng.standard_normal(4) for text in [*shown, "second"]}
    model = TableModel({name: rng.standard_normal(4) for name in names}, texts)
    model.name = "<b>model</b>"
    rows = [(n, [t, "second"], i % 2) for i, (n, t) in enumerate(zip(names, HOSTILE, strict=True))]
    return model, dataset(folder, rows, classes=(shown[0], shown[1]))


def outline(text: str) -> Outline:
    found = Outline(text)
    assert not found.open
    return found


@pytest.mark.parametrize("task", [retrieval, zeroshot, cra, matching])
def test_hostile_captions_add_no_tag_and_no_attribute(task: object, tmp_path: Path) -> None:
    model, data = hostile(tmp_path)
    if task is matching:
        data = dataset(tmp_path, [(f"{i}.png", [t]) for i, t in enumerate(HOSTILE)])
    options = {"threshold": 0.0} if task is matching else {}
    report = task(model, data, resamples=0, **options)  # type: ignore[operator]
    found = outline(page(report))
    known = {"html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "p", "input",
             "main", "footer", "script", "div", "table", "caption", "thead", "tbody", "tr", "th",
             "td", "section", "figure", "figcaption", "img", "b", "span", "dl", "dt", "dd",
             "details", "summary", "pre"}  # fmt: skip
    assert {tag for tag, _ in found.tags} <= known
    assert sum(tag == "script" for tag, _ in found.tags) == 1
    assert not [name for _, attrs in found.tags for name in attrs if name.startswith("on")]
    assert "<script>alert(1)</script>" in "".join(found.text)  # as text
    json.dumps(report.as_dict(), allow_nan=False)


def test_the_page_refers_to_nothing_outside(tmp_path: Path) -> None:
    model, data = hostile(tmp_path)
    text = page(retrieval(model, data, resamples=20))
    found = outline(text)
    for tag, attrs in found.tags:
        assert not {"href", "srcset", "action", "style", "data", "poster"} & attrs.keys()
        if tag == "img":
            address = attrs["src"] or ""
            assert address.startswith("data:image/jpeg;base64,")
            picture = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
            assert max(picture.size) <= 320
        else:
            assert "src" not in attrs
    policy = next(a["content"] for t, a in found.tags if "http-equiv" in a) or ""
    assert policy.startswith("default-src 'none'")
    assert "url(" not in text
    assert not re.search(r"@import", text)


def test_the_worst_case_is_less_than_twenty_megabytes(tmp_path: Path) -> None:
    """Noise compresses worst; every caption is wrong, so there are as many examples as can be."""
    rng = np.random.default_rng(0)
    path = tmp_path / "noise.png"
    Image.fromarray(rng.integers(0, 256, (330, 330, 3), dtype=np.uint8)).save(path)
    count = 60
    texts = {f"{i} {'word ' * 300}".strip(): rng.standard_normal(8) for i in range(count)}
    images = {"noise.png": rng.standard_normal(8)}
    records = [
        Record(str(path), (text,), None, f"id{i}", f"row:{i}") for i, text in enumerate(texts)
    ]
    data = Dataset("noise", records, form="csv")
    report = retrieval(TableModel(images, texts), data, resamples=0)
    assert len(report.examples["Captions that missed their picture"]) == 24
    assert len(page(report).encode()) < 20_000_000


def test_pictures_that_are_gone_leave_a_word(tmp_path: Path) -> None:
    model, data = hostile(tmp_path)
    report = retrieval(model, data, resamples=0)
    for path in tmp_path.glob("*.png"):
        path.unlink()
    text = page(report)
    assert "no longer readable" in text
    assert "<img" not in text


def test_a_report_replaces_the_last_one_and_says_when_it_cannot(tmp_path: Path) -> None:
    model, data = hostile(tmp_path)
    report = retrieval(model, data, resamples=0)
    report.save(tmp_path / "out")
    report.save(tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == ["report.html", "report.json"]
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        report.save(tmp_path / "file" / "below")
