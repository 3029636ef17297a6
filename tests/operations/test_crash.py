"""A run that is killed outright: the journal, what is left, and the run after it."""

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
    """Yield a process that deletes what it is told to."""
    environment = {**os.environ, **sandbox.env(), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("answered", [0, 17])
def test_run_that_was_killed_is_in_the_journal_and_can_be_gone_on_with(
    client: TaskClient, sandbox: Sandbox, child: subprocess.Popen[str], tmp_path: Path, answered: int
) -> None:
    task_ids = sandbox.add_tasks(60)
    journal = tmp_path / "journal"

    def kill(answer: Any) -> Any:
        child.send_signal(signal.SIGKILL)
        child.wait()
        return answer

    sandbox.inject(Fault.transform(kill), action=DELETE, skip=answered)
    child.communicate(" ".join([str(journal), *task_ids]))

    assert child.returncode == -signal.SIGKILL
    gone = set(task_ids) - set(sandbox.tasks)
    lines = [
        json.loads(line) for line in journal.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")
    ]
    intended = {line["task_id"] for line in lines if line["event"] == "intent"}
    settled = {line["task_id"] for line in lines if line["event"] == "outcome"}
    assert answered < len(gone) < 60
    assert settled <= gone <= intended
    assert 1 <= len(intended - settled) <= WORKERS

    report = client.delete_many(task_ids, journal=journal)

    told = {outcome.task_id: outcome.outcome for outcome in report}
    assert sandbox.tasks == {}
    assert {told[task_id] for task_id in gone} == {"already_gone"}
    # Those neither gone nor untouched may have been deleted by a request that was still on its way.
    assert {told[task_id] for task_id in set(task_ids) - intended} == {"deleted"}
