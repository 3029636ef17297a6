"""What callers pass to the other verbs: refused at the call, by name, before any request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from qf_tasks import CreatedTask, InvalidArgumentError, TaskClient
from qf_tasks.sandbox import Sandbox

ID = "infer-9ia3kc1wt9mp"

Verb = Callable[..., object]

ONE_TASK: dict[str, Verb] = {
    "get": lambda client, task: client.get(task),
    "delete": lambda client, task: client.delete(task),
    "delete first stopped": lambda client, task: client.delete(task, stop_first=True),
    "stop": lambda client, task: client.stop(task),
    "wait": lambda client, task: client.wait(task),
}
MANY_TASKS: dict[str, Verb] = {
    "wait_all": lambda client, tasks: client.wait_all(tasks),
    "as_completed": lambda client, tasks: client.as_completed(tasks),
}
TIMES: dict[str, Verb] = {
    "stop_timeout": lambda client, time: client.delete(ID, stop_timeout=time),
    "timeout": lambda client, time: client.wait(ID, timeout=time),
    "poll_interval": lambda client, time: client.wait(ID, poll_interval=time),
    "timeout of all": lambda client, time: client.wait_all([ID], timeout=time),
    "timeout as completed": lambda client, time: client.as_completed([ID], timeout=time),
    "poll_interval as completed": lambda client, time: client.as_completed([ID], poll_interval=time),
    "adopt_within": lambda client, time: create(client, adopt_within=time),
    "quota_timeout": lambda client, time: create(client, quota_timeout=time),
    "older_than": lambda client, time: client.list(older_than=time),
}


@pytest.fixture(autouse=True)
def nothing_is_sent(sandbox: Sandbox) -> Iterator[None]:
    yield
    assert sandbox.requests == []


def create(client: TaskClient, **changed: Any) -> CreatedTask:
    return client.create(
        name="ab", input_bos_uri="bos:/b/in/", output_bos_uri="bos:/b/out/", endpoint="e", **changed
    )


@pytest.mark.parametrize("verb", ONE_TASK)
@pytest.mark.parametrize("task", ["", "  ", f" {ID}", f"{ID}\n", "a b", "a\x00b", None, 5, [ID], b"infer"])
def test_any_verb_with_no_id_is_refused(client: TaskClient, verb: str, task: object) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^task must"):
        ONE_TASK[verb](client, task)


def test_get_with_padded_id_is_told_the_bare_one(client: TaskClient) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        client.get(f" {ID} ")
    assert caught.value.hint == f"Pass {ID!r}."


@pytest.mark.parametrize("verb", MANY_TASKS)
@pytest.mark.parametrize("tasks", [ID, None, 5, CreatedTask(ID, None, "ab"), ID.encode()])
def test_any_verb_of_many_with_one_is_refused(client: TaskClient, verb: str, tasks: object) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^tasks must be several tasks or ids, not one"):
        MANY_TASKS[verb](client, tasks)


@pytest.mark.parametrize("verb", MANY_TASKS)
def test_any_verb_of_many_with_a_bad_id_names_its_place(client: TaskClient, verb: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^tasks\[1\] must not be empty"):
        MANY_TASKS[verb](client, iter([ID, ""]))


@pytest.mark.parametrize("verb", TIMES)
@pytest.mark.parametrize("time", [-1, -0.001, float("nan"), float("inf"), timedelta(seconds=-1), True, [1]])
def test_any_time_that_is_none_is_refused(client: TaskClient, verb: str, time: object) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{verb.partition(' ')[0]} must be"):
        TIMES[verb](client, time)


@pytest.mark.parametrize("verb", [name for name in TIMES if name != "older_than"])
def test_any_time_as_text_is_refused(client: TaskClient, verb: str) -> None:
    with pytest.raises(
        InvalidArgumentError, match=f"^{verb.partition(' ')[0]} must be seconds or a timedelta, not str"
    ):
        TIMES[verb](client, "30")


@pytest.mark.parametrize("verb", ["poll_interval", "poll_interval as completed"])
def test_poll_interval_of_none_is_refused(client: TaskClient, verb: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^poll_interval must be"):
        TIMES[verb](client, None)


@pytest.mark.parametrize(
    ("age", "rule"),
    [
        ("30", "a number with a unit"),
        ("30 days", "a number with a unit"),
        ("-3d", "a number with a unit"),
        ("", "a number with a unit"),
        (datetime(2026, 1, 1), "a datetime with a time zone"),
        ("99999999w", "reaches back before the calendar"),
        (1e12, "reaches back before the calendar"),
    ],
)
def test_list_with_an_age_that_is_none_is_refused(client: TaskClient, age: Any, rule: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^older_than .*{rule}"):
        client.list(older_than=age)


@pytest.mark.parametrize(
    ("argument", "value", "rule"),
    [
        ("page_size", 0, "between 1 and 100"),
        ("page_size", 101, "between 1 and 100"),
        ("page_size", 10.0, "a whole number"),
        ("page_size", True, "a whole number"),
        ("limit", 0, "at least 1"),
        ("limit", "5", "a whole number"),
        ("name", "", "not be empty"),
        ("name", 5, "a text"),
        ("run_status", 5, "one or several states"),
        ("run_status", ["Done", None], "a state such as 'Done'"),
    ],
)
def test_list_with_bad_argument_is_refused_at_the_call(
    client: TaskClient, argument: str, value: Any, rule: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{argument} must.*{rule}"):
        client.list(**{argument: value})


@pytest.mark.parametrize(("argument", "value"), [("page_size", 101), ("marker", ""), ("run_status", "Doen")])
def test_pages_with_bad_argument_is_refused_at_the_call(
    client: TaskClient, argument: str, value: Any
) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{argument} "):
        client.pages(**{argument: value})


@pytest.mark.parametrize(
    ("word", "nearest"),
    [("Doen", "'Done'"), ("runing", "'Running'"), ("Cancelled", "Queuing, Running, Done")],
)
def test_list_with_unknown_state_is_told_the_nearest(client: TaskClient, word: str, nearest: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"run_status has no state {word!r}") as caught:
        client.list(run_status=word)
    assert nearest in str(caught.value.hint)


@pytest.mark.parametrize("params", [None, [], "taskId", {"a": {1, 2}}, {"a": float("nan")}])
def test_call_with_what_is_no_json_object_is_refused(client: TaskClient, params: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^params"):
        client.call("DescribeBatchInferenceTask", params)


@pytest.mark.parametrize("action", ["", " ", None, 5])
def test_call_without_action_is_refused(client: TaskClient, action: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^action must"):
        client.call(action, {})


def test_wait_all_of_an_iterable_reads_it_to_its_end_first(client: TaskClient) -> None:
    read = []

    def tasks() -> Iterator[str]:
        for task_id in (ID, ID, "infer-other"):
            read.append(task_id)
            yield task_id
        raise LookupError

    with pytest.raises(LookupError):
        client.wait_all(tasks())
    assert len(read) == 3
