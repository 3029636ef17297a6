"""Creating once: a create whose answer was lost is looked for and never sent again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from qf_tasks import CreatedTask, OutcomeUnknownError, QuotaExceededError, TaskClient
from qf_tasks.sandbox import Fault, Sandbox, ServerBehavior

from .clients import SandboxTime
from .conftest import MakeClient

CREATE = "CreateBatchInferenceTask"
GET = "DescribeBatchInferenceTask"
LIST = "DescribeBatchInferenceTasks"
TASK: dict[str, Any] = {
    "name": "nightly-01",
    "input_bos_uri": "bos:/bucket/in",
    "output_bos_uri": "bos:/bucket/out/",
    "endpoint": "ernie-x1-turbo-32k",
    "inference_params": {"temperature": 0.2, "stop": ("a", "b")},
    "completion_window": "24h",
}
OTHERS: list[dict[str, Any]] = [
    {"name": "nightly-02"},
    {"name": "nightly-01/"},
    {"input_bos_uri": "bos:/bucket/other/"},
    {"output_bos_uri": "bos:/bucket/other/"},
    {"endpoint": "ernie-4.5-turbo-32k"},
    {"endpoint": None, "model_id": "amv-sb5kfqie51z1"},
    {"inference_params": {"temperature": 0.3}},
    {"inference_params": None},
    {"description": "another"},
    {"data_format": "role"},
]
LOST = {
    "cut": Fault.reset_after(),
    "truncated": Fault.truncated(),
    "500": Fault.status(500, applied=True),
    "no JSON": Fault.body(b"<html>", applied=True),
    "no id": Fault.transform(lambda body: {**body, "result": {}}),
    "no result": Fault.transform(lambda body: {"requestId": body["requestId"]}),
}


def times_sent(sandbox: Sandbox, action: str) -> int:
    return sum(request.action == action for request in sandbox.requests)


@pytest.mark.parametrize("lost", LOST.values(), ids=list(LOST))
def test_create_with_answer_lost_adopts_what_it_made(
    sandbox: Sandbox, client: TaskClient, lost: Fault
) -> None:
    for other in OTHERS:  # all alike but for one thing
        client.create(**{**TASK, **other})
    sandbox.inject(lost, action=CREATE)
    before = set(sandbox.tasks)
    created = client.create(**TASK)
    assert set(sandbox.tasks) - before == {created.task_id}
    assert (created.reused, created.name) == (True, "nightly-01")
    assert times_sent(sandbox, CREATE) == len(OTHERS) + 1


def test_create_lost_on_the_way_is_of_unknown_outcome(
    sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime
) -> None:
    sandbox.inject(Fault.reset_before(), action=CREATE)
    with pytest.raises(OutcomeUnknownError, match="no task like it is listed yet") as caught:
        client.create(**TASK)
    error = caught.value
    assert (error.candidates, error.code, error.attempts) == ((), "ConnectionBroken", 1)
    assert (error.may_have_been_applied, error.retryable) == (True, False)
    assert "list(name='nightly-01')" in str(error.hint)
    assert (times_sent(sandbox, CREATE), times_sent(sandbox, LIST)) == (1, 4)
    assert sum(sandbox_time.sleeps) == 7.0  # some seconds of looking, and no more
    assert sandbox.tasks == {}


def test_create_listed_late_is_found_at_a_later_look(sandbox: Sandbox, client: TaskClient) -> None:
    unlisted = Fault.transform(lambda body: {**body, "result": {"taskList": [], "pageInfo": {}}})
    sandbox.inject(Fault.reset_after(), action=CREATE)
    sandbox.inject(unlisted, action=LIST, times=2)
    sandbox.inject(Fault.status(404, code="TaskNotFound"), action=GET)
    created = client.create(**TASK)
    assert (list(sandbox.tasks), created.reused) == ([created.task_id], True)


def test_create_of_directories_told_with_another_slash_is_found(sandbox: Sandbox, client: TaskClient) -> None:
    def slashed(body: Any) -> Any:
        for task in body["result"].get("taskList", [body["result"]]):
            task["inputBosUri"] += "/"
        return body

    sandbox.inject(Fault.reset_after(), action=CREATE)
    for action in (LIST, GET):
        sandbox.inject(Fault.transform(slashed), action=action, times=None)
    assert client.create(**TASK).reused


def test_create_whose_search_fails_is_of_unknown_outcome(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.inject(Fault.reset_after(), action=CREATE)
    sandbox.inject(Fault.status(403, code="AccessDenied"), action=LIST)
    with pytest.raises(OutcomeUnknownError, match=r"the look for it failed \(.*AccessDenied"):
        client.create(**TASK)
    assert len(sandbox.tasks) == 1


def test_create_that_equals_several_adopts_none(
    sandbox: Sandbox, client: TaskClient, make_client: MakeClient
) -> None:
    theirs = make_client().create(**TASK)  # at the same time, by another process
    sandbox.inject(Fault.reset_after(), action=CREATE)
    with pytest.raises(OutcomeUnknownError, match="2 tasks equal it") as caught:
        client.create(**TASK)
    assert {task.task_id for task in caught.value.candidates} == set(sandbox.tasks) > {theirs.task_id}


def test_create_does_not_adopt_what_stood_there_before(sandbox: Sandbox, make_client: MakeClient) -> None:
    make_client().create(**TASK)
    sandbox.advance(10)
    sandbox.inject(Fault.reset_before(), action=CREATE)
    with pytest.raises(OutcomeUnknownError):
        make_client().create(**TASK)


@pytest.mark.parametrize("lost", [Fault.reset_after(), Fault.headers({})])
def test_create_does_not_adopt_what_this_client_was_given_before(
    sandbox: Sandbox, client: TaskClient, lost: Fault
) -> None:
    sandbox.inject(lost, action=CREATE)
    first = client.create(**TASK)  # adopted, or returned
    sandbox.inject(Fault.reset_before(), action=CREATE)
    with pytest.raises(OutcomeUnknownError) as caught:
        client.create(**TASK)
    assert caught.value.candidates == ()
    assert list(sandbox.tasks) == [first.task_id]


@pytest.mark.parametrize("fault", [None, Fault.reset_after()], ids=["answered", "answers lost"])
@pytest.mark.parametrize("changed", [{}, {"input_bos_uri": "bos:/bucket/in/"}], ids=["same", "slash"])
def test_create_by_two_threads_at_once_makes_two_tasks(
    sandbox: Sandbox, client: TaskClient, fault: Fault | None, changed: dict[str, str]
) -> None:
    if fault:
        sandbox.inject(fault, action=CREATE, times=2)
    created: list[CreatedTask] = []
    start = threading.Barrier(2)

    def create(task: dict[str, Any]) -> None:
        start.wait()
        created.append(client.create(**task))

    threads = [threading.Thread(target=create, args=(task,)) for task in (TASK, {**TASK, **changed})]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {task.task_id for task in created} == set(sandbox.tasks)
    assert len(sandbox.tasks) == 2
    assert times_sent(sandbox, CREATE) == 2


def test_create_search_is_bounded(
    sandbox: Sandbox, client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qf_tasks._creating._MOST_PAGES", 3)
    sandbox.add_tasks(1000)  # all of this moment
    sandbox.inject(Fault.reset_before(), action=CREATE)
    with pytest.raises(OutcomeUnknownError, match="too many tasks"):
        client.create(**TASK)
    assert times_sent(sandbox, LIST) == 3
    assert times_sent(sandbox, GET) == 0  # the list itself tells that none of them is it


def test_create_adopting_finds_the_task_below_many_newer_ones(
    sandbox: Sandbox, make_client: MakeClient
) -> None:
    made = make_client().create(**TASK)
    sandbox.advance(60)
    sandbox.add_tasks(600)
    found = make_client().create(**TASK, adopt_within=timedelta(hours=24))
    assert (found.task_id, found.reused) == (made.task_id, True)


def test_create_adopting_where_the_order_is_not_by_time_looks_on(
    sandbox: Sandbox, make_client: MakeClient
) -> None:
    made = make_client().create(**TASK)
    told = {name: told for name, told in sandbox.tasks[made.task_id].items() if name != "taskId"}
    sandbox.add_tasks(150, fields={**told, "createTime": "later"})
    assert make_client().create(**TASK, adopt_within=timedelta(hours=24)).task_id == made.task_id


def test_create_in_a_forked_child_does_not_wait_for_its_parent(
    client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"name": "nightly", "inputBosUri": "bos:/b/in/", "outputBosUri": "bos:/b/out/"}
    held = client._claims.turn(body)
    with held:
        monkeypatch.setattr("os.getpid", lambda: -1)
        assert client._claims.turn(body).acquire(blocking=False)


def test_create_of_a_version_that_models_lists_takes_its_id(sandbox: Sandbox, client: TaskClient) -> None:
    version = client.models().common[0].versions[0]
    client.create(**{**TASK, "endpoint": None, "model_id": version})
    assert sandbox.requests[-1].params["modelId"] == version.model_version_id


def test_create_search_goes_by_the_clock_of_the_service(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.advance(86_400)  # its tasks and its Date are of tomorrow
    sandbox.inject(Fault.reset_after(), action=CREATE)
    created = client.create(**TASK)
    assert list(sandbox.tasks) == [created.task_id]


def test_create_refused_as_too_much_is_sent_again(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.inject(Fault.status(429), action=CREATE, times=2)
    created = client.create(**TASK)
    assert (list(sandbox.tasks), created.reused) == ([created.task_id], False)
    assert times_sent(sandbox, CREATE) == 3


# A program that is itself repeated.


@pytest.mark.parametrize("within", [3600, timedelta(hours=1)])
def test_create_adopting_finds_the_task_of_an_earlier_run(
    sandbox: Sandbox, make_client: MakeClient, within: float | timedelta
) -> None:
    first = make_client().create(**TASK, adopt_within=within)
    sandbox.advance(1800)
    second = make_client().create(**TASK, adopt_within=within)
    assert (first.reused, second.reused, second.task_id) == (False, True, first.task_id)
    assert times_sent(sandbox, CREATE) == 1


@pytest.mark.parametrize("changed", [*OTHERS, {"completion_window": None, "description": "x"}])
def test_create_adopting_takes_nothing_that_differs(
    sandbox: Sandbox, make_client: MakeClient, changed: dict[str, Any]
) -> None:
    make_client().create(**{**TASK, **changed})
    created = make_client().create(**TASK, adopt_within=3600)
    assert (created.reused, len(sandbox.tasks)) == (False, 2)


def test_create_adopting_looks_back_no_further_than_told(sandbox: Sandbox, make_client: MakeClient) -> None:
    make_client().create(**TASK)
    sandbox.advance(3610)
    assert make_client().create(**TASK, adopt_within=3600).reused is False


@pytest.mark.parametrize("run_status", ["Failed", "Stopped", "Expired", "Stopping"])
def test_create_adopting_takes_no_task_that_came_to_a_bad_end(
    sandbox: Sandbox, make_client: MakeClient, run_status: str
) -> None:
    bad = make_client().create(**TASK)
    sandbox.set_status(bad.task_id, run_status)
    created = make_client().create(**TASK, adopt_within=3600)
    assert (created.reused, len(sandbox.tasks)) == (False, 2)


def test_create_adopting_among_several_asks_the_caller(sandbox: Sandbox, make_client: MakeClient) -> None:
    twins = {make_client().create(**TASK).task_id for _ in range(2)}
    with pytest.raises(OutcomeUnknownError, match="not plain which to adopt") as caught:
        make_client().create(**TASK, adopt_within=3600)
    assert {task.task_id for task in caught.value.candidates} == twins
    assert caught.value.may_have_been_applied is False
    assert len(sandbox.tasks) == 2


# Waiting for one of the account's 20 places.


def fill(sandbox: Sandbox, ends_after: Callable[[int], float]) -> None:
    for number in range(20):
        sandbox.add_task(run_status="Running", ends_after=ends_after(number))


@pytest.mark.parametrize(
    "sandbox",
    [ServerBehavior(), ServerBehavior(quota_status=429), ServerBehavior(quota_status=403)],
    indirect=True,
)
def test_create_without_a_place_is_refused(sandbox: Sandbox, client: TaskClient) -> None:
    fill(sandbox, lambda _number: 300)
    with pytest.raises(QuotaExceededError) as caught:
        client.create(**TASK)
    error = caught.value
    assert (error.code, error.attempts, error.retryable) == ("TaskRunningNumberExceedLimit", 1, True)
    assert "20" in str(error.hint)
    assert "配额" in str(error.hint)


def test_create_waits_for_a_place(sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime) -> None:
    fill(sandbox, lambda number: 300 + 60 * number)
    created = client.create(**TASK, quota_timeout=timedelta(hours=1))
    assert sandbox.tasks[created.task_id]["runStatus"] == "Queuing"
    assert 300 <= sum(sandbox_time.sleeps) <= 330
    assert max(sandbox_time.sleeps) <= 30


@pytest.mark.parametrize("limit", [0, 100])
def test_create_gives_up_on_a_place_at_the_limit(
    sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime, limit: float
) -> None:
    fill(sandbox, lambda _number: 300)
    with pytest.raises(QuotaExceededError):
        client.create(**TASK, quota_timeout=limit)
    assert sum(sandbox_time.sleeps) == pytest.approx(limit, abs=0.01)
    assert len(sandbox.tasks) == 20


def test_create_waiting_for_a_place_is_lost_and_found(sandbox: Sandbox, client: TaskClient) -> None:
    fill(sandbox, lambda _number: 0.5)
    sandbox.inject(Fault.reset_after(), action=CREATE, skip=1)
    created = client.create(**TASK, quota_timeout=30)
    assert (created.reused, times_sent(sandbox, CREATE), len(sandbox.tasks)) == (True, 2, 21)
