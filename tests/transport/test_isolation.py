"""Two clients and other code in one process: no key, host or connection of one is ever another's."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import qianfan
from qianfan.errors import RequestError
from qianfan.resources.console.utils import call_action

from qf_tasks import QfTasksError, TaskClient
from qf_tasks._protocol.responses import RawResponse
from qf_tasks._transport.sender import Sender
from qf_tasks.sandbox import Fault, Sandbox

# The SDK's own signer uses a function that Python 3.12 and later warn about.
pytestmark = pytest.mark.filterwarnings(
    "ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning:baidubce"
)
ROUTE = "/v2/batchinference"
_CALLS, _THREADS = 1200, 8


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Switch between threads at nearly every step."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def second_sandbox() -> Iterator[Sandbox]:
    with Sandbox(frozen=True) as running:
        yield running


@pytest.fixture
def third_sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Return the sandbox to which the SDK's own global config points."""
    with Sandbox(frozen=True) as running:
        for name, value in running.env().items():
            if name.startswith("QIANFAN_"):
                monkeypatch.setattr(qianfan.get_config(), name.removeprefix("QIANFAN_"), value)
        yield running


def client_of(sandbox: Sandbox) -> TaskClient:
    return TaskClient(
        access_key=sandbox.access_key,
        secret_key=sandbox.secret_key,
        base_url=sandbox.url,
        max_retries=0,
    )


def raw_get(task_id: str) -> Any:
    """Return what the SDK's own call gives to other code."""
    return call_action(ROUTE, "DescribeBatchInferenceTask", {"taskId": task_id}).body


def outside_state() -> tuple[dict[str, object], dict[str, str]]:
    return dict(qianfan.get_config().dict()), dict(os.environ)


@pytest.mark.usefixtures("eager_switching")
def test_calls_of_two_clients_and_raw_sdk_in_threads_never_mix(
    sandbox: Sandbox, second_sandbox: Sandbox, third_sandbox: Sandbox
) -> None:
    sandboxes = (sandbox, second_sandbox)
    for each in (*sandboxes, third_sandbox):
        each.add_task("infer-1", name=each.access_key[:20])
    before = outside_state()
    together = threading.Barrier(_THREADS + 1)

    def of_ours(thread: int) -> list[tuple[Sandbox, str | None]]:
        together.wait(10)
        each_in_turn = [(thread + call) % 2 for call in range(_CALLS // _THREADS)]
        return [(sandboxes[at], clients[at].get("infer-1").name) for at in each_in_turn]

    def of_other_code() -> list[Any]:
        together.wait(10)
        return [raw_get("infer-1") for _ in range(20)]

    with client_of(sandbox) as one, client_of(second_sandbox) as two, ThreadPoolExecutor(16) as pool:
        clients = (one, two)
        ours: list[Future[list[tuple[Sandbox, str | None]]]]
        ours = [pool.submit(of_ours, thread) for thread in range(_THREADS)]
        theirs = pool.submit(of_other_code)
        received = [pair for done in ours for pair in done.result(60)]

    assert len(received) == _CALLS
    assert all(name == asked.access_key[:20] for asked, name in received)
    for each in sandboxes:
        assert len(each.requests) == _CALLS // 2
        assert {request.access_key for request in each.requests} == {each.access_key}
        assert each.unexpected == []
        assert each.connections <= _THREADS
    assert [body["result"]["name"] for body in theirs.result(60)] == [third_sandbox.access_key[:20]] * 20
    assert {request.access_key for request in third_sandbox.requests} == {third_sandbox.access_key}
    assert outside_state() == before


def test_call_leaves_config_and_environment_unchanged(sandbox: Sandbox, client: TaskClient) -> None:
    before = outside_state()
    client.delete(sandbox.add_task())
    with pytest.raises(QfTasksError):
        client.get("infer-gone")
    assert outside_state() == before


def test_raw_call_action_works_before_and_after_a_call(third_sandbox: Sandbox, client: TaskClient) -> None:
    third_sandbox.add_task("infer-1")
    before = raw_get("infer-1")
    client.models()
    after = raw_get("infer-1")
    assert before["result"] == after["result"] == third_sandbox.tasks["infer-1"]


def test_raw_call_action_that_fails_raises_and_logs_as_before(
    third_sandbox: Sandbox, client: TaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    client.models()
    third_sandbox.inject(Fault.status(500))
    with pytest.raises(RequestError):
        raw_get("infer-1")
    assert "failed with http status code 500" in caplog.text


def test_raw_call_action_after_failed_call_uses_its_own_account(
    sandbox: Sandbox, third_sandbox: Sandbox, client: TaskClient
) -> None:
    third_sandbox.add_task("infer-1")
    sandbox.inject(Fault.status(400))
    with pytest.raises(QfTasksError):
        client.get("infer-1")
    assert raw_get("infer-1")["result"]["taskId"] == "infer-1"


def test_raw_call_action_from_other_code_during_a_call_uses_its_own_account(
    sandbox: Sandbox, third_sandbox: Sandbox, client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    third_sandbox.add_task("infer-1")
    client.models()
    names: list[Any] = []
    original = Sender.request

    def request(*args: Any, **kwargs: Any) -> RawResponse:
        names.append(raw_get("infer-1")["result"]["taskId"])  # as a signal handler or a log handler might
        return original(*args, **kwargs)

    monkeypatch.setattr(Sender, "request", request)
    client.models()

    assert names == ["infer-1"]
    assert [request.access_key for request in third_sandbox.requests] == [third_sandbox.access_key]
    assert [request.action for request in sandbox.requests] == ["DescribeBatchInferenceModel"] * 2
