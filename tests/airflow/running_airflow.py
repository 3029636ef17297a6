"""A running Airflow in processes of its own, for tests that kill them."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import psutil
from airflow import __version__

IS_AIRFLOW_3 = __version__.startswith("3.")

_PASSWORD = "admin"
_PATIENCE = 120.0


def until(condition: Callable[[], Any], what: str, timeout: float = _PATIENCE) -> Any:
    """Return what a condition returns as soon as that is true."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not in {timeout:g} s: {what}")
        time.sleep(0.1)
    return value


class Airflow:
    """Scheduler with workers, triggerer, and the server of the REST API, with SQLite."""

    def __init__(self, home: Path, connection: dict[str, Any], dags: str) -> None:
        self.home = home
        self.port = _free_port()
        self._connection = connection
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = _settings(home, self.port)
        (home / "dags").mkdir(parents=True)
        (home / "dags" / "dags.py").write_text(dags, "utf-8")

    def __enter__(self) -> Self:
        self._run("db", "migrate")
        self._run("connections", "add", "qianfan_default", "--conn-json", json.dumps(self._connection))
        if IS_AIRFLOW_3:
            components = ["api-server", "scheduler", "dag-processor", "triggerer"]
            self.start("api-server", "--port", str(self.port), "--workers", "1")
        else:
            self._run(
                "users", "create", "--username", "admin", "--password", _PASSWORD, "--role", "Admin",
                "--firstname", "a", "--lastname", "b", "--email", "a@example.com",
            )  # fmt: skip
            components = ["webserver", "scheduler", "triggerer"]
            self.start("webserver", "--port", str(self.port), "--workers", "1")
        for component in components[1:]:
            self.start(component)
        until(lambda: self._try_request("GET", "/dags")["total_entries"], "DAGs are known")
        return self

    def __exit__(self, *_: object) -> None:
        for component in list(self._processes):
            self.kill(component, signal.SIGTERM)

    def start(self, component: str, *arguments: str) -> None:
        """Start a component; its output is in a file of its name."""
        with (self.home / f"{component}.log").open("ab") as log:
            self._processes[component] = subprocess.Popen(
                [sys.executable, "-m", "airflow", component, *arguments],
                env={**os.environ, **self._environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, component: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to a component and all its processes, and wait for its end."""
        process = self._processes.pop(component)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        if number == signal.SIGKILL:
            for child in children:
                child.kill()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        psutil.wait_procs(children, 5)
        for child in children:
            if child.is_running():
                child.kill()

    def kill_worker(self, port: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to the worker that is connected to a port of this machine."""
        scheduler = psutil.Process(self._processes["scheduler"].pid)

        def connected() -> list[psutil.Process]:
            return [
                process
                for process in scheduler.children(recursive=True)
                if any(found.raddr and found.raddr.port == port for found in process.net_connections("tcp4"))
            ]

        for process in until(connected, "a worker is connected"):
            process.send_signal(number)

    # What users do

    def trigger(self, dag: str) -> str:
        run = f"manual__{secrets.token_hex(3)}"
        without_date = {"logical_date": None} if IS_AIRFLOW_3 else {}
        self._request("POST", f"/dags/{dag}/dagRuns", {"dag_run_id": run, **without_date})
        return run

    def mark(self, dag: str, run: str, state: str) -> None:
        body = {"new_state": state} if IS_AIRFLOW_3 else {"new_state": state, "dry_run": False}
        self._request("PATCH", f"/dags/{dag}/dagRuns/{run}/taskInstances/ask", body)

    def clear(self, dag: str, run: str) -> None:
        if not IS_AIRFLOW_3 and "running" in self.states(dag, run):
            # The REST API of Airflow 2 answers that it has cleared a running task, and does not.
            self._run("tasks", "clear", dag, "--only-running", "--yes")
            return
        body = {
            "dry_run": False,
            "task_ids": ["ask"],
            "dag_run_id": run,
            "only_failed": False,
            "reset_dag_runs": True,
        }
        self._request("POST", f"/dags/{dag}/clearTaskInstances", body)

    def backfill(self, dag: str, first: str, last: str) -> None:
        if not IS_AIRFLOW_3:
            self._run("dags", "backfill", dag, "--start-date", first, "--end-date", last)
            return
        # With SQLite, Airflow 3 can make a backfill only while nothing else writes.
        writers = ("scheduler", "dag-processor", "triggerer")
        for component in writers:
            self.kill(component, signal.SIGTERM)
        self._run("backfill", "create", "--dag-id", dag, "--from-date", first, "--to-date", last)
        for component in writers:
            self.start(component)

    def states(self, dag: str, run: str) -> list[str]:
        """Return the states of all task instances of a run."""
        found = self._request("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances")
        return [str(instance["state"]) for instance in found["task_instances"]]

    def wait_for(self, dag: str, run: str, state: str, count: int = 1) -> None:
        def reached() -> bool:
            states = self.states(dag, run)
            return len(states) == count and set(states) == {state}

        until(reached, f"{count} task instances of {dag} are {state}")

    def _try_request(self, method: str, path: str) -> Any:
        try:
            return self._request(method, path)
        except (OSError, KeyError):
            return {"total_entries": 0}

    def _request(self, method: str, path: str, body: object = None) -> Any:
        version = "v2" if IS_AIRFLOW_3 else "v1"
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/{version}{path}",
            json.dumps(body).encode() if body else None,
            {"Content-Type": "application/json", "Authorization": self._authorization()},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise OSError(f"{method} {path}: {error.code} {error.read()!r}") from error

    def _authorization(self) -> str:
        if not IS_AIRFLOW_3:
            return f"Basic {b64encode(f'admin:{_PASSWORD}'.encode()).decode()}"
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/auth/token", timeout=30) as response:
            return f"Bearer {json.load(response)['access_token']}"

    def _run(self, *arguments: str) -> None:
        with (self.home / "commands.log").open("ab") as log:
            subprocess.run(
                [sys.executable, "-m", "airflow", *arguments],
                env={**os.environ, **self._environment},
                check=True,
                stdout=log,
                stderr=log,
            )


def _settings(home: Path, port: int) -> dict[str, str]:
    secret = secrets.token_hex(32)
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__API__AUTH_BACKENDS": "airflow.api.auth.backend.basic_auth",
        "AIRFLOW__API__SECRET_KEY": secret,
        "AIRFLOW__API_AUTH__JWT_SECRET": secret,
        "AIRFLOW__WEBSERVER__SECRET_KEY": secret,
        "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "1",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "5",
    }


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
