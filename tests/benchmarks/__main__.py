"""`python -m tests.benchmarks`: run the cases, and print what they found."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from tests.benchmarks import calls, data, imports, many, waits
from tests.benchmarks.measuring import FULL, QUICK, Case, Figure, Size

CASES: dict[str, Callable[[Size], Case]] = {
    "delete": calls.delete,
    "overhead": calls.overhead,
    "bulk": many.bulk,
    "wait": many.wait,
    "waits": waits.waits,
    "gets": waits.gets,
    "listing": many.listing,
    "shards": data.shards,
    "small": data.small_objects,
    "results": data.join_results,
    "import": imports.imports,
}
_REACHING_IN = ("QIANFAN_", "QF_TASKS_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_VERDICTS = {None: "", True: "met", False: "MISSED"}


def main() -> None:
    """Measure what was asked for."""
    options = _options()
    for name in list(os.environ):
        if name.upper().startswith(_REACHING_IN):  # the raw SDK listens to these
            del os.environ[name]
    size = QUICK if options.quick else FULL
    found = {}
    for name in options.only or CASES:
        print(f"{name} …", file=sys.stderr)
        found[name] = CASES[name](size)
    print(json.dumps(_document(found), indent=2) if options.json else _table(found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=CASES, metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help="see whether it runs; the figures say nothing")
    return parser.parse_args()


def _document(found: Mapping[str, Case]) -> dict[str, Any]:
    """Return what was found, and on which machine, as JSON has it."""
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: importlib.metadata.version(name) for name in ("qianfan", "requests", "pydantic")},
        "cases": {
            name: {
                "figures": [
                    {**asdict(figure), "target": _target(figure) or None, "met": figure.is_met}
                    for figure in case.figures
                ],
                "notes": case.notes,
            }
            for name, case in found.items()
        },
    }


def _table(found: Mapping[str, Case]) -> str:
    lines = [f"{'':10}{'':52}{'value':>10}  {'unit':10}{'target':10}"]
    for name, case in found.items():
        lines += ["", *(_row(name, figure) for figure in case.figures), *case.notes]
    return "\n".join(lines)


def _row(case: str, figure: Figure) -> str:
    digits = 0 if figure.unit in ("modules", "") and figure.value == int(figure.value) else 2
    value = f"{figure.value:10.{digits}f}  {figure.unit:10}"
    return f"{case:10}{figure.name:52}{value}{_target(figure):10}{_VERDICTS[figure.is_met]}".rstrip()


def _target(figure: Figure) -> str:
    return str(figure.target) if figure.target else ""


if __name__ == "__main__":
    main()
