"""What callers pass to the methods: rejected at the call, by the name of the argument, before any request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from qf_tasks import CreatedTask, InvalidArgumentError, TaskClient
from qf_tasks.sandbox import Sandbox

ID = "infer-9ia3kc1wt9mp"

Method = Callable[[TaskClient, Any], object]

BAD_IDS = ["", "  ", f" {ID}", f"{ID}\n", "a b", "a\x00b", None, 5, [ID], b"infer"]
BAD_DURATIONS = [-1, -0.001, float("nan"), float("inf"), 10**400, timedelta(seconds=-1), True, [1], "30", ""]
BAD_AGES: list[tuple[object, str]] = [
    (30, "must have a unit, not the bare number 30"),
    (0.5, "must have a unit, not the bare number 0.5"),
    (-1, "must be a number with a unit, a timedelta or a datetime, not int"),
    (float("nan"), "must be a number with a unit, a timedelta or a datetime, not float"),
    (10**5000, "must be a number with a unit, a timedelta or a datetime, not int"),
    (True, "must be a number with a unit, a timedelta or a datetime, not bool"),
    ("30", "must be a number with a unit, a timedelta or a datetime, not '30'"),
    ("30 days", "must be a number with a unit, a timedelta or a datetime, not '30 days'"),
    ("-3d", "must be a number with a unit, a timedelta or a datetime, not '-3d'"),
    (datetime(2026, 1, 1), "must be a datetime with a time zone"),
    (timedelta(days=-1), "must not be negative"),
    ("99999999w", "is too large"),
]

ONE_TASK: dict[str, Method] = {
    "get": lambda client, task: client.get(task),
    "delete": lambda client, task: client.delete(task),
    "stop": lambda client, task: client.stop(task),
    "wait": lambda client, task: client.wait(task),
}
SEVERAL_TASKS: dict[str, Method] = {
    "wait_all": lambda client, tasks: client.wait_all(tasks),
    "as_completed": lambda client, tasks: client.as_completed(tasks),
    "stop_many": lambda client, tasks: client.stop_many(tasks),
    "delete_many": lambda client, tasks: client.delete_many(tasks),
}
DURATIONS: dict[str, tuple[str, Method]] = {
    "delete": ("stop_timeout", lambda client, time: client.delete(ID, stop_timeout=time)),
    "wait": ("timeout", lambda client, time: client.wait(ID, timeout=time)),
    "wait, poll_interval": ("poll_interval", lambda client, time: client.wait(ID, poll_interval=time)),
    "wait_all": ("timeout", lambda client, time: client.wait_all([ID], timeout=time)),
    "as_completed": ("timeout", lambda client, time: client.as_completed([ID], timeout=time)),
    "create": ("quota_timeout", lambda client, time: create(client, quota_timeout=time)),
}
AGES: dict[str, Method] = {
    "older_than": lambda client, age: client.list(older_than=age),
    "newer_than": lambda client, age: client.list(newer_than=age),
    "reuse_within": lambda client, age: create(client, idempotency_key="k", reuse_within=age),
}


@pytest.fixture(autouse=True)
def nothing_is_sent(sandbox: Sandbox) -> Iterator[None]:
    yield
    assert sandbox.requests == []


def create(client: TaskClient, **changed: Any) -> CreatedTask:
    return client.create(
        name="ab", input_bos_uri="bos:/b/in/", output_bos_uri="bos:/b/out/", endpoint="e", **changed
    )


@pytest.mark.parametrize("method", ONE_TASK)
def test_method_with_bad_id_is_rejected(client: TaskClient, method: str) -> None:
    for task in BAD_IDS:
        with pytest.raises(InvalidArgumentError, match=r"^task must"):
            ONE_TASK[method](client, task)


def test_get_with_padded_id_suggests_the_bare_one(client: TaskClient) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        client.get(f" {ID} ")

    assert caught.value.hint == f"Pass {ID!r}."


def test_get_with_two_ids_suggests_none(client: TaskClient) -> None:
    with pytest.raises(InvalidArgumentError, match="bare id") as caught:
        client.get(f"{ID} {ID}")

    assert caught.value.hint is None


@pytest.mark.parametrize("method", SEVERAL_TASKS)
def test_method_of_several_tasks_with_bad_tasks_is_rejected(client: TaskClient, method: str) -> None:
    for tasks in (ID, None, 5, CreatedTask(ID, None, "ab"), ID.encode()):
        with pytest.raises(InvalidArgumentError, match=r"^tasks must be several tasks or ids, not one"):
            SEVERAL_TASKS[method](client, tasks)
    with pytest.raises(InvalidArgumentError, match=r"^tasks\[1\] must not be empty"):
        SEVERAL_TASKS[method](client, iter([ID, ""]))


@pytest.mark.parametrize("method", DURATIONS)
def test_method_with_bad_duration_is_rejected(client: TaskClient, method: str) -> None:
    argument, call = DURATIONS[method]
    for duration in BAD_DURATIONS:
        with pytest.raises(InvalidArgumentError, match=f"^{argument} must be"):
            call(client, duration)


def test_wait_without_poll_interval_is_rejected(client: TaskClient) -> None:
    no_interval: Any = None
    with pytest.raises(InvalidArgumentError, match=r"^poll_interval must be"):
        client.wait(ID, poll_interval=no_interval)


@pytest.mark.parametrize("argument", AGES)
def test_method_with_bad_age_is_rejected(client: TaskClient, argument: str) -> None:
    for age, rule in BAD_AGES:
        with pytest.raises(InvalidArgumentError, match=f"^{argument} {rule}"):
            AGES[argument](client, age)


def test_list_with_bare_number_as_age_suggests_two_spellings(client: TaskClient) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        AGES["older_than"](client, 30)

    assert caught.value.hint == "Pass '30d' for days or '30s' for seconds."


@pytest.mark.parametrize(
    ("argument", "value", "rule"),
    [
        ("page_size", 0, "between 1 and 100"),
        ("page_size", 101, "between 1 and 100"),
        ("page_size", True, "a whole number"),
        ("limit", 0, "at least 1"),
        ("limit", "5", "a whole number"),
        ("name", "", "not be empty"),
        ("name", 5, "be text"),
        ("run_status", 5, "one or several states"),
        ("run_status", [], "name at least one state"),
        ("run_status", ["Done", None], "a state such as 'Done'"),
    ],
)
def test_list_with_bad_argument_is_rejected_at_the_call(
    client: TaskClient, argument: str, value: Any, rule: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{argument} must.*{rule}"):
        client.list(**{argument: value})


def test_pages_with_bad_argument_is_rejected_at_the_call(client: TaskClient) -> None:
    bad: dict[str, Any] = {"page_size": 101, "marker": "", "run_status": "Doen"}
    for argument, value in bad.items():
        with pytest.raises(InvalidArgumentError, match=f"^{argument} "):
            client.pages(**{argument: value})


@pytest.mark.parametrize(
    ("state", "nearest"),
    [
        ("Doen", "'Done'"),
        ("runing", "'Running'"),
        ("completed", "'Done'"),
        ("cancelled", "'Stopped'"),
        ("pending", "'Queuing'"),
        ("xyz", "Queuing, Running, Done"),
    ],
)
def test_list_with_unknown_state_suggests_the_nearest(
    blocking_client: TaskClient, state: str, nearest: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=f"run_status has no state {state!r}") as caught:
        blocking_client.list(run_status=state)

    assert nearest in str(caught.value.hint)


def test_call_with_parameters_that_cannot_be_sent_names_them(client: TaskClient) -> None:
    action = "DescribeBatchInferenceTask"
    bad: list[tuple[Any, Any, str]] = [
        ("", {}, "action must"),
        (None, {}, "action must"),
        (action, None, "params must be a dict, not None"),
        (action, ["a"], "params must be a dict, not list"),
        (action, {"a": {1, 2}}, r"params\['a'\] is not a JSON value"),
        (action, {"a": [float("nan")]}, r"params\['a'\]\[0\] is not a JSON value"),
        (action, {1: "a"}, "params has a key that is not text"),
    ]
    for name, params, rule in bad:
        with pytest.raises(InvalidArgumentError, match=f"^{rule}"):
            client.call(name, params)


def test_wait_all_reads_an_iterable_to_its_end_first(client: TaskClient) -> None:
    read = []

    def tasks() -> Iterator[str]:
        for task_id in (ID, ID, "infer-other"):
            read.append(task_id)
            yield task_id
        raise LookupError

    with pytest.raises(LookupError):
        client.wait_all(tasks())

    assert len(read) == 3


def test_list_by_index_explains_what_to_do_instead(blocking_client: TaskClient) -> None:
    tasks: Any = blocking_client.list()

    with pytest.raises(TypeError, match=r"cannot be indexed: use next\(client.list\(\)\) for the first"):
        tasks[0]
