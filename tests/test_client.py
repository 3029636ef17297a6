"""The client as an object: what it checks, shows and shares, and when it ends."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from qf_tasks import (
    ConfigurationError,
    InvalidArgumentError,
    QfTasksError,
    ServerError,
    Settings,
    TaskClient,
    TaskNotFoundError,
)
from qf_tasks.sandbox import Fault, Sandbox
from tests.conftest import MakeClient


def test_get_returns_the_task_as_it_is_now(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task(name="nightly", run_status="Running", ends_after=60)
    assert client.get(task_id).run_status == "Running"
    sandbox.advance(60)
    task = client.get(client.get(task_id))
    assert (task.task_id, task.name, task.run_status) == (task_id, "nightly", "Done")
    assert task.raw == sandbox.tasks[task_id]


def test_get_of_a_missing_task_raises_not_found(client: TaskClient) -> None:
    with pytest.raises(TaskNotFoundError, match="infer-gone"):
        client.get("infer-gone")


@pytest.mark.parametrize("task", ["", "  ", " infer-1", 7, None, b"infer-1"], ids=repr)
@pytest.mark.parametrize("verb", ["get", "stop", "wait"])
def test_verb_with_what_is_no_id_raises_before_any_request(
    sandbox: Sandbox, client: TaskClient, verb: str, task: Any
) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^task must "):
        getattr(client, verb)(task)
    assert sandbox.requests == []


def test_call_returns_the_whole_reply(sandbox: Sandbox, client: TaskClient) -> None:
    reply = client.call("DescribeBatchInferenceTask", {"taskId": sandbox.add_task("infer-1")})
    seen = sandbox.requests[0]
    assert (reply.status, reply.request_id, reply.attempts) == (200, seen.request_id, 1)
    assert reply.body == {"requestId": seen.request_id, "result": sandbox.tasks["infer-1"]}
    assert reply.result["taskId"] == "infer-1"
    assert reply.headers["x-bce-request-id"] == seen.request_id
    assert reply.elapsed >= 0


def test_call_sends_action_and_params_as_they_are(sandbox: Sandbox, client: TaskClient) -> None:
    with pytest.raises(QfTasksError):
        client.call("Some New+Action/测试", {"list": [1, None, {"测": 0.5}]})
    [request] = sandbox.requests
    assert (request.method, request.path) == ("POST", "/v2/batchinference")
    assert request.query == {"Action": "Some New+Action/测试"}
    assert request.params == {"list": [1, None, {"测": 0.5}]}
    assert request.refused == "InvalidAction"


@pytest.mark.parametrize(
    ("action", "params", "named"),
    [
        ("", {}, "action"),
        (None, {}, "action"),
        ("X", None, "params"),
        ("X", ["a"], "params"),
        ("X", {"a": {1, 2}}, "params['a']"),
        ("X", {"a": [float("nan")]}, "params['a'][0]"),
        ("X", {1: "a"}, "params"),
    ],
)
def test_call_with_what_cannot_be_sent_raises_and_names_it(
    sandbox: Sandbox, client: TaskClient, action: Any, params: Any, named: str
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        client.call(action, params)
    assert caught.value.message.startswith(named)
    assert sandbox.requests == []


def test_account_tells_host_source_and_masked_key(sandbox: Sandbox, client: TaskClient) -> None:
    account = client.account
    assert account.host == sandbox.url.removeprefix("http://")
    assert account.access_key == f"{sandbox.access_key[:4]}…{sandbox.access_key[-4:]}"
    assert account.source
    assert str(account) in repr(client)
    assert sandbox.secret_key not in repr(client)


def test_client_is_made_of_settings_or_keywords_and_not_of_both(sandbox: Sandbox) -> None:
    settings = Settings(access_key=sandbox.access_key, secret_key=sandbox.secret_key, base_url=sandbox.url)
    with TaskClient(settings) as client:
        assert client.models().common
    with pytest.raises(InvalidArgumentError, match="max_retries"):
        TaskClient(settings, max_retries=1)
    not_settings: Any = {"access_key": "x"}
    with pytest.raises(InvalidArgumentError, match="must be Settings, not dict"):
        TaskClient(not_settings)


def test_client_without_keys_raises_and_lists_the_places_looked_at() -> None:
    with pytest.raises(ConfigurationError) as caught:
        TaskClient()
    assert str(Path.cwd() / ".env") in caught.value.message
    assert str(Path.home() / ".config" / "qf_tasks" / "config.toml") in caught.value.message


def test_client_reads_its_keys_when_made_and_no_network(sandbox: Sandbox, client: TaskClient) -> None:
    assert client.account
    assert sandbox.connections == 0


def test_closed_client_says_so(sandbox: Sandbox, make_client: MakeClient) -> None:
    with make_client() as client:
        client.models()
    with pytest.raises(QfTasksError, match="closed; make a new one"):
        client.models()
    client.close()
    assert len(sandbox.requests) == 1


def test_client_is_closed_also_when_the_block_is_left_by_an_error(make_client: MakeClient) -> None:
    with pytest.raises(ZeroDivisionError), make_client() as client:
        raise ZeroDivisionError
    with pytest.raises(QfTasksError, match="closed"):
        client.models()


def test_client_is_not_pickled(client: TaskClient) -> None:
    with pytest.raises(TypeError, match="make one in each process"):
        pickle.dumps(client)


def test_copy_of_a_client_is_the_client(client: TaskClient) -> None:
    assert copy.copy(client) is client
    assert copy.deepcopy({"client": [client]})["client"] == [client]


def test_client_serves_many_threads_each_with_its_own_answer(sandbox: Sandbox, client: TaskClient) -> None:
    task_ids = sandbox.add_tasks(64)
    together = Barrier(16)

    def ask(task_id: str) -> str:
        together.wait(10)
        return client.get(task_id).task_id

    with ThreadPoolExecutor(16) as pool:
        assert [*pool.map(ask, task_ids)] == task_ids
    assert sandbox.connections <= 16


def test_client_keeps_its_connection(sandbox: Sandbox, client: TaskClient) -> None:
    for task_id in sandbox.add_tasks(5):
        client.delete(task_id)
    assert sandbox.connections == 1


def test_client_goes_on_after_every_kind_of_broken_line(sandbox: Sandbox, make_client: MakeClient) -> None:
    client = make_client(max_retries=0)
    for fault in (Fault.reset_before(), Fault.truncated(), Fault.html(502), Fault.reset_after()):
        sandbox.inject(fault)
        with pytest.raises(QfTasksError):
            client.models()
        assert client.models().common


def test_retryable_failure_is_repeated_until_the_answer(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.inject(Fault.status(503), times=2)
    assert client.call("DescribeBatchInferenceModel", {}).attempts == 3
    sandbox.inject(Fault.status(503), times=None)
    with pytest.raises(ServerError) as caught:
        client.models()
    assert caught.value.attempts == 4
