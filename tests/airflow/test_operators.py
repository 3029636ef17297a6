"""Operators and sensor without a database: the two halves around a deferral, retries, kills, timeouts."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.exceptions import TaskDeferred

from qf_tasks import TaskClient
from qf_tasks.airflow._compat import AirflowException, AirflowTaskTimeout
from qf_tasks.airflow.operators import (
    QianfanBatchInferenceOperator,
    QianfanDeleteTasksOperator,
    QianfanJobResultsOperator,
    QianfanPurgeOperator,
)
from qf_tasks.airflow.sensors import QianfanTaskSensor
from qf_tasks.airflow.triggers import job_event
from qf_tasks.errors import InvalidArgumentError, TaskFailedError, WaitTimeoutError
from qf_tasks.sandbox import Fault, Sandbox

from .conftest import context_of

CREATE, STOP, DELETE = (f"{verb}BatchInferenceTask" for verb in ("Create", "Stop", "Delete"))


def inference(**arguments: Any) -> QianfanBatchInferenceOperator:
    return QianfanBatchInferenceOperator(
        **{
            "task_id": "ask",
            "retries": 2,
            "input_bos_uri": "bos:/bucket/in/",
            "output_bos_uri": "bos:/bucket/out/",
            "endpoint": "ernie-x1-turbo-32k",
            "poll_interval": 0.1,
            "deferrable": True,
            **arguments,
        }
    )


def defer(operator: Any, context: Any = None) -> Any:
    """Execute an operator until it defers, and return its trigger."""
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context or context_of(operator))
    assert deferred.value.method_name == "execute_complete"
    return deferred.value.trigger


def actions(sandbox: Sandbox) -> list[str | None]:
    return [request.action for request in sandbox.requests]


def test_execute_new_task_defers_with_its_id_in_xcom(sandbox: Sandbox) -> None:
    operator = inference()
    context = context_of(operator)

    trigger = defer(operator, context)

    assert trigger.task_ids == list(sandbox.tasks) == [context["ti"].xcoms["task_id"]]


def test_execute_describes_the_run_in_name_and_description(sandbox: Sandbox) -> None:
    defer(inference())

    (task,) = sandbox.tasks.values()
    assert task["name"] == "nightly.ask"
    assert task["description"].startswith("Airflow: nightly / ask / manual__1 [key: airflow-")


def test_execute_complete_returns_a_plain_dict(sandbox: Sandbox) -> None:
    operator = inference()
    (task_id,) = defer(operator).task_ids
    sandbox.set_status(task_id, "Done")

    result = operator.execute(context_of(operator))  # as a retry does, which finds that it has ended

    assert result == json.loads(json.dumps(result))
    assert (result["task_id"], result["run_status"]) == (task_id, "Done")
    assert result["output_uri"].startswith("bos:/bucket/out/")


def test_execute_without_deferral_waits(sandbox: Sandbox) -> None:
    operator = inference(deferrable=False)
    thread = threading.Thread(target=finish_when_created, args=[sandbox])
    thread.start()

    result = operator.execute(context_of(operator))

    thread.join()
    assert result["run_status"] == "Done"


def finish_when_created(sandbox: Sandbox) -> None:
    while not sandbox.tasks:
        time.sleep(0.01)
    sandbox.advance(3600)


def test_execute_writes_no_key_into_logs_xcoms_or_fields(
    sandbox: Sandbox, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    operator = inference()
    context = context_of(operator)

    defer(operator, context)

    fields = {field: getattr(operator, field) for field in operator.template_fields}
    written = "".join([*capfd.readouterr(), caplog.text, str(context["ti"].xcoms), str(fields)])
    assert "CreateBatchInferenceTask" in written
    assert sandbox.access_key not in written
    assert sandbox.secret_key not in written


@pytest.mark.parametrize("max_tries", [2, 5], ids=["first generation", "after a clear"])
def test_execute_retry_reuses_the_task(sandbox: Sandbox, max_tries: int) -> None:
    for _ in range(2):
        operator = inference()
        defer(operator, context_of(operator, max_tries=max_tries))

    assert len(sandbox.tasks) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"max_tries": 3},
        {"run_id": "backfill__1"},
        {"map_index": 0},
        {"task_id": "other"},
        {"dag_id": "other"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_execute_other_intention_creates_another_task(sandbox: Sandbox, changed: dict[str, Any]) -> None:
    operator = inference()
    defer(operator)

    defer(operator, context_of(operator, **changed))

    assert len(sandbox.tasks) == 2


def test_execute_after_a_clear_stops_the_earlier_task_if_nothing_else_did(sandbox: Sandbox) -> None:
    other = sandbox.add_task(run_status="Running")
    for max_tries in (2, 3, 5):
        operator = inference()
        defer(operator, context_of(operator, max_tries=max_tries))

    states = [task["runStatus"] for task in sandbox.tasks.values()]
    assert states == ["Running", "Stopping", "Stopping", "Queuing"]
    assert next(iter(sandbox.tasks)) == other


def test_execute_after_a_lost_response_creates_one_task(sandbox: Sandbox) -> None:
    sandbox.inject(Fault.reset_after(), action=CREATE)

    defer(inference())

    assert len(sandbox.tasks) == 1


def test_execute_failed_task_raises_with_the_reason() -> None:
    failed = {"task_id": "infer-1", "run_status": "Failed", "error_reason": "no such model"}

    with pytest.raises(AirflowException, match="Task infer-1 ended as Failed: no such model"):
        inference().execute_complete({}, {"status": "ended", "tasks": [failed]})


@pytest.mark.parametrize(
    "event", [{"status": "timeout", "message": "event of a timeout"}, {"status": "cancelled"}, {}]
)
def test_execute_complete_other_event_raises(event: dict[str, Any]) -> None:
    with pytest.raises(AirflowException, match="event"):
        inference().execute_complete({}, event)


def test_execute_quota_exceeded_raises_airflow_exception_with_the_hint(sandbox: Sandbox) -> None:
    sandbox.add_tasks(20, run_status="Running")

    with pytest.raises(AirflowException, match=r"nothing was created.*配额"):
        inference().execute(context_of(inference()))


@pytest.mark.parametrize(("on_timeout", "state"), [("leave", "Queuing"), ("stop", "Stopping")])
def test_execute_timeout_leaves_or_stops_the_task(sandbox: Sandbox, on_timeout: str, state: str) -> None:
    operator = inference(deferrable=False, timeout=0.1, on_timeout=on_timeout)

    with pytest.raises(AirflowException, match="has not ended in time"):
        operator.execute(context_of(operator))
    operator.on_kill()

    assert [task["runStatus"] for task in sandbox.tasks.values()] == [state]


@pytest.mark.parametrize(("on_timeout", "stops"), [("leave", 0), ("stop", 1)])
def test_execute_execution_timeout_leaves_or_stops_the_task(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, on_timeout: str, stops: int
) -> None:
    operator = inference(deferrable=False, on_timeout=on_timeout)

    def time_out(*_: object, **__: object) -> None:
        raise AirflowTaskTimeout

    monkeypatch.setattr(TaskClient, "wait", time_out)

    with pytest.raises(AirflowTaskTimeout):
        operator.execute(context_of(operator))
    operator.on_kill()  # Airflow calls it after an `execution_timeout`

    assert actions(sandbox).count(STOP) == stops


def test_execute_shorter_execution_timeout_ends_the_deferral_too() -> None:
    operator = inference(execution_timeout=timedelta(minutes=5))
    started = datetime.now(UTC)

    trigger = defer(operator, context_of(operator, start_date=started))

    assert trigger.end_time == pytest.approx(started.timestamp() + 300)


def test_on_kill_while_waiting_stops_the_task(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    operator = inference(deferrable=False)

    def kill(*_: object, **__: object) -> None:
        operator.on_kill()  # from the handler of SIGTERM
        raise SystemExit

    monkeypatch.setattr(TaskClient, "wait", kill)

    with pytest.raises(SystemExit):
        operator.execute(context_of(operator))

    assert [task["runStatus"] for task in sandbox.tasks.values()] == ["Stopping"]


def test_on_kill_before_the_id_is_known_stops_the_task(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = inference()
    create = TaskClient.create

    def create_and_kill(client: TaskClient, **arguments: Any) -> None:
        create(client, **arguments)
        operator.on_kill()
        raise SystemExit

    monkeypatch.setattr(TaskClient, "create", create_and_kill)

    with pytest.raises(SystemExit):
        operator.execute(context_of(operator))

    assert [task["runStatus"] for task in sandbox.tasks.values()] == ["Stopping"]


def test_on_kill_before_execute_sends_nothing(sandbox: Sandbox) -> None:
    inference().on_kill()

    assert sandbox.requests == []


def test_retry_after_a_stop_creates_another_task(sandbox: Sandbox) -> None:
    (task_id,) = defer(inference()).task_ids
    sandbox.set_status(task_id, "Stopping")

    defer(inference())

    assert len(sandbox.tasks) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"endpoint": None}, "Exactly one of endpoint and model_id"),
        ({"output_bos_uri": "bos:/bucket/in/out/"}, "must not be input_bos_uri or inside it"),
        ({"input_bos_uri": "s3://bucket/in/"}, "input_bos_uri"),
        ({"name": "x"}, "name must have 2 to 20"),
        ({"on_timeout": "ignore"}, "on_timeout must be 'leave' or 'stop'"),
        ({"timeout": "25"}, "timeout must be a duration"),
        ({"poll_interval": 0}, "poll_interval must be"),
        ({"quota_timeout": "soon"}, "quota_timeout must be"),
        ({"inference_params": {"temperature": object()}}, "inference_params"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_init_invalid_argument_raises_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        inference(**arguments)


def test_init_templates_are_not_checked() -> None:
    inference(
        input_bos_uri="{{ params.source }}",
        name="{{ run_id }}",
        inference_params={"temperature": "{{ params.temperature }}"},
    )


JOB = "bos:/bucket/jobs/nightly/"
RECORDS = [{"id": "1", "query": "1+1?"}, {"id": "2", "query": "2+2?"}]


def job(**arguments: Any) -> QianfanBatchInferenceOperator:
    task = {"input_bos_uri": None, "output_bos_uri": None}
    return inference(**{**task, "records": RECORDS, "bos_uri": JOB, **arguments})


def test_job_records_are_uploaded_and_run(sandbox: Sandbox) -> None:
    operator = job(deferrable=False)
    thread = threading.Thread(target=finish_when_created, args=[sandbox])
    thread.start()
    context = context_of(operator)

    result = operator.execute(context)

    thread.join()
    assert result == json.loads(json.dumps(result))
    assert (result["bos_uri"], result["state"], result["records"]) == (JOB, "Done", 2)
    assert context["ti"].xcoms["bos_uri"] == JOB


def test_job_defers_with_its_directory() -> None:
    assert defer(job()).bos_uri == JOB


def test_job_records_of_a_function_get_the_context() -> None:
    seen = []

    def records(context: Any) -> list[dict[str, str]]:
        seen.append(context["ti"].run_id)
        return RECORDS

    defer(job(records=records))

    assert seen == ["manual__1"]


def test_job_only_a_path_of_records_is_a_template() -> None:
    records = [{"query": "What does {{ x }} mean?"}]

    assert job(records=records).records is None
    assert job(records="{{ params.path }}").records == "{{ params.path }}"


def test_job_retry_is_the_same_job(sandbox: Sandbox) -> None:
    for _ in range(2):
        defer(job())

    assert len(sandbox.tasks) == 1


def test_job_after_a_clear_has_a_directory_of_its_own(sandbox: Sandbox) -> None:
    defer(job())
    operator = job()

    trigger = defer(operator, context_of(operator, max_tries=3))

    assert trigger.bos_uri == "bos:/bucket/jobs/nightly-rerun-1/"
    assert [task["runStatus"] for task in sandbox.tasks.values()] == ["Stopping", "Queuing"]


def test_job_killed_is_stopped_and_its_retry_runs_the_records_again(sandbox: Sandbox) -> None:
    operator = job()
    defer(operator)
    operator.on_kill()
    sandbox.advance(60)

    defer(job())

    assert [task["runStatus"] for task in sandbox.tasks.values()] == ["Stopped", "Queuing"]


def test_job_killed_before_it_is_submitted_sends_nothing_to_the_service(sandbox: Sandbox) -> None:
    operator = job(records="missing.jsonl")
    with pytest.raises(AirflowException, match=r"missing\.jsonl"):
        operator.execute(context_of(operator))

    operator.on_kill()

    assert sandbox.tasks == {}


def test_job_that_failed_raises_with_the_shards(sandbox: Sandbox) -> None:
    operator = job()
    defer(operator)
    for _ in range(2):  # a shard is tried again once
        (active,) = (
            task_id for task_id, task in sandbox.tasks.items() if task["runStatus"] in ("Queuing", "Running")
        )
        sandbox.set_status(active, "Failed")
        with sandbox.client() as client, suppress(WaitTimeoutError, TaskFailedError):
            client.job(JOB).run(timeout=0.1)

    with pytest.raises(AirflowException, match="ended as Failed; shards that failed: 0001"):
        operator.execute_complete({}, status_event(sandbox))


def status_event(sandbox: Sandbox) -> Any:
    with sandbox.client() as client:
        return job_event(client.job(JOB).status())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"records": None}, "records and bos_uri must be given together"),
        ({"bos_uri": None}, "records and bos_uri must be given together"),
        ({"records": None, "bos_uri": None}, "Give either input_bos_uri and output_bos_uri, or records"),
        ({"bos_uri": "s3://bucket/jobs/"}, "bos_uri"),
        ({"quota_timeout": "1h"}, "quota_timeout cannot be combined"),
        ({"input_bos_uri": "bos:/bucket/in/"}, "input_bos_uri cannot be combined"),
        ({"endpoint": None}, "Exactly one of endpoint and model_id"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_init_invalid_job_raises_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        job(**arguments)


def finished_job(sandbox: Sandbox) -> None:
    with sandbox.client() as client:
        client.submit(RECORDS, bos_uri=JOB, endpoint="e")
        sandbox.advance(3600)
        client.job(JOB).run(poll_interval=0.1)


def test_job_results_are_downloaded_in_order(sandbox: Sandbox, tmp_path: Path) -> None:
    finished_job(sandbox)
    path = tmp_path / "results.jsonl"
    operator = QianfanJobResultsOperator(task_id="results", bos_uri=JOB, path=str(path))

    result = operator.execute(context_of(operator))

    assert result == {"path": str(path), "succeeded": 2}
    assert [json.loads(line)["id"] for line in path.read_text("utf-8").splitlines()] == ["1", "2"]
    assert list(tmp_path.glob("results*")) == [path]


def test_job_results_are_handed_to_a_function(sandbox: Sandbox) -> None:
    finished_job(sandbox)
    operator = QianfanJobResultsOperator(
        task_id="results", bos_uri=JOB, python_callable=lambda results: [result.id for result in results]
    )

    assert operator.execute(context_of(operator)) == ["1", "2"]


def test_job_results_of_a_running_job_raise(sandbox: Sandbox, tmp_path: Path) -> None:
    with sandbox.client() as client:
        client.submit(RECORDS, bos_uri=JOB, endpoint="e")
    path = tmp_path / "results.jsonl"
    operator = QianfanJobResultsOperator(task_id="results", bos_uri=JOB, path=str(path))

    with pytest.raises(AirflowException, match="is Running; its results are complete when it has ended"):
        operator.execute(context_of(operator))

    assert not path.exists()


@pytest.mark.parametrize("arguments", [{}, {"path": "p", "python_callable": list}])
def test_job_results_need_one_target(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match="Exactly one of path and python_callable"):
        QianfanJobResultsOperator(task_id="results", bos_uri=JOB, **arguments)


def test_openlineage_datasets_are_the_directories() -> None:
    lineage = inference().get_openlineage_facets_on_start()

    (source,), (target,) = lineage.inputs, lineage.outputs
    assert (source.namespace, source.name) == ("bos://bucket", "in/")
    assert (target.namespace, target.name) == ("bos://bucket", "out/")


def test_delete_one_id_returns_its_outcome(sandbox: Sandbox) -> None:
    task_id = sandbox.add_task()
    operator = QianfanDeleteTasksOperator(task_id="delete", tasks=task_id)

    assert operator.execute(context_of(operator)) == {task_id: "deleted"}


def test_delete_retry_treats_missing_tasks_as_deleted(sandbox: Sandbox) -> None:
    task_ids = sandbox.add_tasks(2)
    operator = QianfanDeleteTasksOperator(task_id="delete", tasks=task_ids)
    operator.execute(context_of(operator))

    assert operator.execute(context_of(operator)) == dict.fromkeys(task_ids, "already_gone")


def test_delete_active_task_raises_after_the_others_are_deleted(sandbox: Sandbox) -> None:
    active, ended = sandbox.add_task(run_status="Running"), sandbox.add_task()
    operator = QianfanDeleteTasksOperator(task_id="delete", tasks=[active, ended])

    with pytest.raises(AirflowException, match=f"1 of 2 tasks were not done.*{active}"):
        operator.execute(context_of(operator))

    assert list(sandbox.tasks) == [active]


def test_purge_dry_run_deletes_nothing(sandbox: Sandbox) -> None:
    task_id = sandbox.add_task(name="nightly-01")
    operator = QianfanPurgeOperator(task_id="purge", name="nightly-*", dry_run=True)

    result = operator.execute(context_of(operator))

    assert result == {"planned": 1}
    assert DELETE not in actions(sandbox)
    assert list(sandbox.tasks) == [task_id]


def test_purge_deletes_what_matches(sandbox: Sandbox) -> None:
    sandbox.add_task(name="nightly-01")
    other = sandbox.add_task(name="weekly")
    operator = QianfanPurgeOperator(task_id="purge", name="nightly-*")

    assert operator.execute(context_of(operator)) == {"planned": 1, "deleted": 1}
    assert list(sandbox.tasks) == [other]


@pytest.mark.parametrize("arguments", [{}, {"older_than": 30}, {"name": "*"}, {"run_status": "Donee"}])
def test_purge_invalid_criteria_raise_when_the_dag_is_parsed(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        QianfanPurgeOperator(task_id="purge", **arguments)


def sensor(**arguments: Any) -> QianfanTaskSensor:
    return QianfanTaskSensor(**{"task_id": "wait", "deferrable": False, **arguments})


@pytest.mark.parametrize(("states", "expected"), [(["Done", "Done"], True), (["Done", "Running"], False)])
def test_sensor_poke_returns_whether_all_ended(sandbox: Sandbox, states: list[str], expected: bool) -> None:
    tasks = [sandbox.add_task(run_status=state) for state in states]

    assert sensor(tasks=tasks).poke({}) is expected


def test_sensor_failed_task_raises(sandbox: Sandbox) -> None:
    with pytest.raises(AirflowException, match="ended as Failed: the sandbox made this task fail"):
        sensor(tasks=sandbox.add_task(run_status="Failed")).poke({})


def test_sensor_deferrable_waits_in_a_trigger_that_never_stops_tasks(sandbox: Sandbox) -> None:
    running = sandbox.add_task(run_status="Running")

    trigger = defer(sensor(tasks=running, deferrable=True))

    assert (trigger.task_ids, trigger.stop_on_kill, trigger.stop_on_timeout) == ([running], False, False)


def test_sensor_deferrable_ended_task_does_not_defer(sandbox: Sandbox) -> None:
    operator = sensor(tasks=sandbox.add_task(), deferrable=True)

    operator.execute(context_of(operator))
