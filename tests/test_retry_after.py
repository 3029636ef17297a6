"""How long a repeat waits: the service's own figure, or a growing pause of chance; and when to give up."""

from __future__ import annotations

import threading
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from qf_tasks import RateLimitError, ServerError, ServiceUnreachableError, TaskClient
from qf_tasks.sandbox import Fault, Sandbox

from .conftest import MakeClient
from .clients import SandboxTime, client_of

GET = "DescribeBatchInferenceTask"


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("told", ["1", "0", "2.5", " 7 ", "60"])
def test_retry_after_is_slept(
    sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime, told: str, status: int
) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(Fault.status(status, retry_after=told))
    assert client.get(task_id).task_id == task_id
    assert sandbox_time.sleeps == [float(told)]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("told", ["-5", "nan", "inf", "soon", "", "1e3", "1_0", "0x10", "９"])
def test_retry_after_without_sense_is_passed_over(
    sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime, told: str, status: int
) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(Fault.status(status, retry_after=told))
    assert client.get(task_id).task_id == task_id
    assert len(sandbox_time.sleeps) == 1
    assert 0 <= sandbox_time.sleeps[0] <= 0.5


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("seconds", [30.0, 0.0, -3600.0])
def test_retry_after_as_a_date_is_slept_by_the_clock_of_the_service(
    sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime, seconds: float, status: int
) -> None:
    task_id = sandbox.add_task()
    sandbox.clock_offset = 200.0  # the machine here is wrong, or the service: no matter
    date = sandbox.now + timedelta(seconds=200 + seconds)
    told = format_datetime(date.replace(microsecond=0), usegmt=True)
    sandbox.inject(Fault.status(status, retry_after=told))
    client.get(task_id)
    assert sandbox_time.sleeps == [max(0.0, seconds)]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("told", ["61", "3600", "999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_retry_after_beyond_the_limit_is_raised_at_once(
    sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime, told: str, status: int
) -> None:
    sandbox.inject(Fault.status(status, retry_after=told), times=None)
    with pytest.raises(RateLimitError if status == 429 else ServerError) as caught:
        client.get("infer-1")
    error = caught.value
    assert error.retry_after is not None
    assert error.retry_after == float(told) if told.isdigit() else error.retry_after > 1e9
    assert (error.attempts, error.retryable, error.may_have_been_applied) == (1, True, False)
    assert sandbox_time.sleeps == []


def test_retry_after_of_an_hour_is_slept_where_that_is_allowed(
    sandbox: Sandbox, make_client: MakeClient, sandbox_time: SandboxTime
) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(Fault.status(429, retry_after=3600))
    make_client(max_retry_wait=3600, retry_budget=7200).get(task_id)
    assert sandbox_time.sleeps == [3600.0]


def test_retry_after_to_a_create_is_slept(
    sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime
) -> None:
    sandbox.inject(Fault.status(429, retry_after=9))
    created = client.create(name="ab", endpoint="e", input_bos_uri="bos:/b/in/", output_bos_uri="bos:/b/out/")
    assert (list(sandbox.tasks), created.reused) == ([created.task_id], False)
    assert sandbox_time.sleeps == [9.0]


def test_pauses_grow_at_random_up_to_the_limit(
    sandbox: Sandbox, make_client: MakeClient, sandbox_time: SandboxTime
) -> None:
    sandbox.inject(Fault.status(503), times=None)
    with pytest.raises(ServerError) as caught:
        make_client(max_retries=40, max_retry_wait=4).get("infer-1")
    assert caught.value.attempts == 41
    bounds = [min(0.5 * 2**number, 4.0) for number in range(40)]
    assert all(0 <= slept <= bound for slept, bound in zip(sandbox_time.sleeps, bounds, strict=True))
    assert max(sandbox_time.sleeps) > 2  # it has grown
    assert len(set(sandbox_time.sleeps)) == 40  # and is random


def test_budget_of_time_holds_over_all_attempts(
    sandbox: Sandbox, make_client: MakeClient, sandbox_time: SandboxTime
) -> None:
    sandbox.inject(Fault.status(429, retry_after=4), times=None)
    with pytest.raises(RateLimitError) as caught:
        make_client(retry_budget=10, max_retries=100).get("infer-1")
    assert caught.value.attempts == 3  # at 0, 4 and 8 seconds
    assert sandbox_time.sleeps == [4.0, 4.0]


def test_no_retries_sends_once(sandbox: Sandbox, make_client: MakeClient, sandbox_time: SandboxTime) -> None:
    sandbox.inject(Fault.reset_before(), times=None)
    with pytest.raises(ServiceUnreachableError) as caught:
        make_client(max_retries=0).get("infer-1")
    assert (caught.value.attempts, len(sandbox.requests), sandbox_time.sleeps) == (1, 1, [])


def test_budget_of_no_time_sends_once(
    sandbox: Sandbox, make_client: MakeClient, sandbox_time: SandboxTime
) -> None:
    sandbox.inject(Fault.status(429, retry_after=0), times=None)
    with pytest.raises(RateLimitError) as caught:
        make_client(retry_budget=0).get("infer-1")
    assert (caught.value.attempts, len(sandbox.requests), sandbox_time.sleeps) == (1, 1, [])


def test_reply_tells_attempts_and_the_time_of_all_of_them(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(Fault.status(429, retry_after=3), times=2)
    reply = client.call(GET, {"taskId": task_id})
    assert reply.attempts == 3
    assert reply.elapsed == pytest.approx(6.0)


def test_each_repeat_is_one_line_of_warning(
    sandbox: Sandbox, client: TaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(Fault.status(503, message="overloaded", retry_after=3))
    sandbox.inject(Fault.status(429, message="slow down", retry_after=2))
    client.get(task_id)
    ids = [request.request_id for request in sandbox.requests]
    assert [(record.name, record.levelname) for record in caplog.records] == [("qf_tasks", "WARNING")] * 2
    assert caplog.messages == [
        f"{GET} failed (overloaded [ServiceUnavailable, request id {ids[0]}]), attempt 1; again in 3.0 s",
        f"{GET} failed (slow down [TooManyRequests, request id {ids[1]}]), attempt 2; again in 2.0 s",
    ]


@pytest.mark.parametrize("told", [5.0, 0.5])
def test_rate_limit_of_one_thread_holds_back_the_others(sandbox: Sandbox, told: float) -> None:
    task_id = sandbox.add_task()
    others: list[Any] = []

    class Interleaved(SandboxTime):
        def sleep(self, seconds: float) -> None:
            if not others:  # while the first thread is to sleep, another one comes along
                others.append(threading.Thread(target=client.get, args=(task_id,)))
                others[0].start()
                others[0].join()
            super().sleep(seconds)

    time = Interleaved(sandbox)
    client = client_of(sandbox, time)
    sandbox.inject(Fault.status(429, retry_after=told))
    with client:
        client.get(task_id)
    assert time.sleeps == [told, told]
    assert [request.status for request in sandbox.requests] == [429, 200, 200]


def test_service_that_comes_back_is_reached(sandbox: Sandbox) -> None:
    task_id = sandbox.add_task()

    class Restarting(SandboxTime):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            sandbox.start()

    sandbox.stop()
    with client_of(sandbox, Restarting(sandbox)) as client:
        assert client.delete(task_id).attempts == 2
    assert sandbox.tasks == {}
