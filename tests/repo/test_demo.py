"""`make demo` works from a clone, and finds what it says it finds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from repo.source_tree import ROOT

BEST = re.compile(r"^\$ seesay search \S+ '([^']+)' -k 3\n +1 +[\d.]+ +(.+)$", re.M)
"""A search that the demo types, and the first picture it finds."""


def test_the_demo_finds_pictures_and_is_quick_the_second_time(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "100"}
    printed = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, str(ROOT / "examples" / "demo.py")],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
            timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        printed.append(done.stdout)
    best = {words: Path(found).name for words, found in BEST.findall(printed[0])}
    assert "cat" in best["a cat"]
    assert best["一杯咖啡"] in ("espresso.jpg", "coffee-drawing.jpg")
    assert "(94 added)" in printed[0]
    assert "added" not in printed[1], "the second run encodes nothing"
    page = (tmp_path / "demo" / "search.html").read_text("utf-8")
    assert "<img" in page
    assert 'src="http' not in page
    assert (tmp_path / "demo" / "relevance.png").stat().st_size > 1000
