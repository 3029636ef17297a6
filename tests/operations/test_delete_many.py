"""Deleting many named tasks: what is asked, what stops a run, and what the report says of each."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from qf_tasks import BulkOutcome, InvalidArgumentError, TaskClient
from qf_tasks.sandbox import Fault, Sandbox
from tests.conftest import MakeClient

DELETE = "DeleteBatchInferenceTask"


def outcomes(report: Any) -> list[str]:
    return [outcome.outcome for outcome in report]


def test_delete_many_of_several_leaves_none(client: TaskClient, sandbox: Sandbox) -> None:
    report = client.delete_many(sandbox.add_tasks(30))

    assert outcomes(report) == ["deleted"] * 30
    assert sandbox.tasks == {}


def test_delete_many_of_ids_named_twice_sends_each_once_and_keeps_the_order(
    client: TaskClient, sandbox: Sandbox
) -> None:
    first, second = sandbox.add_tasks(2)

    report = client.delete_many([second, client.get(first), second, first])

    assert [outcome.task_id for outcome in report] == [second, first]
    assert Counter(request.params["taskId"] for request in sandbox.requests if request.action == DELETE) == {
        first: 1,
        second: 1,
    }


def test_delete_many_names_the_request_that_deleted_each(client: TaskClient, sandbox: Sandbox) -> None:
    report = client.delete_many(sandbox.add_tasks(3))

    sent = {request.params["taskId"]: request.request_id for request in sandbox.requests}
    assert {outcome.task_id: outcome.request_id for outcome in report} == sent


def test_delete_many_of_nothing_is_an_empty_report(
    client: TaskClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    report = client.delete_many([])

    assert (len(report), report.ok, sandbox.requests, caplog.messages) == (0, True, [], [])


def test_delete_many_with_one_refused_does_the_others(client: TaskClient, sandbox: Sandbox) -> None:
    running = sandbox.add_task(run_status="Running")
    ended = sandbox.add_tasks(3)

    report = client.delete_many([running, *ended])

    assert outcomes(report) == ["failed", "deleted", "deleted", "deleted"]
    error = report.outcomes[0].error
    assert error
    assert (error.kind, error.code) == ("TaskStateError", "InvalidTaskStatus")
    assert "stop_first" in (error.hint or "")
    assert list(sandbox.tasks) == [running]


def test_delete_many_with_stop_first_stops_what_runs(client: TaskClient, sandbox: Sandbox) -> None:
    report = client.delete_many(sandbox.add_tasks(3, run_status="Running"), stop_first=True)

    assert outcomes(report) == ["deleted"] * 3
    assert sandbox.tasks == {}


@pytest.mark.parametrize(("missing_ok", "expected"), [(False, "not_found"), (True, "already_gone")])
def test_delete_many_of_a_missing_id_says_so(
    client: TaskClient, sandbox: Sandbox, missing_ok: bool, expected: str
) -> None:
    report = client.delete_many(["infer-gone", sandbox.add_task()], missing_ok=missing_ok)

    assert outcomes(report) == [expected, "deleted"]
    assert report.ok is missing_ok
    kinds = [outcome.error and outcome.error.kind for outcome in report]
    assert kinds == [None if missing_ok else "TaskNotFoundError", None]


def test_delete_many_whose_answer_was_lost_is_already_gone(client: TaskClient, sandbox: Sandbox) -> None:
    lost, other = sandbox.add_tasks(2)
    sandbox.inject(Fault.reset_after(), action=DELETE, task_id=lost)

    assert outcomes(client.delete_many([lost, other])) == ["already_gone", "deleted"]


def test_delete_many_that_may_have_been_applied_is_unknown(make_client: MakeClient, sandbox: Sandbox) -> None:
    lost, other = sandbox.add_tasks(2)
    sandbox.inject(Fault.reset_after(), action=DELETE, task_id=lost)

    report = make_client(max_retries=0).delete_many([lost, other])

    assert outcomes(report) == ["unknown", "deleted"]
    assert report.remaining == (lost,)


@pytest.mark.parametrize(("status", "code"), [(401, "SignatureDoesNotMatch"), (403, "OptInRequired")])
def test_delete_many_with_refused_keys_does_not_try_the_rest(
    client: TaskClient, sandbox: Sandbox, status: int, code: str
) -> None:
    task_ids = sandbox.add_tasks(20)
    sandbox.inject(Fault.status(status, code=code), times=None)

    report = client.delete_many(task_ids, max_workers=2)

    assert set(outcomes(report)) == {"failed", "not_tried"}
    assert len(sandbox.requests) == report.counts["failed"] <= 2
    assert list(report.remaining) == task_ids == list(sandbox.tasks)


def test_delete_many_with_access_denied_for_one_does_the_others(client: TaskClient, sandbox: Sandbox) -> None:
    task_ids = sandbox.add_tasks(10)
    sandbox.inject(Fault.status(403, code="AccessDenied"), task_id=task_ids[0])

    assert outcomes(client.delete_many(task_ids, max_workers=1)) == ["failed"] + ["deleted"] * 9


def test_delete_many_tells_progress_in_the_callers_thread(client: TaskClient, sandbox: Sandbox) -> None:
    task_ids = sandbox.add_tasks(10)
    told: list[tuple[str, int, int]] = []
    threads: set[threading.Thread] = set()

    def on_progress(outcome: BulkOutcome, done: int, total: int) -> None:
        told.append((outcome.task_id, done, total))
        threads.add(threading.current_thread())

    client.delete_many(task_ids, on_progress=on_progress)

    assert [numbers for _, *numbers in told] == [[done, 10] for done in range(1, 11)]
    assert {task_id for task_id, *_ in told} == set(task_ids)
    assert threads == {threading.current_thread()}


def test_delete_many_uses_a_connection_per_worker_at_most(client: TaskClient, sandbox: Sandbox) -> None:
    sandbox.service_time = 0.005

    client.delete_many(sandbox.add_tasks(40), max_workers=5)

    assert 1 < sandbox.connections <= 5


def test_delete_many_after_a_429_holds_all_workers_back(
    client: TaskClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.inject(Fault.status(429, retry_after=30), skip=5)
    began = sandbox.now

    report = client.delete_many(sandbox.add_tasks(20))

    assert report.ok
    assert (sandbox.now - began).total_seconds() >= 30
    assert "30.0 s" in caplog.text


def test_delete_many_sent_away_for_longer_than_it_may_wait_tries_no_more(
    make_client: MakeClient, sandbox: Sandbox
) -> None:
    task_ids = sandbox.add_tasks(50)
    sandbox.inject(Fault.status(429, retry_after=3600), times=None)
    report = make_client().delete_many(task_ids, max_workers=4)
    assert report.counts["failed"] + report.counts["not_tried"] == 50
    assert len(sandbox.requests) <= 8


def test_delete_many_of_a_plan_is_refused(client: TaskClient, sandbox: Sandbox) -> None:
    sandbox.add_tasks(2)
    plan = client.plan_purge(run_status="Done")
    with pytest.raises(InvalidArgumentError, match="purge"):
        client.delete_many(plan)
    assert len(sandbox.tasks) == 2


@pytest.mark.parametrize("missing_ok", [False, True])
def test_delete_many_of_ids_that_are_all_missing_warns_of_the_account(
    client: TaskClient, caplog: pytest.LogCaptureFixture, missing_ok: bool
) -> None:
    client.delete_many(["infer-a", "infer-b"], missing_ok=missing_ok)

    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.name == "qf_tasks"
    assert str(client.account) in warning.getMessage()


@pytest.mark.parametrize("missing", [1, 2])
def test_delete_many_with_one_missing_id_or_one_found_does_not_warn(
    client: TaskClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, missing: int
) -> None:
    found = sandbox.add_tasks(missing - 1)

    client.delete_many(["infer-a", *found])

    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_delete_many_of_a_generator_reads_it_before_the_first_request(
    client: TaskClient, sandbox: Sandbox
) -> None:
    def named() -> Iterator[str]:
        yield from sandbox.add_tasks(3)
        assert sandbox.requests == []
        yield " padded "

    with pytest.raises(InvalidArgumentError, match=r"tasks\[3\]"):
        client.delete_many(named())
    assert len(sandbox.tasks) == 3


@pytest.mark.parametrize("max_workers", [1, 64])
def test_delete_many_takes_from_one_worker_to_64(
    client: TaskClient, sandbox: Sandbox, max_workers: int
) -> None:
    assert outcomes(client.delete_many(sandbox.add_tasks(2), max_workers=max_workers)) == ["deleted"] * 2


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"tasks": "infer-a"}, "tasks"),
        ({"max_workers": 0}, "max_workers"),
        ({"max_workers": 65}, "max_workers"),
        ({"max_workers": 2.0}, "max_workers"),
        ({"stop_timeout": -1}, "stop_timeout"),
        ({"journal": 3}, "journal"),
    ],
)
def test_delete_many_with_a_bad_argument_sends_nothing(
    client: TaskClient, sandbox: Sandbox, arguments: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=named):
        client.delete_many(**{"tasks": sandbox.add_tasks(1), **arguments})
    assert sandbox.requests == []
