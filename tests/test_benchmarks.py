"""Every case of the benchmarks runs and gives figures; their values are not tested."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
CASES = ["delete", "overhead", "bulk", "wait", "waits", "gets", "listing", "import"]
WITH_TARGETS = ["delete", "bulk", "wait", "waits", "listing", "import"]


def run(*options: str) -> str:
    """Return what a tiny run prints."""
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run("--json"))
    return document


@pytest.mark.parametrize("case", CASES)
def test_json_of_a_case_has_finite_figures(found: dict[str, Any], case: str) -> None:
    values = [figure["value"] for figure in found["cases"][case]["figures"]]
    assert values
    assert all(map(math.isfinite, values))


@pytest.mark.parametrize("case", WITH_TARGETS)
def test_json_of_a_case_with_targets_says_whether_they_are_met(found: dict[str, Any], case: str) -> None:
    with_target = [figure for figure in found["cases"][case]["figures"] if figure["target"]]
    assert with_target
    assert all(isinstance(figure["met"], bool) for figure in with_target)


def test_json_names_the_versions_that_were_measured(found: dict[str, Any]) -> None:
    assert {"qianfan", "requests", "pydantic"} <= found["versions"].keys()


def test_import_case_finds_no_heavy_library_behind_the_client(found: dict[str, Any]) -> None:
    assert found["cases"]["import"]["notes"] == []


def test_table_of_one_case_has_its_figures_and_profile_alone() -> None:
    table = run("--only", "overhead")
    assert "ours, above the session" in table
    assert "tottime" in table
    assert "https, ours" not in table
