"""Whatever is in a file, opening it gives a dataset or one error that says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from data.made import write
from seesay.data import open_dataset
from seesay.data.check import KINDS, check
from seesay.errors import SeesayError

KEYS = (
    "id", "image_id", "file_name", "caption", "bbox", "category_id", "width", "height", "filename",
    "filepath", "split", "sentences", "raw", "image", "text", "label", "cocoid",
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text("a./é", max_size=4)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6)
FILES = st.fixed_dictionaries(
    {"images": VALUES | st.lists(OBJECTS, max_size=3)},
    optional={
        "annotations": VALUES | st.lists(OBJECTS, max_size=3),
        "categories": VALUES | st.lists(OBJECTS, max_size=2),
    },
)
FEW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def opens_or_says_why(path: str) -> None:
    try:
        dataset = open_dataset(path)
    except SeesayError:
        return
    findings = check(dataset, look="exists", workers=1)
    assert {finding.kind for finding in findings.all} <= set(KINDS)
    assert all(0 <= f.row < len(dataset) for f in findings.all if f.row is not None)
    for record in dataset:
        assert all(text.strip() for text in record.texts)


@FEW
@given(FILES | st.lists(OBJECTS, max_size=3))
@example({"images": [], "annotations": [], "categories": [{"id": []}]})
@example({"images": [], "annotations": [], "categories": 3})
@example({"images": [{"filename": "a.jpg", "sentences": 3}]})
@example(
    {
        "images": [{"id": 1, "file_name": "a", "width": "x"}],
        "annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1]}],
    }
)
def test_json_of_any_shape(tmp_path: Path, value: Any) -> None:
    opens_or_says_why(write(tmp_path / "some.json", json.dumps(value)))


@FEW
@given(st.lists(OBJECTS, max_size=4))
def test_json_lines_of_any_shape(tmp_path: Path, values: list[Any]) -> None:
    opens_or_says_why(write(tmp_path / "some.jsonl", "\n".join(map(json.dumps, values))))


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json", "token", "tar"])
def test_any_bytes(tmp_path: Path, suffix: str) -> None:
    heads = [b"", b"image,caption,label\n", b"filepath\ttitle\n", b"a.jpg#0\t", b"\xff\xfe", b"[{"]

    @FEW
    @given(
        st.sampled_from(heads),
        st.lists(
            st.sampled_from(
                [
                    b",",
                    b"\n",
                    b"\r",
                    b'"',
                    b"\0",
                    b"a",
                    b"\xe9",
                    b"\t",
                    b"|",
                    b".jpg",
                    b"\xed\xa0\x80",
                    b"{",
                    b"}",
                    b"[",
                    b"1",
                ]
            ),
            max_size=30,
        ),
    )
    def opens(head: bytes, pieces: list[bytes]) -> None:
        opens_or_says_why(write(tmp_path / f"some.{suffix}", head + b"".join(pieces)))

    opens()
