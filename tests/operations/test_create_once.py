"""One intention creates one task: lost responses, idempotency keys, near matches, the window of a search."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from qf_tasks import CreatedTask, InvalidArgumentError, OutcomeUnknownError, QfTasksError, Task, TaskClient
from qf_tasks._runtime.blocking import Locks
from qf_tasks.sandbox import Fault, Sandbox, ServerBehavior
from tests.clients import Kind, SandboxTime, client_of
from tests.conftest import MakeClient

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
KEYED = {**TASK, "idempotency_key": "daily-2025-06-01"}
# Equal but for one field that the caller has set.
DIFFERENT: list[dict[str, Any]] = [
    {"name": "nightly-02"},
    {"name": "nightly-01/"},
    {"input_bos_uri": "bos:/bucket/other/"},
    {"output_bos_uri": "bos:/bucket/other/"},
    {"endpoint": "ernie-4.5-turbo-32k"},
    {"endpoint": None, "model_id": "amv-sb5kfqie51z1"},
    {"inference_params": {"temperature": 0.3, "stop": ("a", "b")}},
    {"inference_params": None},
]
LOST = {
    "reset": Fault.reset_after(),
    "truncated": Fault.truncated(),
    "500": Fault.status(500, applied=True),
    "not JSON": Fault.body(b"<html>", applied=True),
    "no id": Fault.transform(lambda body: {**body, "result": {}}),
    "no result": Fault.transform(lambda body: {"requestId": body["requestId"]}),
}
RATE_LIMIT_CODES = ("4", "17", "18", "19", "336100", "336501", "336502")
OTHER_CODES = ("InvalidBosUri", "AccessDenied", "TaskRunningNumberExceedLimit", "14", "TaskNotFound")


class InterveningTime(SandboxTime):
    """The time of a sandbox in which something happens once during the first pause that passes a moment."""

    def __init__(self, sandbox: Sandbox, after: float, event: Callable[[], object]) -> None:
        super().__init__(sandbox)
        self._moment = self.now() + after
        self._event: Callable[[], object] | None = event

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self._event and self.now() >= self._moment:
            event, self._event = self._event, None
            event()


def times_sent(sandbox: Sandbox, action: str) -> int:
    return sum(request.action == action for request in sandbox.requests)


def ids(tasks: tuple[Task, ...]) -> list[str]:
    return [task.task_id for task in tasks]


def create_in_threads(client: TaskClient, *requests: dict[str, Any]) -> list[CreatedTask]:
    created: list[CreatedTask] = []
    start = threading.Barrier(len(requests))

    def create(request: dict[str, Any]) -> None:
        start.wait()
        created.append(client.create(**request))

    threads = [threading.Thread(target=create, args=(request,)) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return created


# A lost response, without a key.


@pytest.mark.parametrize("lost", LOST.values(), ids=list(LOST))
def test_create_after_lost_response_returns_the_task_that_it_made(
    sandbox: Sandbox, client: TaskClient, make_client: MakeClient, lost: Fault
) -> None:
    for different in DIFFERENT:
        make_client().create(**{**TASK, **different})
    before = set(sandbox.tasks)
    sandbox.inject(lost, action=CREATE)

    created = client.create(**TASK)

    assert set(sandbox.tasks) - before == {created.task_id}
    assert (created.reused, created.name) == (True, "nightly-01")


def test_create_after_5xx_that_was_applied_creates_no_second_task_whatever_code_its_body_has(
    sandbox: Sandbox, client: TaskClient
) -> None:
    for code in RATE_LIMIT_CODES + OTHER_CODES:
        before = set(sandbox.tasks)
        sandbox.inject(Fault.status(503, code=code, applied=True), action=CREATE)

        created = client.create(**TASK)

        assert (created.reused, set(sandbox.tasks) - before) == (True, {created.task_id})
        sandbox.set_status(created.task_id, "Done")  # frees its slot


def test_create_that_did_not_arrive_is_not_repeated_and_its_outcome_is_unknown(
    sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime
) -> None:
    sandbox.inject(Fault.reset_before(), action=CREATE)

    with pytest.raises(OutcomeUnknownError, match="no matching task is listed yet") as caught:
        client.create(**TASK)

    error = caught.value
    assert (error.candidates, error.code, error.attempts) == ((), "ConnectionBroken", 1)
    assert (error.may_have_been_applied, error.retryable) == (True, False)
    assert "list(name='nightly-01')" in str(error.hint)
    assert (times_sent(sandbox, CREATE), times_sent(sandbox, LIST)) == (1, 4)
    assert sum(sandbox_time.sleeps) == 7.0
    assert sandbox.tasks == {}


def test_create_rejected_by_a_rate_limit_is_sent_again(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.inject(Fault.status(429), action=CREATE, times=2)

    created = client.create(**TASK)

    assert (list(sandbox.tasks), created.reused) == ([created.task_id], False)
    assert times_sent(sandbox, CREATE) == 3


def test_create_after_lost_response_ignores_a_slash_at_the_end_of_a_directory(
    sandbox: Sandbox, client: TaskClient
) -> None:
    def with_slash(body: Any) -> Any:
        for task in body["result"].get("taskList", [body["result"]]):
            task["inputBosUri"] += "/"
        return body

    sandbox.inject(Fault.reset_after(), action=CREATE)
    for action in (LIST, GET):
        sandbox.inject(Fault.transform(with_slash), action=action, times=None)

    assert client.create(**TASK).reused


def test_create_after_lost_response_goes_by_the_clock_of_the_service(
    sandbox: Sandbox, client: TaskClient
) -> None:
    sandbox.advance(86_400)
    sandbox.inject(Fault.reset_after(), action=CREATE)

    assert [client.create(**TASK).task_id] == list(sandbox.tasks)


def test_create_after_lost_response_finds_the_task_although_the_listing_takes_long(
    sandbox: Sandbox, client: TaskClient
) -> None:
    sandbox.inject(Fault.reset_after(), action=CREATE)
    sandbox.inject(Fault.status(503, retry_after=20), action=LIST)

    assert [client.create(**TASK).task_id] == list(sandbox.tasks)
    assert times_sent(sandbox, LIST) == 2


def test_create_whose_search_fails_has_unknown_outcome(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.inject(Fault.reset_after(), action=CREATE)
    sandbox.inject(Fault.status(403, code="AccessDenied"), action=LIST)

    with pytest.raises(OutcomeUnknownError, match=r"searching for it failed \(.*AccessDenied") as caught:
        client.create(**TASK)

    assert caught.value.retryable is False
    assert len(sandbox.tasks) == 1


def test_create_interrupted_during_its_search_warns_that_the_task_may_exist(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    class Interrupted(SandboxTime):
        def sleep(self, seconds: float) -> None:
            raise KeyboardInterrupt(seconds)

    sandbox.inject(Fault.reset_after(), action=CREATE)

    with client_of(sandbox, Interrupted(sandbox)) as client, pytest.raises(KeyboardInterrupt):
        client.create(**TASK)

    assert "may or may not have succeeded; the search for it was interrupted" in caplog.text


def test_create_that_equals_several_tasks_has_them_as_candidates(
    sandbox: Sandbox, client: TaskClient, make_client: MakeClient
) -> None:
    make_client().create(**TASK)
    sandbox.inject(Fault.reset_after(), action=CREATE)

    with pytest.raises(OutcomeUnknownError, match="2 tasks could be the one it created") as caught:
        client.create(**TASK)

    assert set(ids(caught.value.candidates)) == set(sandbox.tasks)


def test_create_does_not_return_a_task_that_existed_before(sandbox: Sandbox, make_client: MakeClient) -> None:
    make_client().create(**TASK)
    sandbox.advance(10)
    sandbox.inject(Fault.reset_before(), action=CREATE)

    with pytest.raises(OutcomeUnknownError) as caught:
        make_client().create(**TASK)

    assert caught.value.candidates == ()


@pytest.mark.parametrize("fault", [Fault.reset_after(), Fault.headers({})], ids=["reused", "created"])
def test_create_does_not_return_a_task_of_an_earlier_create_of_this_client(
    sandbox: Sandbox, client: TaskClient, fault: Fault
) -> None:
    sandbox.inject(fault, action=CREATE)
    first = client.create(**TASK)
    sandbox.inject(Fault.reset_before(), action=CREATE)

    with pytest.raises(OutcomeUnknownError) as caught:
        client.create(**TASK)

    assert caught.value.candidates == ()
    assert list(sandbox.tasks) == [first.task_id]


@pytest.mark.parametrize("is_lost", [False, True])
def test_create_without_key_by_two_threads_creates_two_tasks(
    sandbox: Sandbox, client: TaskClient, is_lost: bool
) -> None:
    if is_lost:
        sandbox.inject(Fault.reset_after(), action=CREATE, times=2)

    created = create_in_threads(client, TASK, {**TASK, "input_bos_uri": TASK["input_bos_uri"] + "/"})

    assert {task.task_id for task in created} == set(sandbox.tasks)
    assert (len(sandbox.tasks), times_sent(sandbox, CREATE)) == (2, 2)


def test_create_that_waits_for_a_slot_does_not_block_an_equal_one(sandbox: Sandbox) -> None:
    sandbox.add_tasks(20, run_status="Running", ends_after=60)
    second: list[CreatedTask] = []
    time = InterveningTime(sandbox, 60, lambda: second.extend(create_in_threads(client, TASK)))

    with client_of(sandbox, time) as client:
        first = client.create(**TASK, quota_timeout="1h")

    assert second[0].task_id != first.task_id


def test_create_search_gives_up_at_a_number_of_tasks(
    sandbox: Sandbox, client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qf_tasks._operations.create._MAX_SEARCHED", 300)
    sandbox.add_tasks(1000)

    sandbox.inject(Fault.reset_before(), action=CREATE)
    with pytest.raises(OutcomeUnknownError, match="more than 300 tasks to search"):
        client.create(**TASK)

    assert (times_sent(sandbox, LIST), times_sent(sandbox, GET)) == (3, 0)
    with pytest.raises(OutcomeUnknownError, match="more than 300 tasks to search") as caught:
        client.create(**KEYED)
    assert (caught.value.may_have_been_applied, caught.value.retryable) == (False, False)
    assert "Shorten reuse_within" in str(caught.value.hint)
    assert times_sent(sandbox, CREATE) == 1


# A service that changes, delays or hides what was created.


@pytest.mark.parametrize(
    ("behavior", "is_candidate"),
    [
        (ServerBehavior(fill_in_defaults=True), True),
        (ServerBehavior(list_delay=60), False),
        (ServerBehavior(describe_delay=60), True),
    ],
    ids=["defaults", "listed late", "described late"],
)
def test_create_after_lost_response_without_certain_match_has_unknown_outcome(
    sandbox: Sandbox, client: TaskClient, behavior: ServerBehavior, is_candidate: bool
) -> None:
    sandbox.behavior = behavior
    sandbox.inject(Fault.reset_after(), action=CREATE)

    with pytest.raises(OutcomeUnknownError) as caught:
        client.create(**{**TASK, "inference_params": {"top_p": 0.5}, "description": ""})

    assert ids(caught.value.candidates) == list(sandbox.tasks) * is_candidate
    assert len(sandbox.tasks) == 1


@pytest.mark.parametrize("task", [TASK, KEYED], ids=["no key", "key"])
@pytest.mark.parametrize("behavior", [ServerBehavior(list_delay=5), ServerBehavior(describe_delay=5)])
def test_create_after_lost_response_waits_until_the_task_can_be_read(
    sandbox: Sandbox, client: TaskClient, behavior: ServerBehavior, task: dict[str, Any]
) -> None:
    sandbox.behavior = behavior
    sandbox.inject(Fault.reset_after(), action=CREATE)

    assert [client.create(**task).task_id] == list(sandbox.tasks)


def test_create_with_key_after_lost_response_finds_the_task_with_defaults_filled_in(
    sandbox: Sandbox, client: TaskClient
) -> None:
    sandbox.behavior = ServerBehavior(fill_in_defaults=True)
    sandbox.inject(Fault.reset_after(), action=CREATE)

    created = client.create(**{**KEYED, "inference_params": {"top_p": 0.5}})

    assert (created.reused, list(sandbox.tasks)) == (True, [created.task_id])
    assert client.get(created).inference_params == {"top_p": 0.5, "temperature": 0.8}


@pytest.mark.parametrize(
    "behavior", [ServerBehavior(list_delay=60), ServerBehavior(describe_delay=60)], ids=["list", "describe"]
)
def test_create_with_key_after_lost_response_can_be_repeated_when_the_task_can_be_read(
    sandbox: Sandbox, client: TaskClient, behavior: ServerBehavior
) -> None:
    sandbox.behavior = behavior
    sandbox.inject(Fault.reset_after(), action=CREATE)
    with pytest.raises(OutcomeUnknownError) as caught:
        client.create(**KEYED)

    sandbox.advance(60)
    created = client.create(**KEYED)

    assert caught.value.retryable
    assert (created.reused, list(sandbox.tasks)) == (True, [created.task_id])


# Two tasks from one create.


def test_create_by_two_runs_that_wait_for_a_slot_creates_one_task(
    sandbox: Sandbox, kind: Kind, make_client: MakeClient
) -> None:
    sandbox.add_tasks(20, run_status="Running", ends_after=300)
    before = set(sandbox.tasks)
    other_run = make_client()
    time = InterveningTime(sandbox, 300, lambda: other_run.create(**KEYED, quota_timeout="2h"))

    with client_of(sandbox, time, kind=kind) as this_run:
        created = this_run.create(**KEYED, quota_timeout="2h")

    assert (created.reused, set(sandbox.tasks) - before) == (True, {created.task_id})


def test_create_by_two_runs_of_which_one_pauses_for_a_rate_limit_creates_one_task(
    sandbox: Sandbox, kind: Kind, make_client: MakeClient
) -> None:
    sandbox.inject(Fault.status(429, retry_after=10), action=CREATE)
    other_run = make_client()
    time = InterveningTime(sandbox, 0, lambda: other_run.create(**KEYED))

    with client_of(sandbox, time, kind=kind) as this_run:
        created = this_run.create(**KEYED)

    assert (created.reused, list(sandbox.tasks)) == (True, [created.task_id])


def test_create_with_key_of_a_task_that_is_listed_but_not_found_creates_no_second_one(
    sandbox: Sandbox, client: TaskClient, make_client: MakeClient
) -> None:
    first = make_client().create(**KEYED)
    sandbox.behavior = ServerBehavior(describe_delay=60)

    with pytest.raises(OutcomeUnknownError, match=f"{first.task_id} may be the one to reuse") as caught:
        client.create(**KEYED)

    assert (ids(caught.value.candidates), caught.value.retryable) == ([first.task_id], True)
    assert caught.value.may_have_been_applied is False
    assert list(sandbox.tasks) == [first.task_id]


@pytest.mark.parametrize("has_key", [False, True], ids=["no key", "key"])
def test_create_whose_first_page_is_empty_but_truncated_creates_no_second_task(
    sandbox: Sandbox, client: TaskClient, make_client: MakeClient, has_key: bool
) -> None:
    def empty(body: Any) -> Any:
        page_info = {"isTruncated": True, "nextMarker": list(sandbox.tasks)[-1]}
        return {**body, "result": {"taskList": [], "pageInfo": page_info}}

    if has_key:
        make_client().create(**KEYED)
    else:
        sandbox.inject(Fault.reset_after(), action=CREATE)
    sandbox.inject(Fault.transform(empty), action=LIST)

    created = client.create(**(KEYED if has_key else TASK))

    assert (created.reused, list(sandbox.tasks)) == (True, [created.task_id])
    assert times_sent(sandbox, LIST) == 2 + has_key


# Another program's task.


def test_create_with_own_task_listed_but_not_found_does_not_return_an_equal_one(
    sandbox: Sandbox, client: TaskClient, make_client: MakeClient
) -> None:
    theirs = make_client().create(**TASK)
    sandbox.advance(0.9)
    sandbox.behavior = ServerBehavior(describe_delay=0.5)
    sandbox.inject(Fault.reset_after(), action=CREATE)

    with pytest.raises(OutcomeUnknownError) as caught:
        client.create(**TASK)

    assert theirs.task_id in ids(caught.value.candidates)
    assert set(ids(caught.value.candidates)) == set(sandbox.tasks)


def test_create_after_lost_response_searches_on_until_a_similar_task_can_be_ruled_out(
    sandbox: Sandbox, client: TaskClient, make_client: MakeClient
) -> None:
    def without_parameters(body: Any) -> Any:
        for task in body["result"]["taskList"]:
            del task["inferenceParams"]
        return body

    theirs = make_client().create(**{**TASK, "inference_params": {"top_p": 0.9}})
    sandbox.inject(Fault.reset_after(), action=CREATE)
    sandbox.inject(Fault.transform(without_parameters), action=LIST, times=None)
    sandbox.inject(Fault.status(404, code="TaskNotFound"), action=GET, skip=1)

    created = client.create(**{**TASK, "inference_params": {"top_p": 0.5}})

    assert [theirs.task_id, created.task_id] == list(sandbox.tasks)
    assert times_sent(sandbox, LIST) == 2


def test_create_that_did_not_arrive_does_not_return_an_older_task_if_date_is_behind_create_time(
    sandbox: Sandbox, client: TaskClient, make_client: MakeClient
) -> None:
    theirs = make_client().create(**TASK)
    sandbox.advance(600)
    sandbox.clock_offset = -1200
    sandbox.inject(Fault.reset_before(), action=CREATE)

    with pytest.raises(OutcomeUnknownError) as caught:
        client.create(**TASK)

    assert ids(caught.value.candidates) == [theirs.task_id]


def test_create_that_paused_for_a_rate_limit_does_not_return_a_task_from_before_the_pause(
    sandbox: Sandbox, client: TaskClient, make_client: MakeClient
) -> None:
    make_client().create(**TASK)
    sandbox.inject(Fault.status(429, retry_after=10), action=CREATE)
    sandbox.inject(Fault.reset_before(), action=CREATE)

    with pytest.raises(OutcomeUnknownError) as caught:
        client.create(**TASK)

    assert caught.value.candidates == ()


# An idempotency key.


@pytest.mark.parametrize("reuse_within", ["1h", timedelta(hours=1)])
def test_create_with_key_returns_the_task_of_an_earlier_run(
    sandbox: Sandbox, make_client: MakeClient, reuse_within: Any
) -> None:
    first = make_client().create(**KEYED)
    sandbox.advance(1800)

    second = make_client().create(**KEYED, reuse_within=reuse_within)

    assert (first.reused, second.reused, second.task_id) == (False, True, first.task_id)
    assert times_sent(sandbox, CREATE) == 1


def test_create_with_key_twice_by_one_client_returns_one_task(sandbox: Sandbox, client: TaskClient) -> None:
    first, second = client.create(**KEYED), client.create(**KEYED)

    assert [first.task_id] == [second.task_id] == list(sandbox.tasks)


def test_create_with_key_by_two_threads_creates_one_task(sandbox: Sandbox, client: TaskClient) -> None:
    created = create_in_threads(client, KEYED, KEYED)

    assert [task.task_id for task in created] == list(sandbox.tasks) * 2


def test_create_with_another_key_creates_another_task(sandbox: Sandbox, client: TaskClient) -> None:
    client.create(**KEYED)

    assert not client.create(**{**KEYED, "idempotency_key": "daily-2025-06-02"}).reused
    assert not client.create(**{**KEYED, "idempotency_key": "daily"}).reused
    assert len(sandbox.tasks) == 3


@pytest.mark.parametrize("changed", [*DIFFERENT, {"description": "another"}, {"data_format": "role"}])
def test_create_with_key_of_a_task_with_other_fields_names_them(
    sandbox: Sandbox, client: TaskClient, changed: dict[str, Any]
) -> None:
    first = client.create(**{**KEYED, "description": "one", **changed})
    names = {
        "input_bos_uri": "inputBosUri",
        "output_bos_uri": "outputBosUri",
        "inference_params": "inferenceParams",
        "data_format": "dataFormat",
    }
    field = next(iter(changed))

    with pytest.raises(InvalidArgumentError, match=f"another {names.get(field, field)}") as caught:
        client.create(**KEYED, description="one", data_format="default")

    assert caught.value.task_id == first.task_id
    assert times_sent(sandbox, CREATE) == 1


def test_create_with_key_looks_back_as_far_as_reuse_within(sandbox: Sandbox, client: TaskClient) -> None:
    before = sandbox.now
    first = client.create(**KEYED)
    sandbox.advance(3610)

    assert client.create(**KEYED, reuse_within=before).task_id == first.task_id
    assert client.create(**KEYED, reuse_within="62m").task_id == first.task_id
    assert not client.create(**KEYED, reuse_within="1h").reused


@pytest.mark.parametrize("run_status", ["Failed", "Stopped", "Expired", "Stopping"])
def test_create_with_key_of_a_task_that_did_not_succeed_creates_another(
    sandbox: Sandbox, client: TaskClient, run_status: str
) -> None:
    failed = client.create(**KEYED)
    sandbox.set_status(failed.task_id, run_status)

    created = client.create(**KEYED)

    assert (created.reused, set(sandbox.tasks)) == (False, {failed.task_id, created.task_id})


@pytest.mark.parametrize("run_status", ["Done", "Archiving"])
def test_create_with_key_of_a_task_that_may_succeed_reuses_it(
    sandbox: Sandbox, client: TaskClient, run_status: str
) -> None:
    first = client.create(**KEYED)
    sandbox.set_status(first.task_id, run_status)

    assert client.create(**KEYED).task_id == first.task_id


def test_create_with_key_of_several_tasks_reuses_the_oldest_with_a_warning(
    sandbox: Sandbox, client: TaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    first = client.create(**KEYED)
    sent = sandbox.requests[-1].params
    sandbox.advance(5)
    client.call(CREATE, sent)

    with caplog.at_level(logging.WARNING, "qf_tasks"):
        created = client.create(**KEYED)

    assert created.task_id == first.task_id
    assert "2 tasks have the idempotency key 'daily-2025-06-01'; the oldest is reused" in caplog.messages


def test_create_with_key_finds_the_task_below_many_newer_ones(sandbox: Sandbox, client: TaskClient) -> None:
    first = client.create(**KEYED)
    sandbox.advance(60)
    sandbox.add_tasks(250)

    assert client.create(**KEYED).task_id == first.task_id


def test_create_with_key_stops_searching_at_older_tasks(sandbox: Sandbox, client: TaskClient) -> None:
    for _ in range(300):
        sandbox.add_task()
        sandbox.advance(1)
    sandbox.advance(3700)

    client.create(**KEYED, reuse_within="1h")

    assert times_sent(sandbox, LIST) == 1


@pytest.mark.parametrize("create_time", ["later", None, "2020-01-01T00:00:00Z"])
def test_create_with_key_searches_on_where_a_listing_is_not_ordered_by_time(
    sandbox: Sandbox, client: TaskClient, create_time: str | None
) -> None:
    first = client.create(**KEYED)
    sandbox.add_tasks(150, fields={"createTime": create_time})

    assert client.create(**KEYED).task_id == first.task_id


@pytest.mark.parametrize("is_null", [False, True])
def test_create_with_key_finds_the_task_where_a_listing_has_no_descriptions(
    sandbox: Sandbox, client: TaskClient, is_null: bool
) -> None:
    def without_description(body: Any) -> Any:
        for task in body["result"]["taskList"]:
            del task["description"]
            if is_null:
                task["description"] = None
        return body

    first = client.create(**KEYED)
    client.create(**{**KEYED, "idempotency_key": "another"})
    sandbox.inject(Fault.transform(without_description), action=LIST)

    assert client.create(**KEYED).task_id == first.task_id


def test_create_with_key_that_did_not_arrive_can_be_repeated(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.inject(Fault.reset_before(), action=CREATE)
    with pytest.raises(OutcomeUnknownError) as caught:
        client.create(**KEYED)
    assert (caught.value.retryable, caught.value.candidates) == (True, ())
    assert "same idempotency_key" in str(caught.value.hint)

    created = client.create(**KEYED)

    assert (created.reused, list(sandbox.tasks)) == (False, [created.task_id])


@pytest.mark.parametrize("action", [LIST, GET])
def test_create_with_key_whose_search_fails_sends_nothing(
    sandbox: Sandbox, client: TaskClient, action: str
) -> None:
    client.create(**KEYED)
    sandbox.inject(Fault.status(403, code="AccessDenied"), action=action)

    with pytest.raises(QfTasksError, match="AccessDenied") as caught:
        client.create(**KEYED)

    assert (caught.value.action, caught.value.may_have_been_applied) == (action, False)
    assert times_sent(sandbox, CREATE) == 1


def test_create_with_key_after_lost_response_has_a_task_with_other_fields_as_candidate(
    sandbox: Sandbox, kind: Kind, make_client: MakeClient
) -> None:
    other_run = make_client()
    sandbox.inject(Fault.reset_before(), action=CREATE)
    time = InterveningTime(sandbox, 0, lambda: other_run.create(**{**KEYED, "name": "other"}))

    with client_of(sandbox, time, kind=kind) as client, pytest.raises(OutcomeUnknownError) as caught:
        client.create(**KEYED)

    [task_id] = sandbox.tasks
    assert (ids(caught.value.candidates), caught.value.retryable) == ([task_id], False)
    assert f"belongs to task {task_id}, which was created with another name" in caught.value.message


def test_locks_in_a_forked_child_are_not_held_by_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    locks = Locks()
    with locks.of("create daily"):
        monkeypatch.setattr("os.getpid", lambda: -1)
        assert locks.of("create daily").acquire(blocking=False)
