"""The contrastive losses at once and in chunks: time, and memory as the batch grows, as JSON.

    python -m benchmarks.contrastive --threads 1 --out contrastive.json

Forward and backward on unit vectors [B, 512] in float32. Memory is the most that a fresh process
held (VmHWM, so on Linux only) above what it held before; at once it grows with the square of the
batch: 4.4 GB at 16,384.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import KEEP, Comparison, compare, stamp
from seesay.train.objectives import info_nce, sigmoid

WIDTH = 512
CHUNK = 512
BATCHES = (1024, 2048, 4096, 8192, 16384)
WAYS: dict[str, int | None] = {"at once": None, f"chunks of {CHUNK}": CHUNK}
STATUS = Path("/proc/self/status")


def losses() -> dict[str, Callable[..., Tensor]]:
    """Return each loss as a function of images, texts and the chunk."""
    scale = torch.tensor(2.66, requires_grad=True)
    bias = torch.tensor(-10.0, requires_grad=True)
    return {
        "info_nce": lambda a, b, chunk: info_nce(a, b, scale, chunk=chunk),
        "sigmoid": lambda a, b, chunk: sigmoid(a, b, scale, bias, chunk=chunk),
    }


def step(name: str, batch: int, chunk: int | None) -> Callable[[], None]:
    """Return what computes a loss and its gradients once."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(2, batch, WIDTH, generator=generator)
    images, texts = F.normalize(vectors, dim=-1).requires_grad_()
    loss = losses()[name]

    def run() -> None:
        torch.autograd.grad(loss(images, texts, chunk), (images, texts))

    return run


def held(field: str) -> float:
    """Return what this process holds (VmRSS) or held at most (VmHWM), in megabytes."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise ValueError(f"no {field} in {STATUS}")


def needed(name: str, batch: int, chunk: int | None) -> float | None:
    """Return the megabytes that one step needs, measured in a process of its own."""
    if not STATUS.exists():
        return None
    code = (
        "import torch; torch.set_num_threads(1); from benchmarks import contrastive as c; "
        f"c.step({name!r}, 64, {chunk and 32})(); run = c.step({name!r}, {batch}, {chunk}); "
        "before = c.held('VmRSS'); run(); print(c.held('VmHWM') - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
        # give large blocks back at once: what malloc keeps in reserve is not what the loss needs
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "1048576"},
    )
    return round(float(done.stdout), 1) if done.returncode == 0 else None


def run(batches: Sequence[int] = BATCHES) -> list[Comparison]:
    """Compare the ways of each loss at each size of the batch."""
    found = []
    for name in losses():
        for batch in batches:
            found.append(
                compare(
                    f"{name}, forward and backward, batch {batch}",
                    {way: step(name, batch, chunk) for way, chunk in WAYS.items()},
                    "at once",
                    items=batch,
                    rounds=KEEP if batch > 4096 else 7,
                    extra={
                        way: {"peak MB": needed(name, batch, chunk)} for way, chunk in WAYS.items()
                    },
                )
            )
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    results: list[Any] = [comparison.as_dict() for comparison in run(args.batches)]
    text = json.dumps({"benchmark": "contrastive", "stamp": stamp(), "results": results}, indent=2)
    print(text)
    if args.out is not None:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
