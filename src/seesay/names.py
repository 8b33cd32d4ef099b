"""File names as text. On disk a name is bytes; in memory undecodable ones are lone surrogates."""

from __future__ import annotations

import os
from urllib.parse import quote_from_bytes


def printable(text: str) -> str:
    r"""Return valid Unicode: the undecodable bytes of file names become \xNN."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def shown(text: str) -> str:
    r"""Return valid Unicode on one line: undecodable bytes and control characters as \xNN."""
    return "".join(char if char.isprintable() else _escape(char) for char in printable(text))


def uri(path: str) -> str:
    """Return the exact file: URI of an absolute path, whatever bytes its name has."""
    return "file://" + quote_from_bytes(os.fsencode(path))


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
