"""How a call goes through the SDK: the seam, the connections, the process, and what breaks on the way."""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from qianfan.errors import APIError, RequestError
from qianfan.resources.console import utils as console
from qianfan.resources.typing import QfResponse

import qf_tasks
from qf_tasks import (
    BadResponseError,
    ConfigurationError,
    InvalidRequestError,
    QfTasksError,
    RequestTimeoutError,
    ServerError,
    ServiceUnreachableError,
    TaskClient,
)
from qf_tasks.sandbox import Fault, Sandbox
from tests.conftest import MakeClient

ROUTE = "/v2/batchinference"
_ROOT = Path(qf_tasks.__file__).parents[1]


@pytest.fixture
def client(make_client: MakeClient) -> TaskClient:
    """A client that asks once."""
    return make_client(max_retries=0)


class Double:
    """A `call_action` of a test: notes how it was called, and gives what it was made with."""

    def __init__(self, outcome: object) -> None:
        self.outcome = outcome
        self.calls: list[tuple[tuple[object, ...], dict[str, object]]] = []

    def __call__(self, *args: object, **kwargs: object) -> object:
        self.calls.append((args, kwargs))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def test_call_is_literally_call_action_with_three_arguments(
    sandbox: Sandbox, client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    double = Double(QfResponse(code=200, body={"requestId": "r-1", "result": True}))
    client.models()
    monkeypatch.setattr(console, "call_action", double)
    result = client.delete("infer-1")
    assert (result.outcome, result.request_id) == ("deleted", "r-1")
    assert double.calls == [((ROUTE, "DeleteBatchInferenceTask", {"taskId": "infer-1"}), {})]
    assert client.call("DescribeBatchInferenceModel", {}).status == 200
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (SimpleNamespace(body={"code": "InappropriateJSON", "message": "x"}), InvalidRequestError),
        (SimpleNamespace(body=None), BadResponseError),
        (SimpleNamespace(body=[{"result": True}]), BadResponseError),
        (SimpleNamespace(body={"result": object()}), BadResponseError),
        (None, BadResponseError),
        (APIError(336000, "internal", "r-1"), ServerError),
        (RequestError("Authorization: bce-auth-v1/AK", status_code=500), ServerError),
        (RequestError("Authorization: bce-auth-v1/AK"), BadResponseError),
        (TypeError("'NoneType' object is not iterable"), BadResponseError),
    ],
    ids=lambda value: getattr(value, "__name__", repr(value)[:40]),
)
def test_outcome_of_a_double_is_judged_like_an_answer(
    client: TaskClient, monkeypatch: pytest.MonkeyPatch, outcome: object, expected: type[QfTasksError]
) -> None:
    monkeypatch.setattr(console, "call_action", Double(outcome))
    with pytest.raises(expected) as caught:
        client.delete("infer-1")
    assert type(caught.value) is expected
    assert "bce-auth-v1" not in str(caught.value)


def test_call_at_debug_level_logs_its_action_task_status_time_and_request_id(
    sandbox: Sandbox, client: TaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "qf_tasks")
    task_id = client.get(sandbox.add_task()).task_id
    [request], [line] = sandbox.requests, caplog.messages
    said = (
        rf"DescribeBatchInferenceTask {task_id}: HTTP 200 in \d\.\d{{3}} s, request id {request.request_id}"
    )
    assert re.fullmatch(said, line)


def test_call_without_an_answer_at_debug_level_logs_why(
    sandbox: Sandbox, client: TaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "qf_tasks")
    sandbox.inject(Fault.reset_before())
    with pytest.raises(ServiceUnreachableError) as caught:
        client.get("infer-1")
    assert caplog.messages == [f"DescribeBatchInferenceTask infer-1: no answer ({caught.value})"]


def test_answer_on_the_wire_counts_whatever_the_sdk_makes_of_it(
    sandbox: Sandbox, client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.models()
    original = console.call_action

    def stumbling(*args: Any) -> None:
        original(*args)
        raise AttributeError("'list' object has no attribute 'get'")

    monkeypatch.setattr(console, "call_action", stumbling)
    assert client.delete(sandbox.add_task()).request_id == sandbox.requests[-1].request_id


def test_seam_put_back_by_other_code_is_made_again(
    sandbox: Sandbox, client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qianfan.resources.requestor.console_requestor import ConsoleAPIRequestor

    client.models()
    monkeypatch.setattr(console, "ConsoleAPIRequestor", ConsoleAPIRequestor)
    client.models()
    assert [request.status for request in sandbox.requests] == [200, 200]


# What breaks on the way.


def test_call_to_a_port_where_nobody_listens_raises_unreachable(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.stop()
    with pytest.raises(ServiceUnreachableError, match="No connection was made") as caught:
        client.models()
    assert (caught.value.code, caught.value.status) == ("ConnectionFailed", None)
    assert caught.value.retryable


@pytest.mark.parametrize("fault", [Fault.reset_before(), Fault.reset_after(), Fault.truncated()])
def test_delete_cut_off_raises_unreachable_and_may_have_been_applied(
    sandbox: Sandbox, client: TaskClient, fault: Fault
) -> None:
    sandbox.inject(fault)
    with pytest.raises(ServiceUnreachableError) as caught:
        client.delete(sandbox.add_task())
    assert caught.value.code == "ConnectionBroken"
    assert caught.value.may_have_been_applied


@pytest.mark.parametrize("fault", [Fault.slow(5), Fault.slow_body(5)])
def test_delete_answered_too_late_raises_timeout(
    sandbox: Sandbox, make_client: MakeClient, fault: Fault
) -> None:
    sandbox.inject(fault)
    with pytest.raises(RequestTimeoutError) as caught:
        make_client(max_retries=0, request_timeout=0.1).delete(sandbox.add_task())
    assert isinstance(caught.value, TimeoutError)
    assert (caught.value.code, caught.value.may_have_been_applied) == ("ReadTimeout", True)


def test_call_to_a_host_of_no_name_raises_unreachable(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ServiceUnreachableError) as caught:
        make_client(base_url="https://nowhere.invalid", max_retries=0).models()
    assert caught.value.code == "NameNotResolved"


def test_answer_that_is_not_what_its_encoding_says_raises_bad_response(
    sandbox: Sandbox, client: TaskClient
) -> None:
    sandbox.inject(Fault.headers({"Content-Encoding": "gzip"}))
    with pytest.raises(BadResponseError):
        client.models()


def test_sdk_that_cannot_be_imported_raises_configuration_error(
    client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_name: str) -> None:
        raise RuntimeError("unable to infer type for attribute")  # pydantic.v1, on a Python too new for it

    monkeypatch.delitem(sys.modules, "qianfan.resources.console.utils")
    monkeypatch.setattr("importlib.import_module", fails)
    with pytest.raises(ConfigurationError, match="SDK cannot be imported"):
        client.models()


# What only a process of its own can show.


def run(script: str, sandbox: Sandbox | None = None, *options: str, **variables: str) -> str:
    """Return what a Python script prints; it must end well, and leave stderr empty."""
    path = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PYTHONPATH": str(_ROOT)}
    done = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(script)],
        env={**path, **(sandbox.env() if sandbox else {}), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_import_of_qf_tasks_loads_nothing_heavy() -> None:
    printed = run("""
        import sys
        import qf_tasks
        heavy = "qianfan baidubce requests aiohttp typer rich tenacity pydantic_settings".split()
        print([name for name in heavy if name in sys.modules])
        """)
    assert printed == "[]\n"


def test_first_call_is_quiet_even_where_warnings_are_errors(sandbox: Sandbox) -> None:
    script = """
        import logging
        logging.basicConfig(level=logging.WARNING)
        from qf_tasks import TaskClient
        with TaskClient() as client:
            print(client.delete("infer-1").outcome)
        """
    sandbox.add_task("infer-1")
    assert run(script, sandbox, "-W", "error") == "deleted\n"


def test_forked_child_of_a_used_client_has_its_own_connection(sandbox: Sandbox) -> None:
    script = """
        import os
        from qf_tasks import TaskClient
        client = TaskClient()
        client.models()
        child = os.fork()
        if child == 0:
            client.get("infer-child")
            client.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print(client.get("infer-parent").task_id)
        """
    for task_id in ("infer-parent", "infer-child"):
        sandbox.add_task(task_id)
    assert run(script, sandbox) == "infer-parent\n"
    before, child, parent = (request.connection for request in sandbox.requests)
    assert before == parent != child


@pytest.mark.parametrize("name", ["QIANFAN_QPS_LIMIT", "QIANFAN_CONSOLE_API_RETRY_ERR_CODES"])
def test_value_that_the_sdk_refuses_raises_configuration_error_that_names_it(
    sandbox: Sandbox, name: str
) -> None:
    script = """
        from qf_tasks import ConfigurationError, TaskClient
        try:
            TaskClient().models()
        except ConfigurationError as error:
            print(error)
        """
    printed = run(script, sandbox, **{name: "secret-abc"})
    assert printed == f"The qianfan SDK does not accept the value of {name}\n"
    assert sandbox.requests == []
