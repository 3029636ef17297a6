"""A bulk run whose process is killed: the journal, what is left, and the next run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qf_tasks import TaskClient
from qf_tasks.sandbox import Fault, Sandbox

ROOT = Path(__file__).parents[2]
WORKERS = 4
DELETE = "DeleteBatchInferenceTask"
PROGRAM = f"""
import sys
from qf_tasks import TaskClient
journal, *task_ids = sys.stdin.read().split()
TaskClient().delete_many(task_ids, journal=journal, max_workers={WORKERS})
"""


@pytest.fixture
def child(sandbox: Sandbox) -> Iterator[subprocess.Popen[str]]:
    """Return a process that deletes the tasks named on its standard input."""
    environment = {**os.environ, **sandbox.env(), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        process.kill()


def test_delete_many_after_killed_run_completes_it(
    client: TaskClient, sandbox: Sandbox, child: subprocess.Popen[str], tmp_path: Path
) -> None:
    task_ids, responses = sandbox.add_tasks(60), 17
    journal = tmp_path / "journal"

    def kill(body: Any) -> Any:
        child.send_signal(signal.SIGKILL)
        child.wait()
        return body

    sandbox.inject(Fault.transform(kill), action=DELETE, skip=responses)
    child.communicate(" ".join([str(journal), *task_ids]))

    assert child.returncode == -signal.SIGKILL
    gone = set(task_ids) - set(sandbox.tasks)
    lines = [line for line in journal.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    entries = [json.loads(line) for line in lines]
    intended = {entry["task_id"] for entry in entries if entry["event"] == "intent"}
    settled = {entry["task_id"] for entry in entries if entry["event"] == "outcome"}
    assert responses < len(gone) < 60
    assert settled <= gone <= intended
    assert 1 <= len(intended - settled) <= WORKERS

    report = client.delete_many(task_ids, journal=journal)

    outcomes = {outcome.task_id: outcome.outcome for outcome in report}
    assert sandbox.tasks == {}
    assert {outcomes[task_id] for task_id in gone} == {"already_gone"}
    # The others may have been deleted by a request that was still on its way.
    assert {outcomes[task_id] for task_id in set(task_ids) - intended} == {"deleted"}
