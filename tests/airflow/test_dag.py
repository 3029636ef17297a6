"""DAGs run by `dag.test()`, with database, XComs and triggers of the Airflow that is installed."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qf_tasks.sandbox import Sandbox

DAGS = Path(os.environ["AIRFLOW_HOME"], "dags")
CREATE, DELETE = "CreateBatchInferenceTask", "DeleteBatchInferenceTask"

INFERENCE = """
from datetime import datetime
try:
    from airflow.sdk import DAG
except ImportError:
    from airflow.models import DAG
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


def run_dag(name: str, code: str) -> Any:
    """Run the DAG of a file in the folder of DAGs, and return the DAG run."""
    path = DAGS / f"{name}.py"
    path.write_text(code, "utf-8")
    return runpy.run_path(str(path))["dag"].test()


def test_dag_creates_waits_and_deletes(sandbox: Sandbox) -> None:
    run = run_dag("inference", INFERENCE)

    assert run.state == "success"
    assert sandbox.tasks == {}
    actions = [request.action for request in sandbox.requests]
    assert (actions.count(CREATE), actions.count(DELETE)) == (1, 1)
