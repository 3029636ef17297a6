"""DAGs run by `dag.test()`, with database, XComs and triggers of the Airflow that is installed."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import runpy
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qf_tasks.airflow._compat import IS_AIRFLOW_3, task_instance_state
from qf_tasks.sandbox import Sandbox

PAGE = Path(__file__).parents[2] / ".github" / "docs" / "airflow.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
DAGS = Path(os.environ["AIRFLOW_HOME"], "dags")
CREATE, DELETE = "CreateBatchInferenceTask", "DeleteBatchInferenceTask"

INFERENCE = """
from datetime import datetime
from airflow import DAG
from qf_tasks.airflow.operators import QianfanBatchInferenceOperator, QianfanDeleteTasksOperator
from qf_tasks.airflow.sensors import QianfanTaskSensor

with DAG("inference", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    ask = QianfanBatchInferenceOperator(
        task_id="ask",
        input_bos_uri="bos:/bucket/{{ run_id }}/in/",
        output_bos_uri="bos:/bucket/{{ run_id }}/out/",
        endpoint="ernie-x1-turbo-32k",
        deferrable=True,
        poll_interval=0.5,
    )
    task_id = "{{ ti.xcom_pull('ask')['task_id'] }}"
    wait = QianfanTaskSensor(task_id="wait", tasks=task_id, deferrable=True)
    ask >> wait >> QianfanDeleteTasksOperator(task_id="delete", tasks=task_id)
"""


@pytest.fixture(scope="session", autouse=True)
def database() -> None:
    """Create the tables in the home of Airflow."""
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
    DAGS.mkdir()


@pytest.fixture(autouse=True)
def running_clock(sandbox: Sandbox) -> Iterator[None]:
    """Let the tasks of the sandbox end after a moment."""
    ended = threading.Event()

    def advance() -> None:
        while not ended.wait(0.2):
            sandbox.advance(20)

    thread = threading.Thread(target=advance)
    thread.start()
    yield
    ended.set()
    thread.join()


def run_dag(code: str) -> Any:
    """Run the DAG of a file in the folder of DAGs, and return the DAG run, which has succeeded."""
    path = DAGS / f"{hashlib.md5(code.encode()).hexdigest()}.py"  # noqa: S324
    path.write_text(code, "utf-8")
    try:
        run = runpy.run_path(str(path))["dag"].test()
    finally:
        path.unlink()
    assert run.state == "success"
    return run


def example(dag: str) -> str:
    """Return the code of an example of the documentation."""
    (code,) = (code for code in EXAMPLES if f'DAG("{dag}"' in code)
    return str(code)


def count(sandbox: Sandbox, action: str) -> int:
    return sum(request.action == action for request in sandbox.requests)


def test_dag_creates_waits_and_deletes(sandbox: Sandbox) -> None:
    run_dag(INFERENCE)

    assert sandbox.tasks == {}
    assert (count(sandbox, CREATE), count(sandbox, DELETE)) == (1, 1)


@pytest.mark.skipif(IS_AIRFLOW_3, reason="triggers of Airflow 3 ask their supervisor")
def test_task_instance_state_is_that_of_the_database() -> None:
    run = run_dag(INFERENCE)
    instance = SimpleNamespace(dag_id=run.dag_id, run_id=run.run_id, task_id="ask", map_index=-1)

    assert asyncio.run(task_instance_state(instance)) == "success"
    instance.run_id = "another"
    assert asyncio.run(task_instance_state(instance)) is None


def test_example_nightly_writes_the_answers() -> None:
    run_dag(example("nightly"))

    (path,) = Path.cwd().glob("answers-*.jsonl")
    assert len(path.read_text("utf-8").splitlines()) == 100


def test_example_subjects_runs_a_job_for_each(sandbox: Sandbox) -> None:
    for subject in ("law", "physics"):
        sandbox.put(f"bos:/my-bucket/prepared/{subject}/a.jsonl", '{"id": "1", "query": "Why?"}\n')

    run_dag(example("subjects"))

    assert sorted(task["inputBosUri"] for task in sandbox.tasks.values()) == [
        "bos:/my-bucket/prepared/law/",
        "bos:/my-bucket/prepared/physics/",
    ]


def test_example_purge_deletes_old_tasks(sandbox: Sandbox) -> None:
    old = sandbox.now - timedelta(days=60)
    sandbox.add_tasks(3, name="nightly-1", create_time=old, finish_time=old)
    kept = sandbox.add_tasks(20, name="nightly-2")

    run_dag(example("purge"))

    assert list(sandbox.tasks) == kept


def test_examples_are_all_tested() -> None:
    assert len(EXAMPLES) == 3
