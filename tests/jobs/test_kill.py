"""Programs that are killed at any moment and run again: one task for each shard, each record once.

python -m pytest -m soak tests/jobs
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qf_tasks.sandbox import Fault, Sandbox
from qf_tasks.sandbox.http_messages import Response

from .conftest import BOS_URI, questions

ROOT = Path(__file__).parents[2]
RECORDS = 60
FAULTS = [
    Fault.reset_before(),
    Fault.reset_after(),
    Fault.truncated(),
    Fault.reset_during(),
    Fault.status(429),
    Fault.status(503),
    Fault.status(500, applied=True),
    Fault.html(502),
]
PROGRAM = f"""
import json, sys
from qf_tasks import TaskClient
records = [{{"id": str(number), "query": f"question {{number}}"}} for number in range(1, {RECORDS} + 1)]
with TaskClient(max_retries=8, max_retry_wait=0.05) as client:
    job = client.submit(
        records, bos_uri={BOS_URI!r}, endpoint="ernie", max_records_per_task=RECORDS_PER_TASK
    )
    job.run(poll_interval=0.1)
    for result in job.results():
        print(json.dumps([result.id, result.outcome]))
"""


@contextmanager
def program(sandbox: Sandbox, records_per_task: int) -> Iterator[subprocess.Popen[str]]:
    """Run a process that submits a job, runs it and prints its results."""
    source = PROGRAM.replace("RECORDS_PER_TASK", str(records_per_task))
    environment = {**os.environ, **sandbox.env(), "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", source]
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


class Kill(Fault):
    """Kills the client before it gets a response; the request is carried out or not."""

    def apply_to(self, response: Response, request_id: str) -> Response:
        assert self.function
        self.function(request_id)
        return response


def run_and_kill(sandbox: Sandbox, records_per_task: int, request: int, *, applied: bool) -> bool:
    """Run the program until some request, and return whether it was killed there."""
    with program(sandbox, records_per_task) as process:

        def kill(_: object) -> None:
            process.send_signal(signal.SIGKILL)
            process.wait()

        sandbox.inject(Kill(applied=applied, function=kill, sends="nothing"), skip=request)
        process.communicate()
        return process.returncode == -signal.SIGKILL


def run_to_the_end(sandbox: Sandbox, records_per_task: int) -> str:
    """Run the program, and return what it prints."""
    with program(sandbox, records_per_task) as process:
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        return output


def check(sandbox: Sandbox, output: str, tasks: int) -> None:
    outcomes = [json.loads(line) for line in output.splitlines()]
    assert sorted(outcomes) == sorted([record["id"], "succeeded"] for record in questions(RECORDS))
    names = Counter(task["name"] for task in sandbox.tasks.values())
    assert names == {f"nightly-{number:04d}": 1 for number in range(1, tasks + 1)}
    stored = Counter(uri.removeprefix(BOS_URI).split("/")[0] for uri in sandbox.objects)
    assert stored == {"job.json": 1, "input": tasks, "tasks": tasks, "output": tasks}
    assert sandbox.errors == []
    assert sandbox.unexpected == []


def test_job_whose_programs_are_killed_has_one_task_for_each_shard() -> None:
    with Sandbox(speed=300) as sandbox:
        sandbox.inject_random(0.05, FAULTS, seed=1)

        killed = [run_and_kill(sandbox, 20, request, applied=request % 2 == 0) for request in (4, 11, 18, 40)]

        assert killed[:3] == [True] * 3
        check(sandbox, run_to_the_end(sandbox, 20), tasks=3)


@pytest.mark.soak
def test_soak_of_jobs_killed_at_random_moments(capsys: pytest.CaptureFixture[str]) -> None:
    moments = random.Random(4)  # noqa: S311 - not for cryptography
    killed = Counter[str | None]()
    for round_number in range(20):
        with Sandbox(speed=300) as sandbox:
            sandbox.inject_random(0.05, FAULTS, seed=round_number)
            for _ in range(2):
                request = moments.randrange(80)
                if run_and_kill(sandbox, 10, request, applied=moments.random() < 0.7):
                    killed[sandbox.requests[-1].action] += 1
            check(sandbox, run_to_the_end(sandbox, 10), tasks=6)
    with capsys.disabled():
        sys.stdout.write(f"\n{sum(killed.values())} programs killed, by last request: {dict(killed)}\n")
