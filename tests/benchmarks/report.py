"""The figures as text, as JSON, and as Markdown with a plot for `.github/docs/benchmarks.md`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.benchmarks.measuring import Case, Figure, Point
from tests.benchmarks.server import ROOT

DOCS = ROOT / ".github" / "docs"
_BEGIN, _END = "<!-- written by --docs: begin -->\n", "<!-- written by --docs: end -->\n"
_PLOT = "growth.svg"
_VERDICTS = {None: "", True: "met", False: "MISSED"}
_LIBRARIES = ("qianfan", "urllib3", "requests", "pydantic")


def as_json(found: Mapping[str, Case]) -> dict[str, Any]:
    """Return what was found, and on which machine."""
    return {
        "machine": _machine(),
        "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
        "cases": {
            name: {
                "figures": [
                    {**asdict(figure), "target": _target(figure) or None, "met": figure.is_met}
                    for figure in case.figures
                ],
                "points": [asdict(point) for point in case.points],
                "notes": case.notes,
            }
            for name, case in found.items()
        },
    }


def as_text(name: str, case: Case) -> str:
    """Return the lines of a case, for a terminal."""
    figures = [
        f"{name:10}{figure.name:52}{_value(figure):>10}  {figure.unit:10}{_target(figure):10}"
        f"{_VERDICTS[figure.is_met]}".rstrip()
        for figure in case.figures
    ]
    points = [
        f"{name:10}{f'{point.operation}, {point.count:,} {point.of}':52}{_time_and_memory(point):>20}"
        for point in case.points
    ]
    return "\n".join([*figures, *points, *case.notes, ""])


def write_docs(found: Mapping[str, Case]) -> None:
    """Replace the figures in the documentation, and the plot."""
    page = DOCS / "benchmarks.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    page.write_text(f"{before}{_BEGIN}\n{as_markdown(found)}\n{_END}{after}", encoding="utf-8")
    _plot([point for case in found.values() for point in case.points], DOCS / _PLOT)


def as_markdown(found: Mapping[str, Case]) -> str:
    """Return the figures as tables."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES)
    lines = [
        f"Measured with `python -m tests.benchmarks --docs` on {_machine()}; {versions}.",
        "",
        "| case | figure | value | target |",
        "| --- | --- | ---: | --- |",
    ]
    for name, case in found.items():
        lines += [
            f"| `{name}` | {figure.name} | {f'{_value(figure)} {figure.unit}'.rstrip()} "
            f"| {_target(figure)} {_VERDICTS[figure.is_met]} |".replace("|  |", "| |")
            for figure in case.figures
        ]
    points = [point for case in found.values() for point in case.points]
    for of in dict.fromkeys(point.of for point in points):
        lines += ["", *_growth_table(of, [point for point in points if point.of == of])]
    if points:
        lines += ["", f"![How time and memory grow with the number of records and tasks]({_PLOT})"]
    return "\n".join([*lines, ""])


def _growth_table(of: str, points: list[Point]) -> list[str]:
    counts = sorted({point.count for point in points})
    cells = {(point.operation, point.count): _time_and_memory(point) for point in points}
    return [
        f"| {of} | {' | '.join(f'{count:,}' for count in counts)} |",
        f"| --- |{' ---: |' * len(counts)}",
        *(
            f"| `{operation}` | {' | '.join(cells[operation, count] for count in counts)} |"
            for operation in dict.fromkeys(point.operation for point in points)
        ),
    ]


def _machine() -> str:
    system, python = f"{platform.system()} {platform.machine()}", platform.python_version()
    return f"{system} with {os.cpu_count()} cores, Python {python}"


def _value(figure: Figure) -> str:
    is_count = figure.unit in ("modules", "") and figure.value == int(figure.value)
    return f"{figure.value:.{0 if is_count else 2}f}"


def _target(figure: Figure) -> str:
    return str(figure.target) if figure.target else ""


def _time_and_memory(point: Point) -> str:
    return f"{point.seconds:.3g} s, {point.megabytes:.1f} MB"


def _plot(points: list[Point], path: Path) -> None:
    """Write a plot of time and memory, with logarithmic axes: a straight line is a power of the number."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    mpl.rcParams.update({"svg.hashsalt": _PLOT, "svg.fonttype": "none", "font.size": 9})
    canvas = Canvas(figsize=(9, 6.5), layout="constrained")
    kinds = list(dict.fromkeys(point.of for point in points))
    axes = canvas.subplots(2, len(kinds), squeeze=False)
    for column, of in enumerate(kinds):
        for row, (attribute, unit) in enumerate({"seconds": "seconds", "megabytes": "MB"}.items()):
            axis = axes[row][column]
            for operation in dict.fromkeys(point.operation for point in points if point.of == of):
                line = [point for point in points if point.operation == operation]
                axis.plot(
                    [point.count for point in line],
                    [max(getattr(point, attribute), 0.001) for point in line],
                    marker="o",
                    label=operation,
                )
            axis.set(xscale="log", yscale="log", xlabel=of, ylabel=unit)
            axis.grid(alpha=0.3)
            axis.legend()
    canvas.savefig(path, metadata={"Date": None, "Creator": None})
