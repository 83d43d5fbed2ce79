"""The plots of the report, as SVG: the same figures give the same bytes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from tests.bench import systems
from tests.bench.record import Record, Results
from tests.bench.targets import UNIX, UNIX_BASE

STYLE: Any = {
    "svg.hashsalt": "bench",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}
COLOURS = {
    systems.OURS: "#0072b2",
    systems.FLOOR: "#000000",
    systems.COTYLEDON: "#009e73",
    systems.OSLO_FORK: "#e69f00",
    systems.OSLO_SPAWN: "#d55e00",
    UNIX: "#56b4e9",
    UNIX_BASE: "#cc79a7",
    "socket": "#999999",
}
SIZE = (7.0, 3.6)  # inches
BUSES = {"unix": "-o", "rabbit": "--s", "none": "-o"}


def draw(results: Results, directory: Path) -> None:
    """All for which there are figures."""
    with mpl.rc_context(STYLE):
        _curves(results.some("start", "seconds"), directory / "start.svg")
        _bars(
            results.some("memory", "pss"),
            directory / "memory.svg",
            label="PSS of the tree, MB",
            group=lambda one: f"N = {one.n}",
        )
        latencies = [
            one for what in ("p50", "p99") for one in results.some("calls", what) if one.n == 4
        ]
        _bars(
            latencies,
            directory / "calls.svg",
            label="latency of a call, ms",
            group=lambda one: one.what,
            scale="log",
        )
        _scale(results, directory / "scale.svg")


def _curves(records: Sequence[Record], path: Path) -> None:
    if not records:
        return
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(name for one in records for name in one.values):
        points = [one for one in records if name in one.values]
        medians = [one.median(name) for one in points]
        below = [
            median - min(one.values[name]) for one, median in zip(points, medians, strict=True)
        ]
        above = [
            max(one.values[name]) - median for one, median in zip(points, medians, strict=True)
        ]
        axes.errorbar(
            [one.n for one in points],
            medians,
            yerr=[below, above],
            color=COLOURS.get(name),
            label=name,
            marker="o",
            capsize=3,
        )
    _by_size(axes)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylabel("seconds from exec to READY=1")
    axes.legend(frameon=False)
    _save(figure, path)


def _bars(
    records: Sequence[Record],
    path: Path,
    *,
    label: str,
    group: Callable[[Record], str],
    scale: str = "linear",
) -> None:
    if not records:
        return
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    names = list(dict.fromkeys(name for one in records for name in one.values))
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        left = [number + place * width for number in range(len(records))]
        heights = [one.median(name) if name in one.values else 0.0 for one in records]
        bars = axes.bar(left, heights, width, label=name, color=COLOURS.get(name))
        axes.bar_label(bars, fmt="{:.3g}", fontsize=7, padding=1)
    middle = 0.4 - width / 2
    axes.set_xticks([number + middle for number in range(len(records))], map(group, records))
    axes.set_yscale(scale)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(visible=False, axis="x")
    axes.set_ylabel(label)
    axes.legend(frameon=False)
    _save(figure, path)


def _scale(results: Results, path: Path) -> None:
    shown = {
        "start": "start, s",
        "pss": "PSS of the tree, MB",
        "master": "CPU of the master, ms/s",
        "round of the monitor": "round of the monitor, ms",
    }
    if not any(one.case == "scale" for one in results.records):
        return
    figure = Figure(figsize=(SIZE[0], 1.5 * SIZE[1]), layout="constrained")
    for axes, (what, label) in zip(figure.subplots(2, 2).flat, shown.items(), strict=True):
        for bus, line in BUSES.items():
            records = results.some("scale", what, bus)
            if records:
                medians = [one.median(systems.OURS) for one in records]
                axes.plot([one.n for one in records], medians, line, label=bus, markersize=4)
                _by_size(axes)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_title(label, fontsize=9, loc="left")
        if what != "round of the monitor":
            axes.legend(frameon=False)
    _save(figure, path)


def _by_size(axes: Any) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("workers")


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None, "Creator": None})
