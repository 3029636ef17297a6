"""What the tests of the Airflow provider share; `.ci/airflow` runs them where Airflow is installed."""

from __future__ import annotations

import json
import os
import tempfile
from types import SimpleNamespace
from typing import Any

# Airflow reads them when it is imported.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "True"
os.environ["_AIRFLOW__SKIP_DATABASE_EXECUTOR_COMPATIBILITY_CHECK"] = "1"  # Airflow 2 with SQLite

import pytest

from qf_tasks.sandbox import Sandbox


def pytest_configure(config: pytest.Config) -> None:
    """Allow warnings: Airflow and what it needs cause many."""
    config.addinivalue_line("filterwarnings", "default")


@pytest.fixture(autouse=True)
def connection(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Define the connection `qianfan_default`, which leads to the sandbox."""
    if request.node.get_closest_marker("standalone"):
        return  # Airflow has it in its database
    sandbox: Sandbox = request.getfixturevalue("sandbox")
    described = {
        "conn_type": "qianfan",
        "login": sandbox.access_key,
        "password": sandbox.secret_key,
        "host": sandbox.url,
        "extra": {"bos_endpoint": sandbox.url},
    }
    monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", json.dumps(described))


class FakeTaskInstance(SimpleNamespace):
    """The part of a task instance that operators use, without a database."""

    def __init__(self, **fields: Any) -> None:
        defaults = {"dag_id": "nightly", "task_id": "ask", "run_id": "manual__1", "map_index": -1}
        super().__init__(**{**defaults, "max_tries": 2, "start_date": None, **fields})
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


def context_of(operator: Any, **fields: Any) -> Any:
    """Return the context of one try; `fields` are those of the task instance."""
    return {"ti": FakeTaskInstance(**fields), "task": operator}
