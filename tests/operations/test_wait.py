"""Waiting for one task: when it is polled, which failures the wait outlasts, and how it ends."""

from __future__ import annotations

import time
from datetime import timedelta
from itertools import pairwise

import pytest

from qf_tasks import (
    ApiError,
    AuthenticationError,
    ServiceUnreachableError,
    Task,
    TaskClient,
    TaskFailedError,
    TaskNotFoundError,
    WaitTimeoutError,
)
from qf_tasks._runtime.blocking import Clock
from qf_tasks.sandbox import Fault, Sandbox, ServerBehavior
from tests.clients import SandboxTime, client_of
from tests.conftest import MakeClient
from tests.operations.slow_service import slow_down

GET = "DescribeBatchInferenceTask"
NOT_FOUND = Fault.status(404, code="TaskNotFound")


def create(client: TaskClient) -> str:
    return client.create(
        name="nightly", endpoint="e", input_bos_uri="bos:/b/in/", output_bos_uri="bos:/b/out/"
    ).task_id


def only_gets(sandbox: Sandbox) -> bool:
    return {request.action for request in sandbox.requests} == {GET}


def test_wait_returns_task_when_it_is_done(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Running", ends_after=100)
    started = sandbox.now
    task = client.wait(task_id)
    assert (task.task_id, task.run_status) == (task_id, "Done")
    assert 100 <= (sandbox.now - started).total_seconds() <= 130
    assert only_gets(sandbox)


def test_wait_for_ended_task_sends_one_request(
    sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime
) -> None:
    client.wait(sandbox.add_task())
    assert (len(sandbox.requests), sandbox_time.sleeps) == (1, [])


@pytest.mark.parametrize("poll_interval", [30, timedelta(seconds=5), 0.4])
def test_wait_polls_at_growing_intervals(
    sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime, poll_interval: float | timedelta
) -> None:
    longest = poll_interval.total_seconds() if isinstance(poll_interval, timedelta) else poll_interval
    client.wait(sandbox.add_task(run_status="Running", ends_after=12 * longest), poll_interval=poll_interval)
    bounds = [min(1.5**poll, longest) for poll in range(len(sandbox_time.sleeps))]
    for slept, bound in zip(sandbox_time.sleeps, bounds, strict=True):
        assert 0.75 * bound <= slept <= bound
    assert bounds[0] == min(1.0, longest)
    assert bounds[-1] == longest
    assert len(set(sandbox_time.sleeps)) == len(bounds)  # jitter


def test_wait_uses_monotonic_clock() -> None:
    assert Clock() == (time.monotonic, time.sleep)


def test_wait_calls_on_change_for_each_change_of_state_or_progress(
    sandbox: Sandbox, client: TaskClient
) -> None:
    changes: list[Task] = []
    ended = client.wait(create(client), on_change=changes.append, poll_interval=3)
    responses = [request.action for request in sandbox.requests if request.action == GET]
    assert len(changes) < len(responses)
    assert [task.run_status for task in changes][:2] == ["Queuing", "Running"]
    seen = [(task.run_status, task.progress) for task in changes]
    assert all(before != after for before, after in pairwise(seen))
    assert len({task.progress for task in changes if task.run_status == "Running"}) > 5
    assert (changes[-1], changes[-1].progress) == (ended, 100)


def test_wait_with_on_change_raising_ends_with_its_exception(sandbox: Sandbox, client: TaskClient) -> None:
    def raising(_task: Task) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        client.wait(sandbox.add_task(run_status="Running"), on_change=raising)


@pytest.mark.parametrize("run_status", ["Failed", "Expired", "Stopped"])
def test_wait_for_task_that_fails_raises_task_failed(
    sandbox: Sandbox, client: TaskClient, run_status: str
) -> None:
    task_id = sandbox.add_task(run_status="Running", ends_after=5, ends_as=run_status, error_code=336)
    with pytest.raises(TaskFailedError, match=f"{task_id} ended as {run_status}") as caught:
        client.wait(task_id)
    error = caught.value
    assert error.task is not None
    assert error.task.run_status == run_status
    assert error.failed == error.tasks == {task_id: error.task}
    if run_status == "Failed":
        assert error.code == "336"
        assert "made this task fail" in str(error)


def test_wait_without_raise_on_failure_returns_failed_task(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Running", ends_after=5, ends_as="Failed")
    assert client.wait(task_id, raise_on_failure=False).run_status == "Failed"


def test_wait_continues_through_unknown_state(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Archiving", ends_after=300)
    assert client.wait(task_id).run_status == "Done"


@pytest.mark.parametrize("timeout", [60, timedelta(minutes=1), 0])
def test_wait_at_the_timeout_raises_with_the_last_snapshot(
    sandbox: Sandbox, client: TaskClient, timeout: float | timedelta
) -> None:
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    task_id = sandbox.add_task(run_status="Running")
    started = sandbox.now
    with pytest.raises(
        WaitTimeoutError, match=f"{task_id} is still Running after {seconds:g} s; it keeps running"
    ) as caught:
        client.wait(task_id, timeout=timeout)
    assert (sandbox.now - started).total_seconds() == pytest.approx(seconds, abs=0.01)
    error = caught.value
    assert isinstance(error, TimeoutError)
    assert error.task is not None
    assert (error.task.run_status, error.pending, error.done) == ("Running", (task_id,), {})
    assert "Wait again" in str(error.hint)
    assert only_gets(sandbox)


def test_wait_polls_a_last_time_at_the_timeout(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Running", ends_after=59.999)
    assert client.wait(task_id, timeout=60, poll_interval=50).run_status == "Done"


def test_wait_without_timeout_waits_for_days(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Running", ends_after=5 * 86_400)
    assert client.wait(task_id, timeout=None, poll_interval=3600).run_status == "Done"
    with pytest.raises(WaitTimeoutError, match="after 90000 s"):
        client.wait(sandbox.add_task(run_status="Running"), poll_interval=3600)


def test_wait_just_after_create_ignores_not_found(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = create(client)
    sandbox.inject(NOT_FOUND, action=GET, times=3)
    assert client.wait(task_id).run_status == "Done"


def test_wait_long_after_create_raises_not_found(sandbox: Sandbox, client: TaskClient) -> None:
    task_id, created_at = create(client), sandbox.now
    sandbox.inject(NOT_FOUND, action=GET, times=None)
    with pytest.raises(TaskNotFoundError):
        client.wait(task_id)
    assert 10 <= (sandbox.now - created_at).total_seconds() <= 15


def test_wait_for_task_never_seen_raises_not_found_at_once(sandbox: Sandbox, client: TaskClient) -> None:
    with pytest.raises(TaskNotFoundError):
        client.wait("infer-9ia3kc1wt9mp")
    assert len(sandbox.requests) == 1


def test_wait_ignores_single_not_found_of_task_seen_before(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Running", ends_after=60)
    sandbox.inject(NOT_FOUND, action=GET, skip=2)
    sandbox.inject(NOT_FOUND, action=GET, skip=3)
    assert client.wait(task_id).run_status == "Done"


def test_wait_with_second_not_found_in_a_row_raises_it(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Running", ends_after=60)
    sandbox.inject(NOT_FOUND, action=GET, skip=2, times=2)
    with pytest.raises(TaskNotFoundError):
        client.wait(task_id)
    assert len(sandbox.requests) == 4


@pytest.mark.parametrize(
    "outage", [Fault.reset_before(), Fault.status(503), Fault.status(429, retry_after=3600)]
)
def test_wait_outlasts_short_outage(
    sandbox: Sandbox, make_client: MakeClient, outage: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = sandbox.add_task(run_status="Running", ends_after=60)
    sandbox.inject(outage, action=GET, skip=2, times=4)
    assert make_client(max_retries=0).wait(task_id).run_status == "Done"
    assert sum("still waiting" in line for line in caplog.messages) == 4


def test_wait_ends_after_ten_minutes_of_outage(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Running")
    sandbox.inject(Fault.reset_before(), action=GET, skip=2, times=None)
    started = sandbox.now
    with pytest.raises(ServiceUnreachableError):
        client.wait(task_id, timeout=None)
    assert 600 <= (sandbox.now - started).total_seconds() <= 700


def test_wait_with_outage_at_the_timeout_raises_wait_timeout(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Running")
    sandbox.inject(Fault.reset_before(), action=GET, skip=2, times=None)
    with pytest.raises(WaitTimeoutError, match="still Running"):
        client.wait(task_id, timeout=60)


def test_wait_with_outage_at_the_first_poll_raises_it(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Running")
    sandbox.inject(Fault.reset_before(), action=GET, times=None)
    with pytest.raises(ServiceUnreachableError) as caught:
        client.wait(task_id)
    assert caught.value.attempts == 4


def test_wait_with_revoked_keys_raises_at_once(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Running")
    with pytest.raises(AuthenticationError):
        client.wait(task_id, on_change=lambda _task: sandbox.revoke_key(sandbox.access_key))
    assert len(sandbox.requests) == 2


def test_wait_interrupted_changes_nothing(sandbox: Sandbox) -> None:
    class Interrupted(SandboxTime):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            raise KeyboardInterrupt

    task_id = sandbox.add_task(run_status="Running")
    with client_of(sandbox, Interrupted(sandbox)) as client, pytest.raises(KeyboardInterrupt):
        client.wait(task_id)
    assert only_gets(sandbox)
    assert sandbox.tasks[task_id]["runStatus"] == "Running"


@pytest.mark.parametrize("seconds", [5, 60])
def test_wait_with_slow_service_ends_soon_after_the_timeout(
    sandbox: Sandbox, client: TaskClient, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    task_id, started = sandbox.add_task(run_status="Running"), sandbox.now
    slow_down(client, sandbox, seconds, monkeypatch)

    with pytest.raises(WaitTimeoutError, match="is in an unknown state after 1 s"):
        client.wait(task_id, timeout=1)
    assert (sandbox.now - started).total_seconds() <= 2


def test_wait_with_every_request_rejected_alike_raises_rejection(
    sandbox: Sandbox, client: TaskClient
) -> None:
    task_id = sandbox.add_task()
    sandbox.behavior = ServerBehavior(reject_all=(404, "AccountInArrears", "the account is in arrears"))

    with pytest.raises(ApiError, match="in arrears") as caught:
        client.wait(task_id)
    assert not isinstance(caught.value, TaskNotFoundError)
