"""Which failures are retried for which action, how long a retry is delayed, and when it is given up."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from qf_tasks import (
    QfTasksError,
    RateLimitError,
    ServerError,
    ServiceUnreachableError,
    TaskClient,
    WaitTimeoutError,
)
from qf_tasks._operations.retry import RetryPolicy
from qf_tasks.sandbox import Fault, Sandbox
from tests.clients import Kind, SandboxTime, client_of
from tests.conftest import MakeClient
from tests.transport import network_faults
from tests.transport.network_faults import NetworkFault, injected

GET, DELETE = "DescribeBatchInferenceTask", "DeleteBatchInferenceTask"

# What a caller gets if a failure persists and one retry is allowed.
#     retried           two attempts; nothing was applied, and the call is retryable
#     retried, unknown  two attempts; they may have been applied, and the call is retryable all the same
#     unknown           one attempt; it may have been applied, so the call is not retryable
#     raised            one attempt; nothing was applied, and the call is not retryable
PERSISTENT = """\
                   | error              | read    | delete           | create  | unknown action
name not resolved  | ServiceUnreachable | retried | retried          | retried | retried
connection refused | ServiceUnreachable | retried | retried          | retried | retried
connect timeout    | RequestTimeout     | retried | retried          | retried | retried
proxy refuses      | ServiceUnreachable | retried | retried          | retried | retried
wrong certificate  | ServiceUnreachable | raised  | raised           | raised  | raised
TLS broken before  | ServiceUnreachable | retried | retried, unknown | unknown | unknown
TLS broken after   | ServiceUnreachable | retried | retried, unknown | unknown | unknown
TLS closed after   | ServiceUnreachable | retried | retried, unknown | unknown | unknown
proxy drops before | ServiceUnreachable | retried | retried, unknown | unknown | unknown
proxy drops after  | ServiceUnreachable | retried | retried, unknown | unknown | unknown
reset before       | ServiceUnreachable | retried | retried, unknown | unknown | unknown
reset after        | ServiceUnreachable | retried | retried, unknown | unknown | unknown
truncated          | ServiceUnreachable | retried | retried, unknown | unknown | unknown
slow               | RequestTimeout     | retried | retried, unknown | unknown | unknown
429                | RateLimit          | retried | retried          | retried | retried
429 page           | RateLimit          | retried | retried          | retried | retried
busy in 200        | RateLimit          | retried | retried          | retried | retried
500                | Server             | retried | retried, unknown | unknown | unknown
500, busy code     | Server             | retried | retried, unknown | unknown | unknown
503                | Server             | retried | retried, unknown | unknown | unknown
502 page           | Server             | retried | retried, unknown | unknown | unknown
internal in 200    | Server             | retried | retried, unknown | unknown | unknown
half as long       | BadResponse        | raised  | unknown          | unknown | unknown
200 page           | BadResponse        | raised  | unknown          | unknown | unknown
403                | PermissionDenied   | raised  | raised           | raised  | raised
"""
FAILURES: dict[str, NetworkFault] = {
    "name not resolved": network_faults.unresolved,
    "connection refused": network_faults.REFUSED_PORT,
    "connect timeout": network_faults.SILENT_PORT,
    "proxy refuses": network_faults.PROXY_REFUSES,
    "wrong certificate": network_faults.wrong_certificate,
    "TLS broken before": network_faults.TLS_BROKEN_BEFORE,
    "TLS broken after": network_faults.TLS_BROKEN_AFTER,
    "TLS closed after": network_faults.TLS_CLOSED_AFTER,
    "proxy drops before": network_faults.PROXY_DROPS_BEFORE,
    "proxy drops after": network_faults.PROXY_DROPS_AFTER,
    "reset before": injected(Fault.reset_before()),
    "reset after": injected(Fault.reset_after()),
    "truncated": injected(Fault.truncated()),
    "slow": injected(Fault.slow(3.0), request_timeout=0.25),
    "429": injected(Fault.status(429)),
    "429 page": injected(Fault.html(429)),
    "busy in 200": injected(Fault.hidden_error("336501", "busy")),
    "500": injected(Fault.status(500)),
    "500, busy code": injected(Fault.status(500, code="336501")),
    "503": injected(Fault.status(503)),
    "502 page": injected(Fault.html(502)),
    "internal in 200": injected(Fault.hidden_error("InternalError", "something failed inside")),
    "half as long": network_faults.short_length,
    "200 page": injected(Fault.html(200)),
    "403": injected(Fault.status(403)),
}
CALLS: dict[str, tuple[str, dict[str, str]]] = {
    "read": (GET, {"taskId": "infer-9ia3kc1wt9mp"}),
    "delete": (DELETE, {"taskId": "infer-9ia3kc1wt9mp"}),
    "create": (
        "CreateBatchInferenceTask",
        {"name": "nightly", "endpoint": "e", "inputBosUri": "bos:/b/in/", "outputBosUri": "bos:/b/out/"},
    ),
    "unknown action": ("SomethingNew", {}),
}
OUTCOMES = {  # by attempts, may_have_been_applied and retryable
    (2, False, True): "retried",
    (2, True, True): "retried, unknown",
    (1, True, False): "unknown",
    (1, False, False): "raised",
}


@pytest.mark.parametrize("row", PERSISTENT.splitlines()[1:], ids=lambda row: row.partition(" |")[0].strip())
def test_call_with_persistent_failure_is_retried_where_that_is_safe(
    tmp_path: Path, kind: Kind, row: str
) -> None:
    failure, error, *outcomes = [text.strip() for text in row.split("|")]

    with ThreadPoolExecutor(len(CALLS)) as pool:
        observed = [*pool.map(lambda call: _observe(FAILURES[failure], tmp_path / call, kind, call), CALLS)]

    assert observed == [f"{error}Error, {outcome}" for outcome in outcomes]


def _observe(failure: NetworkFault, directory: Path, kind: Kind, call: str) -> str:
    directory.mkdir()
    with (
        failure(directory) as (sandbox, settings),
        client_of(sandbox, kind=kind, max_retries=1, **settings) as client,
    ):
        with pytest.raises(QfTasksError) as caught:
            client.call(*CALLS[call])
        error = caught.value
        assert len(sandbox.requests) in (0, error.attempts)
    outcome = OUTCOMES[error.attempts or 0, error.may_have_been_applied, error.retryable]
    return f"{type(error).__name__}, {outcome}"


def test_call_with_wrong_certificate_has_a_hint_that_names_ca_bundle(tmp_path: Path, kind: Kind) -> None:
    with (
        network_faults.wrong_certificate(tmp_path) as (sandbox, settings),
        client_of(sandbox, kind=kind, **settings) as client,
        pytest.raises(ServiceUnreachableError) as caught,
    ):
        client.models()

    assert caught.value.code == "CertificateNotVerified"
    assert "ca_bundle" in (caught.value.hint or "")


# The delay that the service asks for.


def test_get_with_retry_after_sleeps_as_long(
    sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime
) -> None:
    task_id = sandbox.add_task()

    for status, retry_after in [(429, "0"), (503, "2.5"), (429, " 7 "), (503, "60")]:
        sandbox.inject(Fault.status(status, retry_after=retry_after))
        client.get(task_id)

    assert sandbox_time.sleeps == [0.0, 2.5, 7.0, 60.0]


def test_get_with_meaningless_retry_after_backs_off(
    sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime
) -> None:
    task_id = sandbox.add_task()
    meaningless = ["-5", "nan", "inf", "soon", "", "1e3", "1_0", "0x10", "９"]

    for retry_after in meaningless:
        sandbox.inject(Fault.status(503, retry_after=retry_after))
        client.get(task_id)

    assert len(sandbox_time.sleeps) == len(meaningless)
    assert all(0 <= slept <= 0.5 for slept in sandbox_time.sleeps)


@pytest.mark.parametrize("seconds", [30.0, -3600.0])
def test_get_with_retry_after_as_a_date_sleeps_by_the_clock_of_the_service(
    sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime, seconds: float
) -> None:
    task_id = sandbox.add_task()
    sandbox.clock_offset = 200.0
    date = (sandbox.now + timedelta(seconds=200 + seconds)).replace(microsecond=0)
    sandbox.inject(Fault.status(503, retry_after=format_datetime(date, usegmt=True)))

    client.get(task_id)

    assert sandbox_time.sleeps == [max(0.0, seconds)]


@pytest.mark.parametrize("retry_after", ["61", "999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_get_with_retry_after_beyond_max_retry_wait_raises_at_once(
    sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime, retry_after: str
) -> None:
    sandbox.inject(Fault.status(429, retry_after=retry_after))

    with pytest.raises(RateLimitError) as caught:
        client.get("infer-1")

    error = caught.value
    assert error.retry_after is not None
    assert error.retry_after == float(retry_after) if retry_after.isdigit() else error.retry_after > 1e9
    assert (error.attempts, error.retryable, error.may_have_been_applied) == (1, True, False)
    assert sandbox_time.sleeps == []


def test_get_with_retry_after_of_an_hour_sleeps_an_hour_if_max_retry_wait_allows(
    sandbox: Sandbox, make_client: MakeClient, sandbox_time: SandboxTime
) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(Fault.status(429, retry_after=3600))

    make_client(max_retry_wait="1h", retry_budget="2h").get(task_id)

    assert sandbox_time.sleeps == [3600.0]


# Back-off and limits.


def test_get_with_persistent_failure_backs_off_at_random_up_to_max_retry_wait(
    sandbox: Sandbox, make_client: MakeClient, sandbox_time: SandboxTime
) -> None:
    sandbox.inject(Fault.status(503), times=None)

    with pytest.raises(ServerError) as caught:
        make_client(max_retries=40, max_retry_wait=4).get("infer-1")

    assert caught.value.attempts == 41
    bounds = [min(0.5 * 2**number, 4.0) for number in range(40)]
    assert all(0 <= slept <= bound for slept, bound in zip(sandbox_time.sleeps, bounds, strict=True))
    assert max(sandbox_time.sleeps) > 2
    assert len(set(sandbox_time.sleeps)) == 40


def test_back_off_after_thousands_of_attempts_is_still_a_number() -> None:
    policy = RetryPolicy(max_retries=10_000, max_wait=0.1, budget=300)

    assert 0 <= policy.delay(5000, None) <= 0.1


def test_get_with_persistent_failure_ends_when_the_budget_is_used_up(
    sandbox: Sandbox, make_client: MakeClient, sandbox_time: SandboxTime
) -> None:
    sandbox.inject(Fault.status(429, retry_after=4), times=None)

    with pytest.raises(RateLimitError) as caught:
        make_client(retry_budget=10, max_retries=100).get("infer-1")

    assert caught.value.attempts == 3
    assert sandbox_time.sleeps == [4.0, 4.0]


@pytest.mark.parametrize("limit", ["max_retries", "retry_budget"])
def test_get_without_retries_or_budget_is_sent_once(
    sandbox: Sandbox, make_client: MakeClient, sandbox_time: SandboxTime, limit: str
) -> None:
    sandbox.inject(Fault.status(429, retry_after=0), times=None)

    with pytest.raises(RateLimitError) as caught:
        make_client(**{limit: 0}).get("infer-1")

    assert (caught.value.attempts, len(sandbox.requests), sandbox_time.sleeps) == (1, 1, [])


def test_wait_does_not_retry_beyond_its_timeout(
    sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime
) -> None:
    task_id = sandbox.add_task(run_status="Running")
    sandbox.inject(Fault.status(429, retry_after=50), skip=1, times=None)

    with pytest.raises(WaitTimeoutError):
        client.wait(task_id, timeout=20)

    assert sum(sandbox_time.sleeps) == pytest.approx(20, abs=1)


# What a retry leaves behind.


def test_call_that_was_retried_returns_attempts_and_the_time_of_all_of_them(
    sandbox: Sandbox, client: TaskClient
) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(Fault.status(429, retry_after=3), times=2)

    response = client.call(GET, {"taskId": task_id})

    assert response.attempts == 3
    assert response.elapsed == pytest.approx(6.0)


def test_each_retry_is_one_warning(
    sandbox: Sandbox, client: TaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(Fault.status(503, message="overloaded", retry_after=3))
    sandbox.inject(Fault.status(429, message="slow down", retry_after=2))

    client.get(task_id)

    first, second, _ = [request.request_id for request in sandbox.requests]
    assert [(record.name, record.levelname) for record in caplog.records] == [("qf_tasks", "WARNING")] * 2
    assert caplog.messages == [
        f"{GET} failed (overloaded [ServiceUnavailable, request id {first}]), attempt 1; retrying in 3.0 s",
        f"{GET} failed (slow down [TooManyRequests, request id {second}]), attempt 2; retrying in 2.0 s",
    ]


def test_delete_after_the_service_has_restarted_succeeds(sandbox: Sandbox, kind: Kind) -> None:
    task_id = sandbox.add_task()

    class Restarting(SandboxTime):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            sandbox.start()

    sandbox.stop()
    with client_of(sandbox, Restarting(sandbox), kind=kind) as client:
        assert client.delete(task_id).attempts == 2

    assert sandbox.tasks == {}


# A rate limit is meant for the account: all calls of a client pause.


class Interrupting(SandboxTime):
    """A time in whose first sleep another call begins, which runs to its end in a thread."""

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(sandbox)
        self.other_call: Any = None

    def sleep(self, seconds: float) -> None:
        if self.other_call:
            thread = threading.Thread(target=self.other_call)
            self.other_call = None
            thread.start()
            thread.join()
        super().sleep(seconds)


@pytest.mark.parametrize("retry_after", [5.0, 0.5])
def test_get_during_the_rate_limit_of_another_call_pauses_too(sandbox: Sandbox, retry_after: float) -> None:
    task_id = sandbox.add_task()
    time = Interrupting(sandbox)
    sandbox.inject(Fault.status(429, retry_after=retry_after))

    with client_of(sandbox, time) as client:
        time.other_call = lambda: client.get(task_id)
        client.get(task_id)

    assert time.sleeps == [retry_after, retry_after]
    assert [request.status for request in sandbox.requests] == [429, 200, 200]


def test_wait_during_the_rate_limit_of_another_call_pauses_until_its_timeout_at_most(
    sandbox: Sandbox,
) -> None:
    task_id = sandbox.add_task(run_status="Running")
    time = Interrupting(sandbox)
    sandbox.inject(Fault.status(429, retry_after=50))
    raised: list[Exception] = []

    def wait() -> None:
        try:
            client.wait(task_id, timeout=3)
        except WaitTimeoutError as error:
            raised.append(error)

    with client_of(sandbox, time) as client:
        time.other_call = wait
        client.get(task_id)

    assert len(raised) == 1
    *pauses, own_pause = time.sleeps
    assert own_pause == 50.0
    assert sum(pauses) < 10
