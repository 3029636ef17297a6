"""Waiting for many tasks: one listing for all of them, and what is reported of each."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from qf_tasks import (
    BadResponseError,
    ServerError,
    ServiceUnreachableError,
    Task,
    TaskClient,
    TaskFailedError,
    TaskNotFoundError,
    WaitTimeoutError,
)
from qf_tasks.sandbox import Fault, Sandbox
from tests.clients import SandboxTime, client_of
from tests.operations.slow_service import slow_down

GET = "DescribeBatchInferenceTask"
LIST = "DescribeBatchInferenceTasks"
NOT_FOUND = Fault.status(404, code="TaskNotFound")


def running(sandbox: Sandbox, ends_after: float, ends_as: str = "Done") -> str:
    return sandbox.add_task(run_status="Running", ends_after=ends_after, ends_as=ends_as)


def test_wait_all_of_200_tasks_polls_with_one_listing(
    sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime
) -> None:
    chance = random.SystemRandom()
    task_ids = [running(sandbox, chance.uniform(0, 3600)) for _ in range(200)]
    ended = client.wait_all(task_ids)
    assert list(ended) == task_ids
    assert all(task.is_success for task in ended.values())
    polls = len(sandbox_time.sleeps) + 1
    assert polls > 100
    assert len(sandbox.requests) <= 3 * polls + 200
    assert len(sandbox.requests) < 200 * polls / 40


def test_wait_all_gets_only_tasks_that_are_not_active(sandbox: Sandbox, client: TaskClient) -> None:
    done, active = sandbox.add_task(), [running(sandbox, 0.5), running(sandbox, 1000)]
    with pytest.raises(WaitTimeoutError):
        client.wait_all([done, *active], timeout=1)
    requested = [request.params["taskId"] for request in sandbox.requests if request.action == GET]
    assert requested[:2] == [done, active[0]]
    lists = [request.params for request in sandbox.requests if request.action == LIST]
    assert {tuple(params["runStatus"]) for params in lists} == {("Queuing", "Running", "Stopping")}


def test_wait_all_returns_each_task_once_in_the_order_given(sandbox: Sandbox, client: TaskClient) -> None:
    late, early = running(sandbox, 50), running(sandbox, 5)
    assert list(client.wait_all(iter([late, early, late]))) == [late, early]
    before = len(sandbox.requests)
    assert [task.task_id for task in client.as_completed([late, late])] == [late]
    assert len(sandbox.requests) == before + 1


def test_wait_all_of_no_tasks_sends_nothing(sandbox: Sandbox, client: TaskClient) -> None:
    assert client.wait_all([]) == {}
    assert list(client.as_completed(iter(()))) == []
    assert sandbox.requests == []


def test_wait_all_with_missing_id_raises_at_the_first_poll(
    sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime
) -> None:
    with pytest.raises(TaskNotFoundError) as caught:
        client.wait_all([running(sandbox, 50), "infer-9ia3kc1wt9mp", running(sandbox, 50)])
    assert caught.value.task_id == "infer-9ia3kc1wt9mp"
    assert sandbox_time.sleeps == []


def test_wait_all_raises_once_for_all_failed_tasks(sandbox: Sandbox, client: TaskClient) -> None:
    good, failed, stopped = (
        running(sandbox, 9),
        running(sandbox, 5, "Failed"),
        running(sandbox, 90, "Stopped"),
    )
    with pytest.raises(TaskFailedError, match="2 of 3 tasks did not end as Done") as caught:
        client.wait_all([good, failed, stopped])
    error = caught.value
    assert list(error.tasks) == [good, failed, stopped]
    assert {task_id: task.run_status for task_id, task in error.failed.items()} == {
        failed: "Failed",
        stopped: "Stopped",
    }
    assert all(task_id in str(error) for task_id in (failed, stopped))


def test_wait_all_with_many_failed_tasks_names_the_first_five(sandbox: Sandbox, client: TaskClient) -> None:
    with pytest.raises(TaskFailedError, match=r", …") as caught:
        client.wait_all(sandbox.add_tasks(30, run_status="Failed"))
    assert len(str(caught.value)) < 250


def test_wait_all_with_five_failed_tasks_names_them_all(sandbox: Sandbox, client: TaskClient) -> None:
    task_ids = sandbox.add_tasks(5, run_status="Failed")
    with pytest.raises(TaskFailedError) as caught:
        client.wait_all(task_ids)
    named = ", ".join(f"{task_id} Failed" for task_id in task_ids)
    assert str(caught.value) == f"5 of 5 tasks did not end as Done: {named}"


def test_wait_all_without_raise_on_failure_returns_all_tasks(sandbox: Sandbox, client: TaskClient) -> None:
    task_ids = [running(sandbox, 9), running(sandbox, 5, "Expired")]
    ended = client.wait_all(task_ids, raise_on_failure=False)
    assert [task.run_status for task in ended.values()] == ["Done", "Expired"]


def test_wait_all_at_the_timeout_lists_done_and_pending(sandbox: Sandbox, client: TaskClient) -> None:
    done, failed = running(sandbox, 5), running(sandbox, 9, "Failed")
    pending = [running(sandbox, 1000), running(sandbox, 2000)]
    with pytest.raises(
        WaitTimeoutError, match="2 of 4 tasks have not ended after 60 s; they keep running"
    ) as caught:
        client.wait_all([done, pending[0], failed, pending[1]], timeout=60)
    error = caught.value
    assert {task_id: task.run_status for task_id, task in error.done.items()} == {
        done: "Done",
        failed: "Failed",
    }
    assert (list(error.pending), error.task, error.task_id) == (pending, None, None)
    assert set(error.tasks) == {done, failed, *pending}
    assert all(client.wait_all(error.pending))


def test_wait_all_at_the_timeout_with_none_done_counts_them(sandbox: Sandbox, client: TaskClient) -> None:
    with pytest.raises(WaitTimeoutError, match=r"^2 of 2 tasks have not ended after 1 s; they keep running"):
        client.wait_all([running(sandbox, 50), running(sandbox, 60)], timeout=1)


def test_wait_all_at_the_timeout_with_one_pending_names_it(sandbox: Sandbox, client: TaskClient) -> None:
    pending = running(sandbox, 50)
    with pytest.raises(
        WaitTimeoutError, match=r"^1 of 2 tasks have not ended after 1 s; they keep running"
    ) as caught:
        client.wait_all([sandbox.add_task(), pending], timeout=1)
    assert caught.value.task_id == pending


def test_wait_all_calls_on_change_for_each_task(sandbox: Sandbox, client: TaskClient) -> None:
    changes: list[Task] = []
    task_ids = [running(sandbox, 5), running(sandbox, 50), sandbox.add_task()]
    client.wait_all(task_ids, on_change=changes.append)
    states = {
        task_id: [task.run_status for task in changes if task.task_id == task_id] for task_id in task_ids
    }
    assert {task_id: (seen[0], seen[-1]) for task_id, seen in states.items()} == {
        task_ids[0]: ("Running", "Done"),
        task_ids[1]: ("Running", "Done"),
        task_ids[2]: ("Done", "Done"),
    }


def test_wait_all_continues_through_unknown_state(sandbox: Sandbox, client: TaskClient) -> None:
    unknown = sandbox.add_task(run_status="Archiving", ends_after=100)
    assert client.wait_all([unknown, running(sandbox, 10)])[unknown].run_status == "Done"


def test_wait_all_just_after_create_ignores_not_found(sandbox: Sandbox, client: TaskClient) -> None:
    task: dict[str, Any] = {"endpoint": "e", "input_bos_uri": "bos:/b/in/", "output_bos_uri": "bos:/b/out/"}
    task_ids = [client.create(name=name, **task).task_id for name in ("first", "second")]
    unlisted = Fault.transform(lambda body: {**body, "result": {"taskList": [], "pageInfo": {}}})
    sandbox.inject(unlisted, action=LIST, times=2)
    sandbox.inject(NOT_FOUND, action=GET, times=4)
    assert set(client.wait_all(task_ids)) == set(task_ids)


def test_wait_all_outlasts_short_outage(sandbox: Sandbox, client: TaskClient) -> None:
    task_ids = [running(sandbox, 30), running(sandbox, 60)]
    sandbox.inject(Fault.reset_before(), action=LIST, skip=2, times=12)
    sandbox.inject(Fault.status(503), action=GET, times=7)
    assert set(client.wait_all(task_ids)) == set(task_ids)


def test_wait_all_with_outage_at_the_first_poll_raises_it(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.inject(Fault.reset_before(), action=LIST, times=None)
    with pytest.raises(ServiceUnreachableError):
        client.wait_all([running(sandbox, 30), running(sandbox, 60)])


def test_as_completed_yields_tasks_in_the_order_in_which_they_end(
    sandbox: Sandbox, client: TaskClient
) -> None:
    late, failed, early = running(sandbox, 500), running(sandbox, 60, "Failed"), running(sandbox, 5)
    ended = [(task.task_id, task.run_status) for task in client.as_completed([late, failed, early])]
    assert ended == [(early, "Done"), (failed, "Failed"), (late, "Done")]


def test_as_completed_polls_only_when_iterated(sandbox: Sandbox, client: TaskClient) -> None:
    ending = client.as_completed([running(sandbox, 5), running(sandbox, 500)])
    assert sandbox.requests == []
    next(ending)
    before = len(sandbox.requests)
    sandbox.advance(1000)
    assert len(sandbox.requests) == before
    assert next(ending).is_success


def test_as_completed_at_the_timeout_lists_done_and_pending(sandbox: Sandbox, client: TaskClient) -> None:
    early, late = running(sandbox, 5), running(sandbox, 500)
    ending = client.as_completed([early, late], timeout=60)
    assert next(ending).task_id == early
    with pytest.raises(WaitTimeoutError) as caught:
        next(ending)
    assert (list(caught.value.done), caught.value.pending) == ([early], (late,))


def test_as_completed_with_missing_id_raises_at_the_first_poll(sandbox: Sandbox, client: TaskClient) -> None:
    with pytest.raises(TaskNotFoundError):
        next(client.as_completed([running(sandbox, 50), "infer-9ia3kc1wt9mp"]))


def test_wait_all_interrupted_changes_nothing(sandbox: Sandbox) -> None:
    class Interrupted(SandboxTime):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            raise KeyboardInterrupt

    task_ids = [running(sandbox, 50), running(sandbox, 60)]
    with client_of(sandbox, Interrupted(sandbox)) as client, pytest.raises(KeyboardInterrupt):
        client.wait_all(task_ids)
    assert {request.action for request in sandbox.requests} == {LIST}
    assert {task["runStatus"] for task in sandbox.tasks.values()} == {"Running"}


@pytest.mark.parametrize("seconds", [0.05, 5, 60])
def test_wait_all_with_slow_service_ends_soon_after_the_timeout(
    sandbox: Sandbox, blocking_client: TaskClient, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    task_ids, started = sandbox.add_tasks(500, run_status="Archiving"), sandbox.now
    slow_down(blocking_client, sandbox, seconds, monkeypatch)

    with pytest.raises(WaitTimeoutError, match="500 of 500 tasks have not ended after 1 s"):
        blocking_client.wait_all(task_ids, timeout=1)
    assert (sandbox.now - started).total_seconds() <= 2 + 16 * 0.05


def make_listing_endless(sandbox: Sandbox) -> None:
    """Let each page of a listing announce another one."""
    for number in range(100):
        page = {"taskList": [], "pageInfo": {"isTruncated": True, "nextMarker": f"infer-{number}"}}
        body = json.dumps({"requestId": "7", "result": page}).encode()
        sandbox.inject(Fault.body(body), action=LIST)


def test_wait_all_with_endless_listing_raises(sandbox: Sandbox, client: TaskClient) -> None:
    task_ids = [running(sandbox, 50), running(sandbox, 60)]
    make_listing_endless(sandbox)

    with pytest.raises(BadResponseError, match="does not end"):
        client.wait_all(task_ids, timeout=1)
    assert len(sandbox.requests) <= 20


def test_wait_all_with_endless_slow_listing_ends_soon_after_the_timeout(
    sandbox: Sandbox, blocking_client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_ids, started = [running(sandbox, 50), running(sandbox, 60)], sandbox.now
    make_listing_endless(sandbox)
    slow_down(blocking_client, sandbox, 0.3, monkeypatch)

    with pytest.raises(WaitTimeoutError):
        blocking_client.wait_all(task_ids, timeout=1)
    # The timeout, a second for the last poll, and the request that was being sent then.
    assert (sandbox.now - started).total_seconds() <= 1 + 1 + 0.4


def test_wait_all_of_200_tasks_that_end_together_sends_at_most_20_requests_at_a_time(
    sandbox: Sandbox, client: TaskClient
) -> None:
    task_ids = sandbox.add_tasks(200)
    sandbox.service_time = 0.005

    assert len(client.wait_all(task_ids)) == 200

    assert 1 < sandbox.connections <= 20  # each carries one request at a time
    assert len(sandbox.requests) == 201


def test_as_completed_with_one_task_always_failing_yields_the_done_ones_first(
    sandbox: Sandbox, client: TaskClient
) -> None:
    broken, *done = sandbox.add_tasks(6)
    sandbox.inject(Fault.status(500), action=GET, task_id=broken, times=None)
    ended: list[str] = []

    with pytest.raises(ServerError):
        ended.extend(task.task_id for task in client.as_completed([broken, *done]))

    assert sorted(ended) == sorted(done)
