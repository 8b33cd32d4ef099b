"""Exact search of 1,000,000 x 512 vectors: seesay against FAISS flat and numpy, as JSON.

    python -m benchmarks.search --threads 1 --out search.json

Needs about 8 GB of memory. All answer the same queries in one process, in turns (see harness.py);
what they find is compared with float64 scores of all vectors.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Comparison, compare, stamp
from seesay.index.topk import Scanner

K = 10
TARGETS = {  # queries at once -> contestant -> how many times faster seesay should be
    1: {"faiss": 1.15},
    32: {"faiss": 10.0, "numpy": 3.0},
    256: {"faiss": 1.6},
}

Search = Callable[[Any], Any]


def make_vectors(count: int, width: int) -> np.ndarray[Any, Any]:
    """Unit vectors in 20,000 clusters of an intrinsic dimension of 64, with noise."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(64, width, generator=generator)
    centres = torch.randn(20_000, 64, generator=generator) @ basis
    vectors = np.empty((count, width), np.float16)
    for start in range(0, count, 50_000):
        size = min(50_000, count - start)
        chosen = centres[torch.randint(0, len(centres), (size,), generator=generator)]
        noisy = chosen + 4 * torch.randn(size, width, generator=generator)
        vectors[start : start + size] = torch.nn.functional.normalize(noisy, dim=1).half().numpy()
    return vectors


def make_queries(vectors: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """Unit vectors near some of the stored ones."""
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((count, vectors.shape[1])).astype(np.float32)
    near = vectors[rng.integers(0, len(vectors), count)].astype(np.float32) + 0.02 * noise
    return near / np.linalg.norm(near, axis=1, keepdims=True)


def contestants(vectors: np.ndarray[Any, Any]) -> dict[str, Search]:
    """Return what turns queries [Q, E] into rows [Q, k], by name."""
    scanner = Scanner(vectors)
    wide = vectors.astype(np.float32)
    found: dict[str, Search] = {
        "seesay": lambda q: scanner.top(torch.from_numpy(q), K)[1].numpy(),
        "numpy": lambda q: with_numpy(wide, q),
    }
    try:
        import faiss
    except ImportError:
        print("faiss is not installed: left out", file=sys.stderr)
        return found
    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(wide)
    found["faiss"] = lambda q: index.search(q, K)[1]
    return found


def with_numpy(vectors: np.ndarray[Any, Any], queries: np.ndarray[Any, Any]) -> Any:
    """What one writes without a library."""
    scores = queries @ vectors.T
    best = np.argpartition(-scores, K, axis=1)[:, :K]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
    return np.take_along_axis(best, order, axis=1)


def exact_rows(vectors: np.ndarray[Any, Any], queries: np.ndarray[Any, Any]) -> Any:
    """The definition: float64 scores of all rows."""
    wide = torch.from_numpy(queries).double().T
    parts = [
        torch.from_numpy(vectors[i : i + 65536]).float().double() @ wide
        for i in range(0, len(vectors), 65536)
    ]
    return torch.cat(parts).topk(K, dim=0).indices.T.numpy()


def recall(found: Any, expected: Any) -> float:
    """Share of the expected rows that were found."""
    pairs = zip(found.tolist(), expected.tolist(), strict=True)
    return statistics.mean(len(set(a) & set(b)) / len(b) for a, b in pairs)


def verdicts(comparison: Comparison, batch: int) -> dict[str, Any]:
    """How many times faster seesay is than each of the others, and whether that is enough."""
    ours = comparison.timings["seesay"].milliseconds
    found = {}
    for name, timing in comparison.timings.items():
        if name == "seesay":
            continue
        target = TARGETS.get(batch, {}).get(name)
        ratio = None
        if ours is not None and timing.milliseconds is not None:
            ratio = round(timing.milliseconds / ours, 2)
        result = "inconclusive" if ratio is None else "measured"
        if ratio is not None and target is not None:
            result = "reached" if ratio >= target else "missed"
        found[name] = {"times_faster": ratio, "target": target, "result": result}
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, nargs="+", default=list(TARGETS))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    vectors = make_vectors(args.count, args.width)
    queries = make_queries(vectors, max(args.batches))
    runs = contestants(vectors)
    expected = exact_rows(vectors, queries)
    report: dict[str, Any] = {
        "benchmark": "search",
        "vectors": [args.count, args.width],
        "k": K,
        "stamp": stamp(),
        "recall": {name: recall(run(queries), expected) for name, run in runs.items()},
        "results": [],
    }
    for batch in args.batches:
        part = queries[:batch]
        calls = {name: partial(run, part) for name, run in runs.items()}
        baseline = "faiss" if "faiss" in calls else "numpy"
        if baseline == "faiss" and batch > 32:
            del calls["numpy"]  # seconds a sample, and no target
        title = f"{batch} queries, {args.count} x {args.width}"
        comparison = compare(title, calls, baseline, items=batch)
        report["results"].append({**comparison.as_dict(), "against": verdicts(comparison, batch)})
    text = json.dumps(report, indent=2)
    print(text)
    if args.out is not None:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
