"""The curves of a run as one picture: loss, learning rate, and what the evaluations found."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_POINTS = 2000
# told apart with any colour vision (the palette of Okabe and Ito, without its yellow)
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")


@dataclass
class Series:
    """The values of one quantity and the steps they belong to."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, step: int, value: float) -> None:
        """Append a point; what is no finite number leaves a gap."""
        self.steps.append(step)
        self.values.append(value if math.isfinite(value) else math.nan)


class Curves:
    """Collects what is logged and draws it."""

    STEPS = ("loss", "lr", "grad_norm")
    UNDRAWN = (
        "step",
        "epoch",
        "alpha",
        "seconds",
        "samples_per_second",
        "memory_mb",
        "gpu_memory_mb",
    )
    """What a step logs that needs no picture."""

    def __init__(self) -> None:
        self.steps = {name: Series() for name in self.STEPS}
        self.parts: dict[str, Series] = {}
        self.evaluations: dict[str, Series] = {}

    def add_step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Take the loss, its parts, the learning rate and gradient norm of a step, where given."""
        for name, value in metrics.items():
            if name in self.steps:
                self.steps[name].add(step, _number(value))
            elif name not in self.UNDRAWN:
                self.parts.setdefault(name, Series()).add(step, _number(value))

    def add_evaluation(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Take every metric of an evaluation."""
        for name, value in metrics.items():
            self.evaluations.setdefault(name, Series()).add(step, _number(value))

    def draw(self, path: Path) -> None:
        """Write the picture, whole or not at all."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

        panels = self._panels()
        if not panels:
            return
        columns = min(3, len(panels))
        rows = math.ceil(len(panels) / columns)
        figure = Figure(figsize=(5.2 * columns, 3.7 * rows), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        told = [s.steps[-1] for panel in panels for s in panel[1].values() if s.steps]
        last = max(told, default=1)
        for number, (title, lines, scale) in enumerate(panels):
            axes = figure.add_subplot(rows, columns, number + 1)
            axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
            axes.set_xlabel("step")
            axes.set_xlim(0, max(last, 1))
            axes.grid(True, color="#e4e4e4", linewidth=0.8)
            axes.set_axisbelow(True)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.spines[["top", "right"]].set_visible(False)
            for (name, series), colour in zip(lines.items(), _colours(len(lines)), strict=True):
                _line(axes, name, series, colour)
            some = any(value > 0 for series in lines.values() for value in series.values)
            if scale == "norm" and some:  # has peaks that would flatten everything else
                axes.set_yscale("log", nonpositive="mask")  # a norm of 0 has no place on it
                axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axes.yaxis.set_major_formatter("{x:g}")
                axes.yaxis.set_minor_formatter(NullFormatter())
            elif scale == "share":
                axes.set_ylim(bottom=0)
            if len(axes.get_legend_handles_labels()[1]) > 1:
                axes.legend(fontsize=9, frameon=False, loc="best")
        partial = path.with_suffix(".partial")
        figure.savefig(partial, format="png")
        os.replace(partial, path)

    def _panels(self) -> list[tuple[str, dict[str, Series], str]]:
        """Title, lines and kind of scale of every panel with something in it.

        Evaluation metrics share a panel where they share a scale: losses with the loss, shares
        from 0 to 1 by the direction they are about, and the rest one by one, as parts of the loss.
        """
        losses = {f"evaluation {n}": s for n, s in self.evaluations.items() if "loss" in n}
        panels = [
            ("loss", {"training": self.steps["loss"], **losses}, ""),
            *((name.replace("_", " "), {name: part}, "") for name, part in self.parts.items()),
            ("learning rate", {"lr": self.steps["lr"]}, ""),
            ("gradient norm", {"grad_norm": self.steps["grad_norm"]}, "norm"),
        ]
        shares: dict[str, dict[str, Series]] = {}
        rest = []
        for name, series in self.evaluations.items():
            if "loss" in name:
                continue
            if all(0 <= value <= 1 for value in series.values if not math.isnan(value)):
                shares.setdefault(name.rpartition("_")[0], {})[name] = series
            else:
                rest.append((name.replace("_", " "), {name: series}, ""))
        panels += [(_title(group), lines, "share") for group, lines in shares.items()] + rest
        drawn = (
            (t, {n: s for n, s in lines.items() if s.steps}, kind) for t, lines, kind in panels
        )
        return [panel for panel in drawn if panel[1]]


def _line(axes: Any, name: str, series: Series, colour: str) -> None:
    """Draw one line: many points pale with their running mean over them, few points as dots."""
    label = name.replace("_", " ")
    if len(series.steps) < 60:
        style = {"color": colour, "marker": "o", "markersize": 4, "clip_on": False}
        axes.plot(series.steps, series.values, label=label, **style)
        return
    smooth = Series(series.steps, smoothed(series.values, span=len(series.steps) / 80))
    pale, bold = thinned(series), thinned(smooth)
    if name == "lr":  # has no noise to smooth away
        axes.plot(pale.steps, pale.values, color=colour, label=label)
        return
    axes.plot(pale.steps, pale.values, color=colour, alpha=0.25, linewidth=0.8)
    axes.plot(bold.steps, bold.values, color=colour, label=label, linewidth=1.8)


def smoothed(values: Sequence[float], span: float) -> list[float]:
    """Return the exponential moving average over about `span` values, without a cold start."""
    keep = 1 - 1 / max(span, 1)
    total = weight = 0.0
    found = []
    for value in values:
        if not math.isnan(value):
            total, weight = keep * total + value, keep * weight + 1
        found.append(total / weight if weight else math.nan)
    return found


def thinned(series: Series, most: int = MAX_POINTS) -> Series:
    """Return every n-th point, the last always, so that at most about `most` are left."""
    every = math.ceil(len(series.steps) / most)
    if every <= 1:
        return series
    last = (len(series.steps) - 1) % every
    return Series(series.steps[last::every], series.values[last::every])


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _title(group: str) -> str:
    return f"evaluation: {group.replace('_', ' ')}" if group else "evaluation"


def _colours(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]
