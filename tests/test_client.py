"""The client as an object: how it is made, shown, shared between threads, and closed."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from qf_tasks import (
    AsyncTaskClient,
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

CLIENTS = [TaskClient, AsyncTaskClient]

AnyClient = type[TaskClient] | type[AsyncTaskClient]


@pytest.fixture
def settings(sandbox: Sandbox) -> Settings:
    return Settings(access_key=sandbox.access_key, secret_key=sandbox.secret_key, base_url=sandbox.url)


# How it is made and shown.


def test_client_is_made_of_settings_or_keywords_but_not_of_both(sandbox: Sandbox, settings: Settings) -> None:
    with TaskClient(settings) as client:
        assert client.models().common
    with TaskClient(
        access_key=sandbox.access_key, secret_key=sandbox.secret_key, base_url=sandbox.url
    ) as client:
        assert client.models().common
    with pytest.raises(InvalidArgumentError, match="either settings or keywords, not both: max_retries"):
        TaskClient(settings, max_retries=1)


def test_client_of_something_else_than_settings_is_rejected() -> None:
    not_settings: Any = {"access_key": "x"}

    with pytest.raises(InvalidArgumentError, match="must be Settings, not dict"):
        TaskClient(not_settings)


@pytest.mark.parametrize("client_class", CLIENTS)
def test_client_without_keys_names_the_places_that_were_searched(client_class: AnyClient) -> None:
    with pytest.raises(ConfigurationError) as caught:
        client_class()

    assert str(Path.cwd() / ".env") in caught.value.message
    assert str(Path.home() / ".config" / "qf_tasks" / "config.toml") in caught.value.message


def test_client_uses_no_network_when_it_is_made(sandbox: Sandbox, client: TaskClient) -> None:
    assert client.account
    assert sandbox.connections == 0


def test_account_has_host_source_and_masked_key(sandbox: Sandbox, client: TaskClient) -> None:
    account = client.account

    assert account.host == sandbox.url.removeprefix("http://")
    assert account.access_key == f"{sandbox.access_key[:4]}…{sandbox.access_key[-4:]}"
    assert account.source
    assert str(account) in repr(client)
    assert sandbox.secret_key not in repr(client)


@pytest.mark.parametrize("client_class", CLIENTS)
def test_client_cannot_be_pickled_and_its_copy_is_the_client(
    client_class: AnyClient, settings: Settings
) -> None:
    client = client_class(settings)

    assert copy.copy(client) is client
    assert copy.deepcopy({"client": [client]})["client"] == [client]
    with pytest.raises(
        TypeError, match=f"{client_class.__name__} cannot be pickled: create one in each process"
    ):
        pickle.dumps(client)


# Requests and responses.


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


def test_call_returns_the_whole_response(sandbox: Sandbox, client: TaskClient) -> None:
    response = client.call("DescribeBatchInferenceTask", {"taskId": sandbox.add_task("infer-1")})

    request = sandbox.requests[0]
    assert (response.status, response.request_id, response.attempts) == (200, request.request_id, 1)
    assert response.body == {"requestId": request.request_id, "result": sandbox.tasks["infer-1"]}
    assert response.result["taskId"] == "infer-1"
    assert response.headers["x-bce-request-id"] == request.request_id
    assert response.elapsed >= 0


def test_call_sends_action_and_params_unchanged(sandbox: Sandbox, client: TaskClient) -> None:
    with pytest.raises(QfTasksError):
        client.call("Some New+Action/测试", {"list": [1, None, {"测": 0.5}]})

    [request] = sandbox.requests
    assert (request.method, request.path) == ("POST", "/v2/batchinference")
    assert request.query == {"Action": "Some New+Action/测试"}
    assert request.params == {"list": [1, None, {"测": 0.5}]}
    assert request.refused == "InvalidAction"


def test_models_after_transient_failures_is_retried(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.inject(Fault.status(503), times=2)
    assert client.call("DescribeBatchInferenceModel", {}).attempts == 3

    sandbox.inject(Fault.status(503), times=None)
    with pytest.raises(ServerError) as caught:
        client.models()
    assert caught.value.attempts == 4


# Connections and threads.


def test_client_reuses_its_connection(sandbox: Sandbox, client: TaskClient) -> None:
    for task_id in sandbox.add_tasks(5):
        client.delete(task_id)

    assert sandbox.connections == 1


def test_client_works_after_every_kind_of_broken_connection(
    sandbox: Sandbox, make_client: MakeClient
) -> None:
    client = make_client(max_retries=0)
    for fault in (Fault.reset_before(), Fault.truncated(), Fault.html(502), Fault.reset_after()):
        sandbox.inject(fault)
        with pytest.raises(QfTasksError):
            client.models()

        assert client.models().common


def test_client_in_many_threads_gives_each_its_own_response(sandbox: Sandbox, client: TaskClient) -> None:
    task_ids = sandbox.add_tasks(64)
    start = Barrier(16)

    def get(task_id: str) -> str:
        start.wait(10)
        return client.get(task_id).task_id

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(get, task_ids)) == task_ids
    assert sandbox.connections <= 16


def test_closed_client_rejects_calls_and_can_be_closed_again(
    sandbox: Sandbox, blocking_client: TaskClient
) -> None:
    with blocking_client as client:
        client.models()

    with pytest.raises(QfTasksError, match="closed; make a new one"):
        client.models()
    client.close()
    assert len(sandbox.requests) == 1


def test_client_is_closed_when_its_block_ends_with_an_exception(blocking_client: TaskClient) -> None:
    with pytest.raises(ZeroDivisionError), blocking_client:
        raise ZeroDivisionError

    with pytest.raises(QfTasksError, match="closed"):
        blocking_client.models()
