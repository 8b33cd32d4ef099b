"""Many strings in little memory: a million captions are one block of bytes, not a million objects.

Nor does a forked process copy them by counting references.
"""

from __future__ import annotations

from array import array


class Strings:
    """An append-only list of strings, UTF-8 end to end. Undecodable file names survive."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ends = array("q")

    def append(self, text: str) -> None:
        """Add a string at the end."""
        self.data += text.encode("utf-8", "surrogatepass")
        self.ends.append(len(self.data))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, i: int) -> str:
        start = self.ends[i - 1] if i else 0
        return self.data[start : self.ends[i]].decode("utf-8", "surrogatepass")

    @property
    def nbytes(self) -> int:
        """How much memory the strings take."""
        return len(self.data) + 8 * len(self.ends)
