"""The code blocks of the documentation, in order, with their titles."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"^```(?P<language>[\w-]+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        language: The word after the fence.
        title: What the fence says is in it, or "".
        text: The code.
        line: Where it starts in its file.
    """

    language: str
    title: str
    text: str
    line: int

    def commands(self) -> list[list[str]]:
        """The arguments of every `seesay` command in a shell block."""
        joined = self.text.replace("\\\n", " ")
        split = [shlex.split(line.removeprefix("$ "), comments=True) for line in joined.split("\n")]
        return [words[1:] for words in split if words[:1] == ["seesay"]]


def blocks(path: Path) -> list[Block]:
    """All fenced blocks of a Markdown file."""
    text = path.read_text("utf-8")
    found = [
        Block(m["language"], m["title"] or "", m["text"], text.count("\n", 0, m.start()) + 1)
        for m in FENCE.finditer(text)
    ]
    fences = len(re.findall(r"^```", text, re.M))
    assert fences == 2 * len(found), f"{path.name} has a fence that this test cannot read"
    return found
