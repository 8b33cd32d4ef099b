"""Run every benchmark and write one JSON file: `python -m benchmarks.run --out bench.json`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks import caption, contrastive, encode, florence2, folder, preprocess, train_step
from benchmarks.harness import Comparison, stamp

HERE = Path(__file__).parent
PARTS = [
    "encode",
    "preprocess",
    "folder",
    "caption",
    "florence2",
    "train",
    "contrastive",
    "search",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--only", nargs="*", choices=PARTS)
    parser.add_argument("--quick", action="store_true", help="the small tower, small batches")
    args = parser.parse_args()
    quiet()
    chosen = args.only or PARTS
    report: dict[str, Any] = {"stamp": stamp(), "missing": encode.missing(), "results": []}
    for threads in args.threads:
        torch.set_num_threads(threads)
        comparisons: list[Comparison] = []
        if "preprocess" in chosen and threads == 1:
            comparisons += preprocess.run()
        if "encode" in chosen:
            comparisons += encode.run("ViT-B/32", (1, 8) if args.quick else (1, 8, 32))
            if not args.quick:
                comparisons += encode.run("ViT-L/14", (1, 8, 32))
        if "folder" in chosen:
            comparisons += folder.run()
        if "caption" in chosen:
            comparisons += caption.run(batches=(1,) if args.quick else (1, 8))
        if "florence2" in chosen:
            comparisons += florence2.run(batches=(1,) if args.quick else (1, 4))
        if "train" in chosen:
            comparisons += train_step.run()
        if "contrastive" in chosen and threads == 1:
            comparisons += contrastive.run((1024,) if args.quick else (1024, 4096))
        report["results"] += [comparison.as_dict() for comparison in comparisons]
        if "search" in chosen:
            report.setdefault("search", []).append(search(threads, quick=args.quick))
        write(args.out, report)
    print(f"written: {args.out}")


def quiet() -> None:
    """Keep transformers' bars and load reports out of the tables."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def search(threads: int, *, quick: bool) -> Any:
    """Run the search benchmark, which needs gigabytes, in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "search.json"
        command = [
            sys.executable,
            "-m",
            "benchmarks.search",
            "--threads",
            str(threads),
            "--out",
            out,
        ]
        if quick:
            command += ["--count", "100000"]
        print(f"search, {threads} thread(s)", file=sys.stderr)
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False, cwd=HERE.parent)
        if done.returncode:
            return {"error": f"search.py left with {done.returncode}"}
        return json.loads(out.read_text())


def write(path: Path, report: dict[str, Any]) -> None:
    """Write what there is so far, whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(report, indent=2) + "\n")
    part.replace(path)


if __name__ == "__main__":
    main()
