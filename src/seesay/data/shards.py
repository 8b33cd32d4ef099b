"""Tar files as random access: one pass over their headers, and every member is a range of bytes.

Nothing is extracted, no name becomes a path, no member is ever unpickled and no command is run.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from seesay.errors import InputError, UsageError

BLOCK = 512
MAX_NAME = 1 << 16
"""The longest extended header that is read, in bytes: it holds a name or two."""
MAX_BRACES = 1_000_000
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"(\xb5": "zstd"}
_REGULAR = b"0\0" + b"7"
_IGNORED = b"5g"
_WHAT = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a pipe",
    b"S": "a sparse file",
    b"M": "part of another volume",
}


class Entry(NamedTuple):
    """One member of a tar file; `refused` says why it is not read, None when it is."""

    name: str
    offset: int
    size: int
    refused: str | None = None


@dataclass
class _Extended:
    """What extended headers say about the member that follows them."""

    name: str | None = None
    size: int | None = None
    sparse: bool = False


def scan(path: str) -> Iterator[Entry]:
    """List the members of an uncompressed tar file by its headers alone.

    Raises:
        InputError: It is compressed, damaged, or ends before its last member does. What was
            yielded before is good.
    """
    total = os.stat(path).st_size
    with open(path, "rb") as file:
        start = 0
        more = _Extended()
        while True:
            file.seek(start)
            header = file.read(BLOCK)
            if start == 0:
                _refuse_compressed(path, header)
            if len(header) < BLOCK:
                if start == 0 or header:
                    raise InputError(f"{path}: ends inside a header, at byte {start}")
                return  # some writers leave out the two blocks of zeros at the end
            if header == bytes(BLOCK):
                return
            _check_sum(path, header, start)
            kind = header[156:157]
            size = _number(header[124:136], path, start) if more.size is None else more.size
            data = start + BLOCK
            if data + size > total:
                raise InputError(f"{path}: ends at byte {total}, inside {_name(header, more)!r}")
            start = data + -(-size // BLOCK) * BLOCK
            if kind in (b"L", b"x", b"K"):
                if size > MAX_NAME:
                    raise InputError(f"{path}: an extended header of {size} bytes")
                _extend(more, kind, file, size)
                continue
            name = _name(header, more)
            if more.sparse:
                yield Entry(name, data, size, _WHAT[b"S"])
            elif kind in _REGULAR and kind:
                yield Entry(name, data, size)
            elif kind not in _IGNORED:
                yield Entry(name, data, size, _WHAT.get(kind, f"of type {kind!r}"))
            if kind != b"g":
                more = _Extended()


def expand(pattern: str) -> list[str]:
    """Return the names that braces stand for: shards-{0000..0009}.tar, {train,val}.tar.

    Raises:
        UsageError: It is a command or an address, or the braces stand for too many.
    """
    if pattern.lstrip().startswith("pipe:"):
        raise UsageError(f"{pattern!r} is a command; none is run", "give the shards as files")
    if "://" in pattern[:16]:
        raise UsageError(f"{pattern!r} is remote", "download the shards first")
    pieces: list[list[str]] = []
    for piece in re.split(r"(\{[^{}]*\})", pattern):
        span = re.fullmatch(r"\{(\d+)\.\.(\d+)\}", piece)
        if span:
            first, last = int(span[1]), int(span[2])
            if last - first >= MAX_BRACES:
                raise UsageError(f"{pattern!r} stands for more than {MAX_BRACES} files")
            width = len(span[1]) if span[1].startswith("0") or len(span[1]) == len(span[2]) else 0
            pieces.append([f"{n:0{width}}" for n in range(first, last + 1)])
        elif piece.startswith("{"):
            pieces.append(piece[1:-1].split(","))
        else:
            pieces.append([piece])
    count = 1
    for choices in pieces:
        count *= len(choices)
    if not 0 < count <= MAX_BRACES:
        raise UsageError(f"{pattern!r} stands for {count} files")
    return ["".join(choice) for choice in itertools.product(*pieces)]


def _refuse_compressed(path: str, header: bytes) -> None:
    for magic, name in _COMPRESSED.items():
        if header.startswith(magic) and header[257:262] != b"ustar":
            raise InputError(
                f"{path} is compressed ({name}), so its members cannot be reached one by one",
                "pictures are compressed already: store them in a plain .tar",
            )


def _check_sum(path: str, header: bytes, start: int) -> None:
    told = _number(header[148:156], path, start)
    if told != sum(header[:148]) + 8 * 32 + sum(header[156:]):
        raise InputError(f"{path}: is no tar file, or is damaged at byte {start}")


def _number(field: bytes, path: str, start: int) -> int:
    """A number in octal, or, where that was too short, big-endian after a first byte of 0x80."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        raise InputError(f"{path}: is no tar file, or is damaged at byte {start}") from None


def _name(header: bytes, more: _Extended) -> str:
    if more.name is not None:
        return more.name
    name = _text(header[:100])
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _extend(more: _Extended, kind: bytes, file: BinaryIO, size: int) -> None:
    data = file.read(size)
    if kind == b"L":
        more.name = _text(data)
    elif kind == b"x":
        # records of "<length> <key>=<value>\n", the length counting itself
        while data:
            length, _, rest = data.partition(b" ")
            if not length.isdigit() or not 0 < int(length) <= len(data):
                return
            record = rest[: int(length) - len(length) - 1].removesuffix(b"\n")
            data = data[int(length) :]
            key, _, value = record.partition(b"=")
            if key == b"path":
                more.name = _text(value)
            elif key == b"size" and value.isdigit():
                more.size = int(value)
            elif key.startswith(b"GNU.sparse"):
                more.sparse = True
