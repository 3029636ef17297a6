"""Triggers, as a triggerer runs them: on one event loop, created from what was serialized."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.triggers.base import TriggerEvent

from qf_tasks.airflow import triggers
from qf_tasks.airflow._compat import HAS_TRIGGER_ON_KILL
from qf_tasks.airflow.triggers import QianfanJobTrigger, QianfanTaskTrigger, QianfanTrigger
from qf_tasks.sandbox import Sandbox

DESCRIBE, LIST, STOP = "DescribeBatchInferenceTask", "DescribeBatchInferenceTasks", "StopBatchInferenceTask"

before_airflow_33 = pytest.mark.skipif(HAS_TRIGGER_ON_KILL, reason="Airflow 3.3 calls on_kill")


def trigger_for(*task_ids: str, **arguments: Any) -> QianfanTaskTrigger:
    """Return a trigger that went through the database."""
    trigger = QianfanTaskTrigger(
        task_ids=list(task_ids), **{"qianfan_conn_id": "qianfan_default", "poll_interval": 0.1, **arguments}
    )
    _, kwargs = trigger.serialize()
    return QianfanTaskTrigger(**json.loads(json.dumps(kwargs)))


async def event_of(trigger: QianfanTrigger) -> dict[str, Any]:
    events = [event async for event in trigger.run()]
    assert len(events) == 1
    assert isinstance(events[0], TriggerEvent)
    payload: dict[str, Any] = events[0].payload
    assert payload == json.loads(json.dumps(payload))
    return payload


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def count(sandbox: Sandbox, action: str) -> int:
    return sum(request.action == action for request in sandbox.requests)


def test_run_ended_tasks_fires_with_all_of_them(sandbox: Sandbox) -> None:
    done, failed = sandbox.add_task(run_status="Done"), sandbox.add_task(run_status="Failed")

    event = asyncio.run(event_of(trigger_for(done, failed)))

    assert event["status"] == "ended"
    assert [(task["task_id"], task["run_status"]) for task in event["tasks"]] == [
        (done, "Done"),
        (failed, "Failed"),
    ]


def test_run_missing_task_fires_an_error() -> None:
    assert asyncio.run(event_of(trigger_for("infer-missing")))["status"] == "error"


def test_run_rejected_keys_fire_an_error_without_the_secret(sandbox: Sandbox) -> None:
    sandbox.revoke_key(sandbox.access_key)

    event = asyncio.run(event_of(trigger_for("infer-1")))

    assert event["status"] == "error"
    assert sandbox.secret_key not in json.dumps(event)


@pytest.mark.parametrize("stop", [False, True])
def test_run_after_end_time_fires_a_timeout(sandbox: Sandbox, stop: bool) -> None:
    task_id = sandbox.add_task(run_status="Running")

    event = asyncio.run(
        event_of(trigger_for(task_id, end_time=time.time() + 0.2, stop_on_timeout=stop, stop_on_kill=True))
    )

    assert event["status"] == "timeout"
    assert ("it was stopped" in event["message"]) is stop
    assert sandbox.tasks[task_id]["runStatus"] == ("Stopping" if stop else "Running")


def test_run_ended_while_no_triggerer_ran_fires_ended_after_end_time(sandbox: Sandbox) -> None:
    event = asyncio.run(event_of(trigger_for(sandbox.add_task(), end_time=time.time() - 3600)))

    assert event["status"] == "ended"


def test_serialize_has_neither_keys_nor_hosts(sandbox: Sandbox) -> None:
    serialized = json.dumps(trigger_for("infer-1").serialize())

    for secret in (sandbox.access_key, sandbox.secret_key, sandbox.url):
        assert secret not in serialized


def test_run_many_triggers_share_polls_and_close_the_client(sandbox: Sandbox) -> None:
    task_ids = sandbox.add_tasks(20, run_status="Running", ends_after=60)

    async def wait_for_all() -> list[dict[str, Any]]:
        waiting = [asyncio.create_task(event_of(trigger_for(task_id))) for task_id in task_ids]
        await until(lambda: count(sandbox, LIST) >= 5)
        sandbox.advance(60)
        return await asyncio.gather(*waiting)

    events = asyncio.run(wait_for_all())

    assert {event["tasks"][0]["run_status"] for event in events} == {"Done"}
    assert count(sandbox, DESCRIBE) <= 2 * len(task_ids)  # perhaps the first poll, and the last one
    assert triggers._clients == {}


def test_run_job_creates_tasks_and_fires_with_the_status(sandbox: Sandbox) -> None:
    uri = "bos:/bucket/jobs/nightly/"
    with sandbox.client() as client:
        client.submit([{"query": "1+1?"}, {"query": "2+2?"}], bos_uri=uri, endpoint="e")
    sandbox.advance(3600)
    trigger = QianfanJobTrigger(bos_uri=uri, qianfan_conn_id="qianfan_default", poll_interval=0.1)
    _, kwargs = trigger.serialize()

    event = asyncio.run(event_of(QianfanJobTrigger(**json.loads(json.dumps(kwargs)))))

    assert event["status"] == "ended"
    assert (event["job"]["state"], event["job"]["records_done"]) == ("Done", 2)


def test_on_kill_job_stops_it(sandbox: Sandbox) -> None:
    uri = "bos:/bucket/jobs/nightly/"
    with sandbox.client() as client:
        client.submit([{"query": "1+1?"}], bos_uri=uri, endpoint="e")
    trigger = QianfanJobTrigger(bos_uri=uri, qianfan_conn_id="qianfan_default", stop_on_kill=True)

    asyncio.run(trigger.on_kill())

    assert "bos:/bucket/jobs/nightly/stopped.json" in sandbox.objects
    assert count(sandbox, STOP) == 1


def test_run_triggers_of_a_broken_connection_all_fire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", json.dumps({"conn_type": "qianfan"}))

    async def wait_for_both() -> list[dict[str, Any]]:
        return await asyncio.gather(*(event_of(trigger_for(task_id)) for task_id in ("infer-1", "infer-2")))

    events = asyncio.run(wait_for_both())

    assert [event["status"] for event in events] == ["error", "error"]
    assert "login is the access key" in events[0]["message"]
    assert triggers._clients == {}


async def cancel_when_polled(sandbox: Sandbox, trigger: QianfanTaskTrigger) -> None:
    """Cancel a trigger as a triggerer does that shuts down, or whose task was ended by a user."""
    running = asyncio.create_task(event_of(trigger))
    await until(lambda: count(sandbox, DESCRIBE) > 0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("stop", [False, True])
def test_on_kill_stops_the_task_if_asked_to(sandbox: Sandbox, stop: bool) -> None:
    task_id = sandbox.add_task(run_status="Running")
    trigger = trigger_for(task_id, stop_on_kill=stop)

    asyncio.run(trigger.on_kill())

    assert sandbox.tasks[task_id]["runStatus"] == ("Stopping" if stop else "Running")


def test_on_kill_stop_fails_does_not_raise(sandbox: Sandbox) -> None:
    task_id = sandbox.add_task(run_status="Running")
    sandbox.revoke_key(sandbox.access_key)

    asyncio.run(trigger_for(task_id, stop_on_kill=True).on_kill())

    assert count(sandbox, STOP) == 1


@pytest.mark.parametrize(
    ("state", "stops"),
    [("deferred", 0), ("failed", 1), ("success", 1), (None, 1), ("scheduled", 1)],
)
@before_airflow_33
def test_cancel_before_airflow_33_stops_the_task_unless_it_is_still_deferred(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, state: str | None, stops: int
) -> None:
    task_id = sandbox.add_task(run_status="Running")
    trigger = trigger_for(task_id, stop_on_kill=True)

    async def present_state(_: object) -> str | None:
        return state

    monkeypatch.setattr(triggers, "task_instance_state", present_state)

    asyncio.run(cancel_when_polled(sandbox, trigger))

    assert count(sandbox, STOP) == stops


@before_airflow_33
def test_cancel_before_airflow_33_unknown_state_stops_nothing(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = sandbox.add_task(run_status="Running")
    trigger = trigger_for(task_id, stop_on_kill=True)
    monkeypatch.setattr(trigger, "task_instance", SimpleNamespace())

    asyncio.run(cancel_when_polled(sandbox, trigger))

    assert count(sandbox, STOP) == 0


@before_airflow_33
@pytest.mark.parametrize("stop", [False, True])
def test_cancel_before_airflow_33_after_end_time_does_as_on_timeout(sandbox: Sandbox, stop: bool) -> None:
    task_id = sandbox.add_task(run_status="Running")
    trigger = trigger_for(task_id, stop_on_kill=True, stop_on_timeout=stop)

    async def cancel() -> None:
        running = asyncio.create_task(event_of(trigger))
        await until(lambda: count(sandbox, DESCRIBE) > 0)
        trigger.end_time = time.time()
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(cancel())

    assert count(sandbox, STOP) == stop


@pytest.mark.skipif(not HAS_TRIGGER_ON_KILL, reason="before, Airflow does not call on_kill")
def test_cancel_since_airflow_33_stops_nothing_by_itself(sandbox: Sandbox) -> None:
    task_id = sandbox.add_task(run_status="Running")

    asyncio.run(cancel_when_polled(sandbox, trigger_for(task_id, stop_on_kill=True)))

    assert count(sandbox, STOP) == 0
    assert triggers._clients == {}
