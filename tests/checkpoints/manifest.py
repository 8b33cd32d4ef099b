"""Shape manifests: the names, shapes and precisions of a released checkpoint, one a line.

`{0..11}` in a name stands for twelve lines. A file is called "<variant>.<layout>.txt".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

PUBLISHED = Path(__file__).with_name("published")
DTYPES = {"F32": torch.float32, "F16": torch.float16, "I64": torch.int64}
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a manifest, without memory for them."""
    tensors = {}
    for line in path.read_text().splitlines():
        pattern, shape, dtype = line.rsplit(" ", 2)
        span = _RANGE.search(pattern)
        numbers = range(int(span[1]), int(span[2]) + 1) if span else (0,)
        for number in numbers:
            name = _RANGE.sub(str(number), pattern)
            assert name not in tensors, f"{path.name}: {name} twice"
            size = [int(n) for n in shape.strip("[]").split(",") if n]
            tensors[name] = torch.empty(size, dtype=DTYPES[dtype], device="meta")
    return tensors


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a manifest, neighbouring layers of equal shape on one line."""
    kinds = {dtype: name for name, dtype in DTYPES.items()}
    groups: dict[tuple[str, str], list[int]] = {}
    for name, tensor in tensors.items():
        shape = ",".join(map(str, tensor.shape))
        number = re.search(r"(?<=\.)\d+(?=\.)", name)
        pattern = name if number is None else f"{name[: number.start()]}#{name[number.end() :]}"
        key = (pattern, f"[{shape}] {kinds[tensor.dtype]}")
        groups.setdefault(key, []).append(int(number[0]) if number else 0)
    lines = []
    for (pattern, rest), numbers in groups.items():
        for first, last in _runs(numbers):
            span = str(first) if first == last else f"{{{first}..{last}}}"
            lines.append(f"{pattern.replace('#', span)} {rest}")
    path.write_text("\n".join(lines) + "\n")


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
