"""What it costs to import, in fresh processes and net of Python itself."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from typing import Any, NamedTuple

from tests.benchmarks.measuring import MILLI, Case, Figure, Size, at_most
from tests.benchmarks.server import ROOT

_HEAVY = {"aiohttp", "qianfan", "requests", "rich", "typer"}
_HELP = "import runpy; sys.argv = ['qf-tasks', '--help']; runpy.run_module('qf_tasks', run_name='__main__')"
_STATEMENTS = {
    "import qianfan": "import qianfan",
    "import qf_tasks": "import qf_tasks",
    "from qf_tasks import TaskClient": "from qf_tasks import TaskClient",
    "qf-tasks --help": _HELP,
}
_TARGETS = {
    "import qf_tasks": at_most(0.45),
    "from qf_tasks import TaskClient": at_most(0.45),
    "qf-tasks --help": at_most(0.8),
}
# The last line that it prints is what was found; a command ends by SystemExit.
_PROGRAM = """
import sys, time
before, started = len(sys.modules), time.perf_counter()
try:
    {statement}
except SystemExit:
    pass
seconds, modules = time.perf_counter() - started, sorted(sys.modules)
import json
print()
print(json.dumps([seconds, len(modules) - before, modules]))
"""


class _Import(NamedTuple):
    seconds: float
    loaded: int
    modules: list[str]


def imports(size: Size) -> Case:
    """Measure imports against that of the SDK, and find what should not be loaded."""
    turns = [{name: _run(text) for name, text in _STATEMENTS.items()} for _ in range(size.processes + 1)]
    found = turns[-1]
    seconds = {name: statistics.median(turn[name].seconds for turn in turns[1:]) for name in found}
    figures: list[Figure] = []
    for name, (_, loaded, _) in found.items():
        figures.append(Figure(name, seconds[name] * MILLI, "ms"))
        figures.append(Figure(f"{name}, loaded", loaded, "modules"))
        if target := _TARGETS.get(name):
            ratio = seconds[name] / seconds["import qianfan"]
            figures.append(Figure(f"{name} / import qianfan", ratio, target=target))
    heavy = sorted(_HEAVY.intersection(found["from qf_tasks import TaskClient"].modules))
    figures.append(Figure("heavy libraries that TaskClient loads", len(heavy), "modules", at_most(0)))
    return Case(figures, heavy)


def _run(statement: str) -> _Import:
    """Run a statement in a process that may keep what it compiles, as an installed package does."""
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(statement=statement)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        capture_output=True,
        text=True,
        check=True,
    )
    printed: list[Any] = json.loads(ran.stdout.splitlines()[-1])
    return _Import(*printed)
