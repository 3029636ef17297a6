"""Waiting for one task: when it is looked at, what is outlasted, and how the wait ends."""

from __future__ import annotations

import time
from datetime import timedelta
from itertools import pairwise

import pytest

from qf_tasks import (
    AuthenticationError,
    ServiceUnreachableError,
    Task,
    TaskClient,
    TaskFailedError,
    TaskNotFoundError,
    WaitTimeoutError,
)
from qf_tasks._runtime.blocking import Clock
from qf_tasks.sandbox import Fault, Sandbox

from .clients import SandboxTime, client_of
from .conftest import MakeClient

GET = "DescribeBatchInferenceTask"
NOT_FOUND = Fault.status(404, code="TaskNotFound")


def create(client: TaskClient) -> str:
    return client.create(
        name="nightly", endpoint="e", input_bos_uri="bos:/b/in/", output_bos_uri="bos:/b/out/"
    ).task_id


def only_gets(sandbox: Sandbox) -> bool:
    return {request.action for request in sandbox.requests} == {GET}


def test_wait_returns_the_task_when_it_is_done(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Running", ends_after=100)
    started = sandbox.now
    task = client.wait(task_id)
    assert (task.task_id, task.run_status) == (task_id, "Done")
    assert 100 <= (sandbox.now - started).total_seconds() <= 130  # seen at the next look
    assert only_gets(sandbox)


def test_wait_for_an_ended_task_looks_once(
    sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime
) -> None:
    client.wait(sandbox.add_task())
    assert (len(sandbox.requests), sandbox_time.sleeps) == (1, [])


@pytest.mark.parametrize("poll_interval", [30, 10.0, timedelta(seconds=5), 0.4])
def test_wait_looks_fast_at_first_and_then_slower(
    sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime, poll_interval: float | timedelta
) -> None:
    longest = poll_interval.total_seconds() if isinstance(poll_interval, timedelta) else poll_interval
    client.wait(sandbox.add_task(run_status="Running", ends_after=12 * longest), poll_interval=poll_interval)
    bounds = [min(1.5**look, longest) for look in range(len(sandbox_time.sleeps))]
    for slept, bound in zip(sandbox_time.sleeps, bounds, strict=True):
        assert 0.75 * bound <= slept <= bound
    assert bounds[0] == min(1.0, longest)
    assert bounds[-1] == longest
    assert len(set(sandbox_time.sleeps)) == len(bounds)  # jitter


def test_wait_by_default_goes_by_a_clock_that_is_never_set_back() -> None:
    assert Clock() == (time.monotonic, time.sleep)


def test_wait_tells_each_change_of_state_or_progress(sandbox: Sandbox, client: TaskClient) -> None:
    told: list[Task] = []
    ended = client.wait(create(client), on_change=told.append, poll_interval=3)
    answers = [request.answer for request in sandbox.requests if request.action == GET]
    assert len(told) < len(answers)  # ten seconds of queuing are one
    assert [task.run_status for task in told][:2] == ["Queuing", "Running"]
    seen = [(task.run_status, task.progress) for task in told]
    assert all(before != after for before, after in pairwise(seen))
    assert len({task.progress for task in told if task.run_status == "Running"}) > 5
    assert (told[-1], told[-1].progress) == (ended, 100)


def test_wait_with_a_callback_that_raises_ends_with_that(sandbox: Sandbox, client: TaskClient) -> None:
    def raising(_task: Task) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        client.wait(sandbox.add_task(run_status="Running"), on_change=raising)


@pytest.mark.parametrize("run_status", ["Failed", "Expired", "Stopped"])
def test_wait_for_a_task_that_ends_badly_raises_with_the_task(
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
        assert "told to let this task fail" in str(error)


def test_wait_without_raising_returns_the_failed_task(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Running", ends_after=5, ends_as="Failed")
    assert client.wait(task_id, raise_on_failure=False).run_status == "Failed"


def test_wait_goes_on_through_an_unknown_state(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Archiving", ends_after=300)
    assert client.wait(task_id).run_status == "Done"


@pytest.mark.parametrize("limit", [60, timedelta(minutes=1), 0, 0.5])
def test_wait_at_the_limit_tells_that_the_task_goes_on(
    sandbox: Sandbox, client: TaskClient, limit: float | timedelta
) -> None:
    seconds = limit.total_seconds() if isinstance(limit, timedelta) else limit
    task_id = sandbox.add_task(run_status="Running")
    started = sandbox.now
    with pytest.raises(
        WaitTimeoutError, match=f"{task_id} is still Running after {seconds:g} s; it goes on"
    ) as caught:
        client.wait(task_id, timeout=limit)
    assert (sandbox.now - started).total_seconds() == pytest.approx(seconds, abs=0.01)
    error = caught.value
    assert isinstance(error, TimeoutError)
    assert error.task is not None
    assert (error.task.run_status, error.pending, error.done) == ("Running", (task_id,), {})
    assert "Wait again" in str(error.hint)
    assert only_gets(sandbox)


def test_wait_looks_a_last_time_at_the_limit(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Running", ends_after=59.999)
    assert client.wait(task_id, timeout=60, poll_interval=50).run_status == "Done"


def test_wait_without_limit_goes_on_for_days(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Running", ends_after=5 * 86_400)
    assert client.wait(task_id, timeout=None, poll_interval=3600).run_status == "Done"
    with pytest.raises(WaitTimeoutError, match="after 90000 s"):
        client.wait(sandbox.add_task(run_status="Running"), poll_interval=3600)


def test_wait_just_after_create_does_not_mind_not_found(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = create(client)
    sandbox.inject(NOT_FOUND, action=GET, times=3)
    assert client.wait(task_id).run_status == "Done"


def test_wait_long_after_create_takes_not_found_for_an_answer(sandbox: Sandbox, client: TaskClient) -> None:
    task_id, created_at = create(client), sandbox.now
    sandbox.inject(NOT_FOUND, action=GET, times=None)
    with pytest.raises(TaskNotFoundError):
        client.wait(task_id)
    assert 10 <= (sandbox.now - created_at).total_seconds() <= 15


def test_wait_for_what_this_client_did_not_create_takes_not_found_at_once(
    sandbox: Sandbox, client: TaskClient
) -> None:
    with pytest.raises(TaskNotFoundError):
        client.wait("infer-9ia3kc1wt9mp")
    assert len(sandbox.requests) == 1


def test_wait_does_not_mind_a_single_not_found_between_good_looks(
    sandbox: Sandbox, client: TaskClient
) -> None:
    task_id = sandbox.add_task(run_status="Running", ends_after=60)
    sandbox.inject(NOT_FOUND, action=GET, skip=2)
    sandbox.inject(NOT_FOUND, action=GET, skip=3)
    assert client.wait(task_id).run_status == "Done"


def test_wait_takes_a_second_not_found_in_a_row_for_an_answer(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Running", ends_after=60)
    sandbox.inject(NOT_FOUND, action=GET, skip=2, times=2)
    with pytest.raises(TaskNotFoundError):
        client.wait(task_id)
    assert len(sandbox.requests) == 4


@pytest.mark.parametrize(
    "outage", [Fault.reset_before(), Fault.status(503), Fault.status(429, retry_after=3600)]
)
def test_wait_outlasts_a_service_out_of_reach(
    sandbox: Sandbox, make_client: MakeClient, outage: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = sandbox.add_task(run_status="Running", ends_after=60)
    sandbox.inject(outage, action=GET, skip=2, times=4)
    assert make_client(max_retries=0).wait(task_id).run_status == "Done"
    assert sum("the wait goes on" in line for line in caplog.messages) == 4


def test_wait_gives_up_on_a_service_out_of_reach_for_too_long(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Running")
    sandbox.inject(Fault.reset_before(), action=GET, skip=2, times=None)
    started = sandbox.now
    with pytest.raises(ServiceUnreachableError):
        client.wait(task_id, timeout=None)
    assert 600 <= (sandbox.now - started).total_seconds() <= 700


def test_wait_with_the_service_out_of_reach_at_the_limit_is_late(
    sandbox: Sandbox, client: TaskClient
) -> None:
    task_id = sandbox.add_task(run_status="Running")
    sandbox.inject(Fault.reset_before(), action=GET, skip=2, times=None)
    with pytest.raises(WaitTimeoutError, match="still Running"):
        client.wait(task_id, timeout=60)


def test_wait_that_cannot_begin_says_so(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Running")
    sandbox.inject(Fault.reset_before(), action=GET, times=None)
    with pytest.raises(ServiceUnreachableError) as caught:
        client.wait(task_id)
    assert caught.value.attempts == 4


def test_wait_with_keys_revoked_ends_at_once(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(run_status="Running")
    with pytest.raises(AuthenticationError):
        client.wait(task_id, on_change=lambda _task: sandbox.revoke_key(sandbox.access_key))
    assert len(sandbox.requests) == 2


def test_wait_interrupted_leaves_the_task_alone(sandbox: Sandbox) -> None:
    class Interrupted(SandboxTime):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            raise KeyboardInterrupt

    task_id = sandbox.add_task(run_status="Running")
    with client_of(sandbox, Interrupted(sandbox)) as client, pytest.raises(KeyboardInterrupt):
        client.wait(task_id)
    assert only_gets(sandbox)
    assert sandbox.tasks[task_id]["runStatus"] == "Running"
