"""What happens to tasks of the service when Airflow's processes are killed and its users act.

Takes minutes: run by `pytest -m standalone tests/airflow/test_standalone.py -s`, which prints what was seen.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from airflow import __version__

from qf_tasks.sandbox import Fault, Sandbox

from .running_airflow import Airflow, until

pytestmark = pytest.mark.standalone

CREATE, STOP, GET, LIST = (
    "CreateBatchInferenceTask",
    "StopBatchInferenceTask",
    "DescribeBatchInferenceTask",
    "DescribeBatchInferenceTasks",
)

DAGS = """
from datetime import datetime, timedelta
from airflow import DAG
from qf_tasks.airflow.operators import QianfanBatchInferenceOperator

def records(context):
    return [{"query": f"{number} + {number}?"} for number in range(100)]

def dag_of(name, schedule=None, mapped=False, job=False, **arguments):
    end = datetime(2026, 1, 3) if schedule else None
    with DAG(name, schedule=schedule, start_date=datetime(2026, 1, 1), end_date=end, catchup=False) as dag:
        common = dict(
            task_id="ask", retries=2, retry_delay=timedelta(seconds=1), endpoint="ernie-x1-turbo-32k",
            poll_interval=1.0, **arguments,
        )
        if job:
            QianfanBatchInferenceOperator(
                records=records, bos_uri="bos:/bucket/jobs/{{ run_id }}/", **common
            )
            return dag
        common["output_bos_uri"] = "bos:/bucket/{{ run_id }}/out/"
        if mapped:
            sources = [f"bos:/bucket/in/{number}/" for number in range(15)]
            QianfanBatchInferenceOperator.partial(**common).expand(input_bos_uri=sources)
        else:
            QianfanBatchInferenceOperator(input_bos_uri="bos:/bucket/in/", **common)
    return dag

deferred = dag_of("deferred", deferrable=True)
running = dag_of("running", deferrable=False)
job = dag_of("job", job=True, deferrable=True)
mapped = dag_of("mapped", mapped=True, deferrable=True)
daily = dag_of("daily", schedule="@daily", deferrable=True)
leave = dag_of("leave", deferrable=True, timeout=5)
stop = dag_of("stop", deferrable=True, timeout=5, on_timeout="stop")
limited = dag_of("limited", deferrable=True, execution_timeout=timedelta(seconds=12), on_timeout="stop")
"""


@pytest.fixture(scope="module")
def service() -> Iterator[Sandbox]:
    with Sandbox(queue_seconds=0.1, run_seconds=100_000, stop_seconds=2) as running:
        yield running


@pytest.fixture(scope="module")
def airflow(service: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    connection = {
        "conn_type": "qianfan",
        "login": service.access_key,
        "password": service.secret_key,
        "host": service.url,
        "extra": {"bos_endpoint": service.url},
    }
    with Airflow(tmp_path_factory.mktemp("airflow") / "home", connection, DAGS) as started:
        print(f"\nAirflow {__version__}")
        yield started


@pytest.fixture(autouse=True)
def fresh(service: Sandbox, request: pytest.FixtureRequest) -> Iterator[None]:
    """Forget earlier tasks; print the requests after the test."""
    service.reset()
    yield
    counted = Counter(str(entry.action).replace("BatchInference", "") for entry in service.requests)
    print(f"  {request.node.name}: {dict(counted)}; {service.connections} connections so far")


def count(service: Sandbox, action: str) -> int:
    return sum(entry.action == action for entry in service.requests)


def states(service: Sandbox) -> list[str]:
    return [task["runStatus"] for task in service.tasks.values()]


def finish(service: Sandbox) -> None:
    for task_id, task in service.tasks.items():
        if task["runStatus"] in ("Queuing", "Running"):
            service.set_status(task_id, "Done")


def wait_for_stop(service: Sandbox, since: float) -> None:
    until(lambda: count(service, STOP), "a stop is requested")
    print(f"  stop requested after {time.monotonic() - since:.1f} s")


def test_create_with_worker_killed_before_the_id_is_stored_is_found_by_the_retry(
    airflow: Airflow, service: Sandbox
) -> None:
    service.inject(Fault.slow(10), action=CREATE)
    run = airflow.trigger("deferred")
    until(lambda: service.tasks, "the task exists")

    airflow.kill_worker(service.port)

    airflow.wait_for("deferred", run, "deferred")
    finish(service)
    airflow.wait_for("deferred", run, "success")
    assert count(service, CREATE) == 1


def test_wait_with_killed_worker_continues_in_the_retry(airflow: Airflow, service: Sandbox) -> None:
    run = airflow.trigger("running")
    until(lambda: count(service, GET) > 2, "it waits")

    airflow.kill_worker(service.port)

    polls = count(service, GET)
    until(lambda: count(service, GET) > polls + 4, "the retry waits")
    finish(service)
    airflow.wait_for("running", run, "success")
    assert count(service, CREATE) == 1


def test_wait_with_worker_shut_down_stops_the_task_and_the_retry_creates_another(
    airflow: Airflow, service: Sandbox
) -> None:
    run = airflow.trigger("running")
    until(lambda: count(service, GET) > 2, "it waits")

    airflow.kill_worker(service.port, signal.SIGTERM)

    wait_for_stop(service, time.monotonic())
    until(lambda: len(service.tasks) == 2, "the retry creates another task")
    finish(service)
    airflow.wait_for("running", run, "success")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "shut down"])
def test_wait_with_restarted_triggerer_continues_without_a_stop(
    airflow: Airflow, service: Sandbox, number: int
) -> None:
    run = airflow.trigger("deferred")
    airflow.wait_for("deferred", run, "deferred")
    until(lambda: count(service, GET) > 2, "the triggerer waits")

    airflow.kill("triggerer", number)
    time.sleep(2)
    polls = count(service, GET)
    airflow.start("triggerer")

    until(lambda: count(service, GET) > polls, "the new triggerer waits")
    finish(service)
    airflow.wait_for("deferred", run, "success")
    assert (count(service, CREATE), count(service, STOP)) == (1, 0)


@pytest.mark.parametrize("state", ["failed", "success"])
@pytest.mark.parametrize("dag", ["deferred", "running"])
def test_mark_while_waiting_stops_the_task(airflow: Airflow, service: Sandbox, dag: str, state: str) -> None:
    run = airflow.trigger(dag)
    airflow.wait_for(dag, run, dag)
    until(lambda: count(service, GET) > 2, "it waits")

    airflow.mark(dag, run, state)

    wait_for_stop(service, time.monotonic())
    assert airflow.states(dag, run) == [state]
    assert count(service, CREATE) == 1


@pytest.mark.parametrize("dag", ["deferred", "running"])
def test_clear_while_waiting_stops_the_task_and_creates_another(
    airflow: Airflow, service: Sandbox, dag: str
) -> None:
    run = airflow.trigger(dag)
    airflow.wait_for(dag, run, dag)
    until(lambda: count(service, GET) > 2, "it waits")

    airflow.clear(dag, run)

    wait_for_stop(service, time.monotonic())
    until(lambda: len(service.tasks) == 2, "another task is created")
    time.sleep(3)
    assert states(service) == ["Stopped", "Running"]
    finish(service)
    airflow.wait_for(dag, run, "success")
    assert count(service, CREATE) == 2


def test_clear_after_success_creates_another(airflow: Airflow, service: Sandbox) -> None:
    run = airflow.trigger("deferred")
    airflow.wait_for("deferred", run, "deferred")
    finish(service)
    airflow.wait_for("deferred", run, "success")

    airflow.clear("deferred", run)

    until(lambda: len(service.tasks) == 2, "another task is created")
    finish(service)
    airflow.wait_for("deferred", run, "success")


def test_create_in_mapped_task_creates_one_for_each_map_index(airflow: Airflow, service: Sandbox) -> None:
    run = airflow.trigger("mapped")
    airflow.wait_for("mapped", run, "deferred", 15)
    time.sleep(5)

    finish(service)

    airflow.wait_for("mapped", run, "success", 15)
    assert count(service, CREATE) == 15


@pytest.mark.parametrize(("dag", "left"), [("leave", "Running"), ("stop", "Stopped"), ("limited", "Stopped")])
def test_wait_beyond_the_timeout_fails_and_leaves_or_stops_the_task(
    airflow: Airflow, service: Sandbox, dag: str, left: str
) -> None:
    run = airflow.trigger(dag)

    airflow.wait_for(dag, run, "failed")

    time.sleep(3)
    assert set(states(service)) == {left}
    assert count(service, CREATE) == (1 if left == "Running" else 3)


def test_job_with_worker_killed_in_its_first_create_creates_one_task(
    airflow: Airflow, service: Sandbox
) -> None:
    service.inject(Fault.slow(10), action=CREATE)
    run = airflow.trigger("job")
    until(lambda: service.tasks, "the task exists")

    airflow.kill_worker(service.port)

    airflow.wait_for("job", run, "deferred")
    service.advance(200_000)
    airflow.wait_for("job", run, "success")
    assert count(service, CREATE) == 1


def test_mark_of_running_job_stops_it(airflow: Airflow, service: Sandbox) -> None:
    run = airflow.trigger("job")
    until(lambda: count(service, GET) > 0, "the triggerer waits")

    airflow.mark("job", run, "failed")

    wait_for_stop(service, time.monotonic())
    assert f"bos:/bucket/jobs/{run}/stopped.json" in service.objects


def test_clear_of_running_job_stops_it_and_submits_another(airflow: Airflow, service: Sandbox) -> None:
    run = airflow.trigger("job")
    until(lambda: count(service, GET) > 0, "the triggerer waits")

    airflow.clear("job", run)

    wait_for_stop(service, time.monotonic())
    until(lambda: len(service.tasks) == 2, "another job is submitted")
    assert f"bos:/bucket/jobs/{run}-rerun-1/job.json" in service.objects
    airflow.wait_for("job", run, "deferred")
    service.advance(200_000)
    airflow.wait_for("job", run, "success")


def test_backfill_of_two_days_creates_one_task_for_each(airflow: Airflow, service: Sandbox) -> None:
    thread = threading.Thread(target=airflow.backfill, args=["daily", "2026-01-01", "2026-01-02"])
    thread.start()
    until(lambda: len(service.tasks) == 2, "two tasks are created")
    finish(service)
    thread.join()
    time.sleep(5)
    assert count(service, CREATE) == 2
