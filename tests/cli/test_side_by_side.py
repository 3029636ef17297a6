"""A sandbox, the raw SDK and the command, each in a process of its own, on the same tasks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import qf_tasks

_COMMAND = [sys.executable, "-m", "qf_tasks"]
_ROOT = Path(qf_tasks.__file__).parents[1]
_RAW = """
import json, sys
from qianfan.resources.console.utils import call_action
action, params = sys.argv[1], json.loads(sys.argv[2])
print(json.dumps(call_action("/v2/batchinference", action, params).body["result"]))
"""
_NEW = """{"name": "by-the-sdk", "endpoint": "ernie-x1-turbo-32k",
"inputBosUri": "bos:/bucket/in/", "outputBosUri": "bos:/bucket/out/"}"""


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """Return the variables that `qf-tasks sandbox` prints, while it serves."""
    command = [*_COMMAND, "sandbox", "--tasks", "3", "--speed", "100"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=_ROOT
    ) as serving:
        assert serving.stdout
        exports = [serving.stdout.readline().split()[1] for _ in range(3)]
        yield {**os.environ, **dict(pair.split("=", 1) for pair in exports)}
        serving.send_signal(signal.SIGINT)
        serving.communicate(timeout=60)
    assert serving.returncode == 0


def run(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        command, env=environment, cwd=_ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout.strip()


def test_a_task_created_by_the_sdk_is_deleted_by_the_command(environment: dict[str, str]) -> None:
    raw = [sys.executable, "-c", _RAW]
    code, created = run([*raw, "CreateBatchInferenceTask", _NEW], environment)
    assert code == 0

    task_id = created.split('"')[3]
    code, deleted = run([*_COMMAND, "delete", task_id, "--stop-first", "--ids"], environment)

    assert (code, deleted) == (0, task_id)
    code, _ = run([*raw, "DescribeBatchInferenceTask", f'{{"taskId": "{task_id}"}}'], environment)
    assert code != 0
