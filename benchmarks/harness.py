"""Two or more ways of doing the same, timed in turns, with a canary before and after each sample.

Processors of rented machines change speed for reasons outside of them, several times a minute and
by a factor of up to three, and matrix products suffer more than the rest. So no two timings taken
one after the other can be compared. Here

- the variants take turns, so that what changes slowly hits all alike;
- before and after each sample a fixed matrix product, the canary, is timed, and a sample counts
  only if both ran at `FAST` of the best rate seen, that is, if the machine was in its fast state;
- figures are medians of the samples that count, and ratios are ratios of such medians;
- at least `KEEP` samples must count for each variant. When they do not after `TRIES` rounds of
  trying, the comparison is inconclusive and is reported as that, never as a result.

With one thread the processor time of this process is measured, which sharing a core with another
process disturbs least; with more threads only the clock on the wall means anything.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

FAST = 0.75
KEEP = 4
TRIES = 3
ROUNDS = 7


class Canary:
    """A matrix product of fixed size; `rate` says in 10^12 operations a second how fast it ran."""

    ROWS, INNER, COLUMNS = 1600, 768, 3072

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.a = torch.randn(self.ROWS, self.INNER, generator=generator).bfloat16()
        self.b = torch.randn(self.INNER, self.COLUMNS, generator=generator).bfloat16()
        self.out = torch.empty(self.ROWS, self.COLUMNS, dtype=torch.bfloat16)
        self.best = 0.0
        for _ in range(5):
            self.rate()

    def rate(self) -> float:
        """Time two products and return the rate of the faster: the first finds cold caches."""
        clock = _clock()
        spent = []
        for _ in range(2):
            start = clock()
            torch.mm(self.a, self.b, out=self.out)
            spent.append(clock() - start)
        rate = 2 * self.ROWS * self.INNER * self.COLUMNS / max(min(spent), 1e-9) / 1e12
        self.best = max(self.best, rate)
        return rate


@dataclass
class Sample:
    """Seconds of one call, and the slower of the two canaries around it."""

    seconds: float
    canary: float


@dataclass
class Timing:
    """What is reported of one variant.

    Attributes:
        milliseconds: Median of the samples that count, of one call; None when inconclusive.
        spread: Their quartiles.
        kept: How many samples count.
        taken: How many were taken.
        ratio: Time of the baseline over time of this variant; above 1 is faster.
        per_second: Items a second.
        extra: Whatever else the benchmark says of the variant.
    """

    milliseconds: float | None
    spread: tuple[float, float] | None
    kept: int
    taken: int
    ratio: float | None = None
    per_second: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class Comparison:
    """Variants of one piece of work, by name; ratios are against `baseline`."""

    what: str
    baseline: str
    threads: int
    canary: float
    timings: dict[str, Timing]

    @property
    def conclusive(self) -> bool:
        """Whether every variant has enough samples that count."""
        return all(timing.milliseconds is not None for timing in self.timings.values())

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {**asdict(self), "conclusive": self.conclusive}

    def show(self) -> str:
        """Return a table for people."""
        lines = [f"{self.what}, {self.threads} thread(s), canary {self.canary:.2f} T/s"]
        for name, timing in self.timings.items():
            if timing.milliseconds is None or timing.spread is None:
                lines.append(f"  {name:28} inconclusive ({timing.kept} of {timing.taken} counted)")
                continue
            low, high = timing.spread
            line = f"  {name:28} {timing.milliseconds:9.2f} ms  [{low:.2f}, {high:.2f}]"
            line += f"  {timing.kept}/{timing.taken}"
            if timing.ratio is not None:
                line += f"  x{timing.ratio:.2f}"
            if timing.per_second is not None:
                line += f"  {timing.per_second:.1f}/s"
            extra = "  ".join(f"{key} {_short(value)}" for key, value in timing.extra.items())
            lines.append(f"{line}  {extra}".rstrip())
        return "\n".join(lines)


def compare(
    what: str,
    variants: Mapping[str, Callable[[], object]],
    baseline: str,
    *,
    items: int = 1,
    rounds: int = ROUNDS,
    shortest: float = 0.05,
    budget: float = 120.0,
    extra: Mapping[str, Mapping[str, Any]] | None = None,
) -> Comparison:
    """Time variants in turns until enough samples count.

    Args:
        what: Title of the comparison.
        variants: Name to a call that does the work once.
        baseline: The variant that ratios are against.
        items: How many items one call works on.
        rounds: Turns per try.
        shortest: Seconds that one sample lasts at least; fast calls are repeated.
        budget: Seconds after which no new turn begins, once there were `KEEP`.
        extra: Per variant, what else to report of it.
    """
    canary, started = Canary(), time.monotonic()
    repeats = {name: _repeats(call, shortest) for name, call in variants.items()}
    samples: dict[str, list[Sample]] = {name: [] for name in variants}
    kept: dict[str, list[float]] = {}
    for turn in range(TRIES * rounds):
        enough = turn % rounds == 0 and min(map(len, kept.values()), default=0) >= KEEP
        if enough or (turn >= KEEP and time.monotonic() - started > budget):
            break
        for name, call in variants.items():
            samples[name].append(_sample(call, repeats[name], canary))
        kept = {name: _kept(taken, canary) for name, taken in samples.items()}
    timings = {}
    for name, seconds in kept.items():
        timing = _timing(seconds, len(samples[name]), items)
        against = kept[baseline]
        if timing.milliseconds is not None and len(against) >= KEEP:
            timing.ratio = statistics.median(against) * 1e3 / timing.milliseconds
        timing.extra = dict((extra or {}).get(name, {}))
        timings[name] = timing
    comparison = Comparison(what, baseline, torch.get_num_threads(), canary.best, timings)
    print(comparison.show(), file=sys.stderr, flush=True)
    return comparison


def _clock() -> Callable[[], float]:
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def _repeats(call: Callable[[], object], shortest: float) -> int:
    call()
    clock = _clock()
    start = clock()
    call()
    return max(1, round(shortest / max(clock() - start, 1e-6)))


def _sample(call: Callable[[], object], repeats: int, canary: Canary) -> Sample:
    clock = _clock()
    before = canary.rate()
    start = clock()
    for _ in range(repeats):
        call()
    seconds = (clock() - start) / repeats
    return Sample(seconds, min(before, canary.rate()))


def _kept(taken: list[Sample], canary: Canary) -> list[float]:
    return [sample.seconds for sample in taken if sample.canary >= FAST * canary.best]


def _timing(seconds: list[float], taken: int, items: int) -> Timing:
    if len(seconds) < KEEP:
        return Timing(None, None, len(seconds), taken)
    median = statistics.median(seconds)
    low, _, high = statistics.quantiles(seconds, n=4)
    return Timing(
        median * 1e3, (low * 1e3, high * 1e3), len(seconds), taken, per_second=items / median
    )


def _short(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def stamp() -> dict[str, Any]:
    """Describe the machine and the software, as far as speed depends on them."""
    described: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "bf16": torch.cpu._is_avx512_bf16_supported(),
        "amx": torch.cpu._is_amx_tile_supported(),
        "versions": {},
    }
    try:
        with open("/proc/cpuinfo") as file:
            lines = dict(line.split(":", 1) for line in file if ":" in line)
        described["processor"] = {k.strip(): v.strip() for k, v in lines.items()}["model name"]
    except (OSError, KeyError):
        pass
    from importlib.metadata import PackageNotFoundError, version

    for package in ("numpy", "pillow", "transformers", "openvino", "open_clip_torch", "faiss-cpu"):
        try:
            described["versions"][package] = version(package)
        except PackageNotFoundError:
            described["versions"][package] = None
    return described
