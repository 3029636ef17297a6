"""Deleting many tasks by id: the outcome of each, and what ends a run."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qf_tasks import BulkReport, InvalidArgumentError, TaskClient
from qf_tasks.sandbox import Fault, Sandbox, ServerBehavior
from tests.conftest import MakeClient

DELETE = "DeleteBatchInferenceTask"
FAULTS = [
    Fault.reset_before(),
    Fault.reset_after(),
    Fault.truncated(),
    Fault.status(429),
    Fault.status(429, retry_after=5),
    Fault.status(503),
    Fault.status(500, applied=True),
    Fault.html(502),
]
IS_GONE = {"deleted": True, "already_gone": True, "failed": False, "not_tried": False}


def outcomes(report: BulkReport) -> list[str]:
    return [outcome.outcome for outcome in report]


def test_delete_many_deletes_all(client: TaskClient, sandbox: Sandbox) -> None:
    report = client.delete_many(sandbox.add_tasks(30))

    assert outcomes(report) == ["deleted"] * 30
    assert sandbox.tasks == {}


def test_delete_many_with_repeated_ids_deletes_each_once_in_order(
    client: TaskClient, sandbox: Sandbox
) -> None:
    first, second = sandbox.add_tasks(2)

    report = client.delete_many([second, client.get(first), second, first])

    assert [outcome.task_id for outcome in report] == [second, first]
    assert Counter(request.params["taskId"] for request in sandbox.requests if request.action == DELETE) == {
        first: 1,
        second: 1,
    }


def test_delete_many_reports_request_ids(client: TaskClient, sandbox: Sandbox) -> None:
    report = client.delete_many(sandbox.add_tasks(3))

    sent = {request.params["taskId"]: request.request_id for request in sandbox.requests}
    assert {outcome.task_id: outcome.request_id for outcome in report} == sent


def test_delete_many_of_no_tasks_returns_empty_report(
    client: TaskClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    report = client.delete_many([])

    assert (len(report), report.ok, sandbox.requests, caplog.messages) == (0, True, [], [])


def test_delete_many_with_one_rejected_deletes_the_others(client: TaskClient, sandbox: Sandbox) -> None:
    running = sandbox.add_task(run_status="Running")
    ended = sandbox.add_tasks(3)

    report = client.delete_many([running, *ended])

    assert outcomes(report) == ["failed", "deleted", "deleted", "deleted"]
    error = report.outcomes[0].error
    assert error
    assert (error.kind, error.code) == ("TaskStateError", "InvalidTaskStatus")
    assert "stop_first" in (error.hint or "")
    assert list(sandbox.tasks) == [running]


def test_delete_many_with_stop_first_stops_running_tasks(client: TaskClient, sandbox: Sandbox) -> None:
    report = client.delete_many(sandbox.add_tasks(3, run_status="Running"), stop_first=True)

    assert outcomes(report) == ["deleted"] * 3
    assert sandbox.tasks == {}


@pytest.mark.parametrize(("missing_ok", "expected"), [(False, "not_found"), (True, "already_gone")])
def test_delete_many_of_missing_id_reports_it(
    client: TaskClient, sandbox: Sandbox, missing_ok: bool, expected: str
) -> None:
    report = client.delete_many(["infer-gone", sandbox.add_task()], missing_ok=missing_ok)

    assert outcomes(report) == [expected, "deleted"]
    assert report.ok is missing_ok
    kinds = [outcome.error and outcome.error.kind for outcome in report]
    assert kinds == [None if missing_ok else "TaskNotFoundError", None]


def test_delete_many_after_lost_response_reports_already_gone(client: TaskClient, sandbox: Sandbox) -> None:
    lost, other = sandbox.add_tasks(2)
    sandbox.inject(Fault.reset_after(), action=DELETE, task_id=lost)

    assert outcomes(client.delete_many([lost, other])) == ["already_gone", "deleted"]


def test_delete_many_that_may_have_been_applied_reports_unknown(
    make_client: MakeClient, sandbox: Sandbox
) -> None:
    lost, other = sandbox.add_tasks(2)
    sandbox.inject(Fault.reset_after(), action=DELETE, task_id=lost)

    report = make_client(max_retries=0).delete_many([lost, other])

    assert outcomes(report) == ["unknown", "deleted"]
    assert report.remaining == (lost,)


@pytest.mark.parametrize(("status", "code"), [(401, "SignatureDoesNotMatch"), (403, "OptInRequired")])
def test_delete_many_with_rejected_keys_tries_no_others(
    client: TaskClient, sandbox: Sandbox, status: int, code: str
) -> None:
    task_ids = sandbox.add_tasks(20)
    sandbox.inject(Fault.status(status, code=code), times=None)

    report = client.delete_many(task_ids, max_workers=2)

    assert set(outcomes(report)) == {"failed", "not_tried"}
    assert len(sandbox.requests) == report.counts["failed"] <= 2
    assert list(report.remaining) == task_ids == list(sandbox.tasks)


def test_delete_many_with_access_denied_for_one_deletes_the_others(
    client: TaskClient, sandbox: Sandbox
) -> None:
    task_ids = sandbox.add_tasks(10)
    sandbox.inject(Fault.status(403, code="AccessDenied"), task_id=task_ids[0])

    assert outcomes(client.delete_many(task_ids, max_workers=1)) == ["failed"] + ["deleted"] * 9


def test_delete_many_calls_on_progress_for_each_outcome(client: TaskClient, sandbox: Sandbox) -> None:
    task_ids = sandbox.add_tasks(10)
    calls: list[tuple[str, int, int]] = []

    client.delete_many(
        task_ids, on_progress=lambda outcome, done, total: calls.append((outcome.task_id, done, total))
    )

    assert [numbers for _, *numbers in calls] == [[done, 10] for done in range(1, 11)]
    assert {task_id for task_id, *_ in calls} == set(task_ids)


def test_delete_many_calls_on_progress_in_the_callers_thread(
    blocking_client: TaskClient, sandbox: Sandbox
) -> None:
    threads: set[threading.Thread] = set()

    blocking_client.delete_many(
        sandbox.add_tasks(10), on_progress=lambda *_: threads.add(threading.current_thread())
    )

    assert threads == {threading.current_thread()}


def test_delete_many_uses_at_most_one_connection_per_worker(client: TaskClient, sandbox: Sandbox) -> None:
    sandbox.service_time = 0.005

    client.delete_many(sandbox.add_tasks(40), max_workers=5)

    assert 1 < sandbox.connections <= 5


def test_delete_many_after_rate_limit_pauses_all_workers(
    client: TaskClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.inject(Fault.status(429, retry_after=30), skip=5)
    began = sandbox.now

    report = client.delete_many(sandbox.add_tasks(20))

    assert report.ok
    assert (sandbox.now - began).total_seconds() >= 30
    assert "30.0 s" in caplog.text


def test_delete_many_with_long_retry_after_tries_no_others(client: TaskClient, sandbox: Sandbox) -> None:
    task_ids = sandbox.add_tasks(50)
    sandbox.inject(Fault.status(429, retry_after=3600), times=None)

    report = client.delete_many(task_ids, max_workers=4)

    assert report.counts["failed"] + report.counts["not_tried"] == 50
    assert len(sandbox.requests) <= 8


def test_delete_many_of_plan_raises(client: TaskClient, sandbox: Sandbox) -> None:
    sandbox.add_tasks(2)
    plan = client.plan_purge(run_status="Done")
    with pytest.raises(InvalidArgumentError, match="purge"):
        client.delete_many(plan)
    assert len(sandbox.tasks) == 2


@pytest.mark.parametrize("missing_ok", [False, True])
def test_delete_many_with_all_missing_warns_with_the_account(
    client: TaskClient, caplog: pytest.LogCaptureFixture, missing_ok: bool
) -> None:
    client.delete_many(["infer-a", "infer-b"], missing_ok=missing_ok)

    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.name == "qf_tasks"
    assert str(client.account) in warning.getMessage()


@pytest.mark.parametrize("missing", [1, 2])
def test_delete_many_with_few_missing_does_not_warn(
    client: TaskClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, missing: int
) -> None:
    found = sandbox.add_tasks(missing - 1)

    client.delete_many(["infer-a", *found])

    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_delete_many_of_generator_reads_it_before_the_first_request(
    client: TaskClient, sandbox: Sandbox
) -> None:
    def named() -> Iterator[str]:
        yield from sandbox.add_tasks(3)
        assert sandbox.requests == []
        yield " padded "

    with pytest.raises(InvalidArgumentError, match=r"tasks\[3\]"):
        client.delete_many(named())
    assert len(sandbox.tasks) == 3


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"tasks": "infer-a"}, "tasks"),
        ({"max_workers": 0}, "max_workers"),
        ({"max_workers": 65}, "max_workers"),
        ({"max_workers": 2.0}, "max_workers"),
        ({"stop_timeout": -1}, "stop_timeout"),
        ({"journal": 3}, "journal"),
        ({"journal": ""}, "journal"),
    ],
)
def test_delete_many_with_invalid_argument_sends_nothing(
    client: TaskClient, sandbox: Sandbox, arguments: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=named):
        client.delete_many(**{"tasks": sandbox.add_tasks(1), **arguments})
    assert sandbox.requests == []


@pytest.mark.parametrize("status", [400, 403, 404, 409])
@pytest.mark.parametrize("journal", [False, True])
def test_delete_many_with_every_request_rejected_alike_never_reports_already_gone(
    client: TaskClient, sandbox: Sandbox, tmp_path: Path, status: int, journal: bool
) -> None:
    task_ids = sandbox.add_tasks(4)
    sandbox.behavior = ServerBehavior(reject_all=(status, "AccountInArrears", "the account is in arrears"))

    report = client.delete_many(task_ids, missing_ok=True, journal=tmp_path / "journal" if journal else None)

    assert outcomes(report) == ["failed"] * 4
    assert list(sandbox.tasks) == task_ids


@pytest.mark.parametrize("max_retries", [0, 3])
def test_delete_many_under_random_faults_reports_what_is_true(
    make_client: MakeClient, sandbox: Sandbox, max_retries: int
) -> None:
    task_ids = sandbox.add_tasks(200)
    rejected = Fault.status(401, code="InvalidAccessKeyId")
    sandbox.inject(rejected, action=DELETE, task_id=task_ids[170], times=None)
    sandbox.inject_random(0.2, FAULTS, seed=7)

    report = make_client(max_retries=max_retries).delete_many(task_ids)

    assert [outcome.task_id for outcome in report] == task_ids
    for outcome in report:
        if outcome.outcome != "unknown":
            assert (outcome.task_id not in sandbox.tasks) is IS_GONE[outcome.outcome], outcome
    assert report.outcomes[170].error
    assert report.outcomes[170].error.kind == "AuthenticationError"
    assert report.counts["deleted"] > 100
    assert 0 < report.counts["not_tried"] < 30
    if not max_retries:
        unknown = [outcome.task_id in sandbox.tasks for outcome in report if outcome.outcome == "unknown"]
        assert {True, False} == set(unknown)


def test_delete_many_of_remaining_deletes_the_rest(make_client: MakeClient, sandbox: Sandbox) -> None:
    client = make_client(max_retries=0)
    sandbox.inject_random(0.3, FAULTS, seed=11)
    report = client.delete_many(sandbox.add_tasks(100))
    assert report.remaining

    sandbox.inject_random(0, [], seed=0)
    rest = client.delete_many(report.remaining, missing_ok=True)

    assert (rest.ok, sandbox.tasks) == (True, {})
