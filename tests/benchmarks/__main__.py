"""`python -m tests.benchmarks`: run the cases, and print what they found."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import calls, data, growth, imports, many, report, waits
from tests.benchmarks.measuring import FULL, QUICK, Case, Size

CASES: dict[str, Callable[[Size], Case]] = {
    "delete": calls.delete,
    "overhead": calls.overhead,
    "bulk": many.bulk,
    "wait": many.wait,
    "waits": waits.waits,
    "gets": waits.gets,
    "listing": many.listing,
    "shards": data.shards,
    "objects": data.small_objects,
    "lines": data.lines,
    "import": imports.imports,
    "growth": growth.growth,
}
_REACHING_IN = ("QIANFAN_", "QF_TASKS_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


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
        print(report.as_text(name, found[name]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(report.as_json(found), indent=2), encoding="utf-8")
    if options.docs:
        report.write_docs(found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=CASES, metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    parser.add_argument("--docs", action="store_true", help="also write the figures into .github/docs")
    parser.add_argument("--quick", action="store_true", help="see whether it runs; the figures say nothing")
    options = parser.parse_args()
    if options.docs and (options.only or options.quick):
        parser.error("--docs needs all cases at full size")
    return options


if __name__ == "__main__":
    main()
