"""Tensor names with named holes: `{i}` is one part between dots, `{rest...}` one or more parts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

_HOLE = re.compile(r"\{(\w+)(\.\.\.)?\}")

Holes = tuple[tuple[str, str], ...]
"""What the holes of a pattern hold: names and values, sorted."""


def group(
    names: Iterable[str], patterns: Sequence[tuple[str, ...]], unused: list[str]
) -> dict[tuple[int, Holes], dict[int, str]]:
    """Give each name to the first rule that has a pattern for it.

    Returns:
        (rule, what its holes hold) -> position of the pattern -> name.
    """
    groups: dict[tuple[int, Holes], dict[int, str]] = {}
    flat = [
        (rule, position, compiled(pattern))
        for rule, several in enumerate(patterns)
        for position, pattern in enumerate(several)
    ]
    for name in names:
        for rule, position, pattern in flat:
            match = pattern.fullmatch(name)
            if match:
                key = (rule, tuple(sorted(match.groupdict().items())))
                groups.setdefault(key, {})[position] = name
                break
        else:
            unused.append(name)
    return groups


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern as a regular expression with a named group for each hole."""
    text, end = "", 0
    for hole in _HOLE.finditer(pattern):
        part = r"[^.]+(?:\.[^.]+)*" if hole[2] else r"[^.]+"
        text += re.escape(pattern[end : hole.start()]) + f"(?P<{hole[1]}>{part})"
        end = hole.end()
    return re.compile(text + re.escape(pattern[end:]))


def filled(pattern: str, holes: Holes) -> str:
    """Return the name that a pattern is with its holes filled."""
    values = dict(holes)
    return _HOLE.sub(lambda hole: values[hole[1]], pattern)
