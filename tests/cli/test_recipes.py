"""The recipes of the documentation run; those that need other packages do so with `-m recipes`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import qf_tasks
from qf_tasks import Job
from qf_tasks.sandbox import Sandbox

_CHECKOUT = Path(qf_tasks.__file__).parents[1]
_PAGE = (_CHECKOUT / ".github" / "docs" / "recipes.md").read_text("utf-8")
_BLOCK = re.compile(r"^```(?:bash|py)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_RECIPES = {
    section.partition("\n")[0]: block[1]
    for section in _PAGE.split("\n## ")
    if (block := _BLOCK.search(section))
}


@pytest.fixture
def fast_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Return a sandbox that runs a task in no time; the working directory has the records of the recipes."""
    monkeypatch.chdir(tmp_path)
    records = [json.dumps({"id": f"r{number}", "query": f"Question {number}"}) for number in range(3)]
    Path("questions.jsonl").write_text("\n".join(records), "utf-8")
    with Sandbox(speed=1000) as sandbox:
        for name, value in sandbox.env().items():
            monkeypatch.setenv(name, value)
        yield sandbox


def run_script(text: str) -> subprocess.CompletedProcess[str]:
    """Run a script where `qf-tasks` is the command of this interpreter."""
    Path("bin").mkdir(exist_ok=True)
    command = Path("bin/qf-tasks")
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m qf_tasks "$@"\n', "utf-8")
    command.chmod(0o755)
    Path("script.sh").write_text(text, "utf-8")
    environment = {
        **os.environ,
        "PATH": f"{command.parent.resolve()}:{os.environ['PATH']}",
        "PYTHONPATH": str(_CHECKOUT),
    }
    return subprocess.run(
        ["/bin/bash", "script.sh"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_cron_script_answers_a_day_once(fast_sandbox: Sandbox) -> None:
    first = run_script(_RECIPES["cron"])
    requests = len(fast_sandbox.requests)
    second = run_script(_RECIPES["cron"])

    [results] = Path().glob("results-*.jsonl")
    [report] = Path().glob("run-*.json")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert len(results.read_text("utf-8").splitlines()) == 3
    assert json.loads(report.read_text("utf-8"))["outcomes"] == {"succeeded": 3}
    assert (len(fast_sandbox.tasks), len(fast_sandbox.requests)) == (1, requests)


def test_the_dolphinscheduler_task_can_be_repeated(fast_sandbox: Sandbox, tmp_path: Path) -> None:
    script = _RECIPES["DolphinScheduler"].replace("/data/nightly/${system.biz.date}", str(tmp_path))
    script = script.replace("${system.biz.date}", "20250601")  # as the scheduler does

    first, second = run_script(script), run_script(script)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert json.loads(first.stdout) == json.loads(second.stdout)
    assert [uri for uri in fast_sandbox.objects if uri.endswith("/20250601/job.json")]
    assert len(fast_sandbox.tasks) == 1


@pytest.fixture
def lost_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first wait for a job fail."""
    original = Job.run
    failures = iter([ConnectionError("the connection was lost")])

    def run(job: Job, **keywords: Any) -> Any:
        for failure in failures:
            raise failure
        return original(job, **keywords)

    monkeypatch.setattr(Job, "run", run)


def executed(code: str) -> dict[str, Any]:
    """Return the names that a module with this code has."""
    namespace: dict[str, Any] = {"__name__": "recipe"}
    exec(compile(code, "recipe", "exec", dont_inherit=True), namespace)
    return namespace


@pytest.mark.recipes
@pytest.mark.usefixtures("lost_once")
@pytest.mark.filterwarnings("default")
def test_the_prefect_flow_continues_its_job_in_a_retry(fast_sandbox: Sandbox) -> None:
    testing = pytest.importorskip("prefect.testing.utilities")
    namespace = executed(_RECIPES["Prefect"].replace("retry_delay_seconds=60", "retry_delay_seconds=0"))

    with testing.prefect_test_harness(server_startup_timeout=180):
        count = namespace["nightly"]("2025-06-01")

    assert (count, len(fast_sandbox.tasks)) == (3, 1)


@pytest.mark.recipes
@pytest.mark.usefixtures("lost_once")
@pytest.mark.filterwarnings("default")
def test_the_dagster_asset_continues_its_job_in_a_retry(fast_sandbox: Sandbox) -> None:
    dg = pytest.importorskip("dagster")
    namespace = executed(_RECIPES["Dagster"].replace("delay=60", "delay=0"))

    result = dg.materialize([namespace["answers"]], partition_key="2025-06-01")

    [event] = result.get_asset_materialization_events()
    assert event.materialization.metadata["records"].value == 3
    assert len(fast_sandbox.tasks) == 1
