"""How a call goes through the SDK: the two replaced names, the process, and failures on the route."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from traceback import walk_tb
from types import SimpleNamespace

import pytest
from qianfan.errors import APIError, RequestError
from qianfan.resources.console import utils as console
from qianfan.resources.typing import QfResponse

import qf_tasks
from qf_tasks import (
    BadResponseError,
    InvalidRequestError,
    QfTasksError,
    RequestTimeoutError,
    ServerError,
    ServiceUnreachableError,
    Settings,
    TaskClient,
    TaskNotFoundError,
)
from qf_tasks._transport.sdk_hook import Transport
from qf_tasks.sandbox import Fault, Sandbox
from tests.conftest import MakeClient

ROUTE = "/v2/batchinference"
_ROOT = Path(qf_tasks.__file__).parents[1]


@pytest.fixture
def client(make_client: MakeClient) -> TaskClient:
    """A client that sends each request once."""
    return make_client(max_retries=0)


class Double:
    """A `call_action` of a test: records its calls, and returns or raises what it was given."""

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
    ],
    ids=lambda value: getattr(value, "__name__", repr(value)[:40]),
)
def test_call_with_replaced_call_action_reads_its_response(
    client: TaskClient, monkeypatch: pytest.MonkeyPatch, outcome: object, expected: type[QfTasksError]
) -> None:
    monkeypatch.setattr(console, "call_action", Double(outcome))
    with pytest.raises(expected) as caught:
        client.delete("infer-1")
    assert type(caught.value) is expected
    assert "bce-auth-v1" not in str(caught.value)


def test_call_a_second_later_is_signed_anew(
    sandbox: Sandbox, client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = time.gmtime(time.time() + 5)

    client.models()
    monkeypatch.setattr(time, "gmtime", lambda *_: later)
    client.models()
    client.models()

    first, second, third = (request.headers["Authorization"] for request in sandbox.requests)
    assert first != second == third


def test_call_at_debug_level_logs_its_action_task_status_time_and_request_id(
    sandbox: Sandbox, client: TaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "qf_tasks")
    task_id = client.get(sandbox.add_task()).task_id
    [request], [line] = sandbox.requests, caplog.messages
    line_pattern = (
        rf"DescribeBatchInferenceTask {task_id}: HTTP 200 in \d\.\d{{3}} s, request id {request.request_id}"
    )
    assert re.fullmatch(line_pattern, line)


def test_call_without_response_at_debug_level_logs_why(
    sandbox: Sandbox, client: TaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "qf_tasks")
    sandbox.inject(Fault.reset_before())
    with pytest.raises(ServiceUnreachableError) as caught:
        client.get("infer-1")
    assert caplog.messages == [f"DescribeBatchInferenceTask infer-1: no response ({caught.value})"]


def test_call_after_other_code_restored_a_name_replaces_it_again(
    sandbox: Sandbox, client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qianfan.resources.requestor.console_requestor import ConsoleAPIRequestor

    client.models()
    monkeypatch.setattr(console, "ConsoleAPIRequestor", ConsoleAPIRequestor)
    client.models()
    assert [request.status for request in sandbox.requests] == [200, 200]


# Failures on the route.


def test_call_to_refusing_port_raises_unreachable(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.stop()
    with pytest.raises(ServiceUnreachableError, match="No connection was made") as caught:
        client.models()
    assert (caught.value.code, caught.value.status) == ("ConnectionFailed", None)
    assert caught.value.retryable


@pytest.mark.parametrize("fault", [Fault.reset_before(), Fault.reset_after(), Fault.truncated()])
def test_delete_reset_raises_unreachable_and_may_have_been_applied(
    sandbox: Sandbox, client: TaskClient, fault: Fault
) -> None:
    sandbox.inject(fault)
    with pytest.raises(ServiceUnreachableError) as caught:
        client.delete(sandbox.add_task())
    assert caught.value.code == "ConnectionBroken"
    assert caught.value.may_have_been_applied


@pytest.mark.parametrize("fault", [Fault.slow(5), Fault.slow_body(5)])
def test_delete_with_late_response_raises_timeout(
    sandbox: Sandbox, make_client: MakeClient, fault: Fault
) -> None:
    sandbox.inject(fault)
    with pytest.raises(RequestTimeoutError) as caught:
        make_client(max_retries=0, request_timeout=0.1).delete(sandbox.add_task())
    assert isinstance(caught.value, TimeoutError)
    assert (caught.value.code, caught.value.may_have_been_applied) == ("ReadTimeout", True)


def test_call_to_host_without_address_raises_unreachable(make_client: MakeClient) -> None:
    with pytest.raises(ServiceUnreachableError) as caught:
        make_client(base_url="https://nowhere.invalid", max_retries=0).models()
    assert caught.value.code == "NameNotResolved"


def test_call_with_wrong_content_encoding_raises_bad_response(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.inject(Fault.headers({"Content-Encoding": "gzip"}))
    with pytest.raises(BadResponseError):
        client.models()


# What only a process of its own can show.


def run(script: str, sandbox: Sandbox | None = None, *options: str, **variables: str) -> str:
    """Return what a Python script prints; it must succeed and leave stderr empty."""
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
        import qf_tasks.errors, qf_tasks.models
        heavy = "qianfan baidubce urllib3 aiohttp typer rich yaml dotenv requests pydantic_settings".split()
        print([name for name in heavy if name in sys.modules])
        """)
    assert printed == "[]\n"


def test_first_call_with_warnings_as_errors_prints_nothing(sandbox: Sandbox) -> None:
    script = """
        import logging
        logging.basicConfig(level=logging.WARNING)
        from qf_tasks import TaskClient
        with TaskClient() as client:
            print(client.delete("infer-1").outcome)
        """
    sandbox.add_task("infer-1")
    assert run(script, sandbox, "-W", "error") == "deleted\n"


def test_first_call_with_warnings_as_errors_compiles_the_source_of_the_sdk(sandbox: Sandbox) -> None:
    script = r"""
        import importlib
        from qf_tasks import TaskClient
        import_module = importlib.import_module

        def compile_and_import(name):  # as where the installer compiled nothing
            compile(r"'\w'", name, "exec")
            return import_module(name)

        importlib.import_module = compile_and_import
        with TaskClient() as client:
            print(client.delete("infer-1").outcome)
        """
    sandbox.add_task("infer-1")
    assert run(script, sandbox, "-W", "error") == "deleted\n"


def test_call_in_forked_child_uses_its_own_connection(sandbox: Sandbox) -> None:
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


def test_call_with_variable_rejected_by_the_sdk_raises_error_that_names_it(sandbox: Sandbox) -> None:
    script = """
        import os
        from qf_tasks import ConfigurationError, TaskClient
        for name in ("QIANFAN_QPS_LIMIT", "QIANFAN_CONSOLE_API_RETRY_ERR_CODES"):
            os.environ[name] = "secret-abc"
            try:
                TaskClient().models()
            except ConfigurationError as error:
                print(error)
            del os.environ[name]
        """
    assert run(script, sandbox).splitlines() == [
        "The qianfan SDK does not accept the value of QIANFAN_QPS_LIMIT",
        "The qianfan SDK does not accept the value of QIANFAN_CONSOLE_API_RETRY_ERR_CODES",
    ]
    assert sandbox.requests == []


def test_traceback_of_404_has_two_frames_of_the_transport(sandbox: Sandbox) -> None:
    settings = Settings(access_key=sandbox.access_key, secret_key=sandbox.secret_key, base_url=sandbox.url)
    transport = Transport(settings)

    with pytest.raises(TaskNotFoundError) as caught:
        transport.call("DescribeBatchInferenceTask", {"taskId": "infer-gone"})

    frames = [frame.f_code.co_name for frame, _line in walk_tb(caught.value.__traceback__)]
    assert frames[1:] == ["call", "read"]
    assert caught.value.__context__ is None
    transport.close()


def test_call_with_broken_replacement_of_call_action_raises_its_exception(
    client: TaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.models()
    monkeypatch.setattr(console, "call_action", Double(TypeError("a mistake in a test")))
    with pytest.raises(TypeError, match="a mistake in a test"):
        client.delete("infer-1")


# The import of the SDK.


def test_first_call_leaves_imports_of_pyarrow_by_others_unchanged(sandbox: Sandbox) -> None:
    script = """
        import importlib.util, logging
        from qf_tasks import TaskClient
        with TaskClient() as client:
            client.models()
        logging.getLogger("qianfan").setLevel(logging.ERROR)
        assert importlib.util.find_spec("pyarrow") is None
        try:
            import pyarrow
        except ImportError:
            print("missing for others")
        of_sdk = {"__name__": "qianfan.probe"}
        exec("import pyarrow", of_sdk)
        print("found by the SDK:", hasattr(of_sdk["pyarrow"], "Table"))
        """
    assert run(script, sandbox) == "missing for others\nfound by the SDK: True\n"


def test_call_after_interrupted_import_of_the_sdk_works(sandbox: Sandbox) -> None:
    script = """
        import sys
        from qf_tasks import Settings
        from qf_tasks._transport.sdk_hook import Transport
        countdown = 0

        def interrupt(event, _arguments):
            global countdown
            if event == "import" and countdown:
                countdown -= 1
                if countdown == 0:
                    raise exception

        sys.addaudithook(interrupt)
        transport = Transport(Settings.load())
        before = len(sys.meta_path)
        for exception, countdown in [(KeyboardInterrupt, 3), (TimeoutError, 60), (KeyboardInterrupt, 150)]:
            try:
                transport.call("DescribeBatchInferenceModel", {})
            except exception:
                print("interrupted", len(sys.meta_path) - before)
        countdown = 0
        print(transport.call("DescribeBatchInferenceModel", {}).status)
        transport.close()
        """
    assert run(script, sandbox).splitlines() == [*["interrupted 0"] * 3, "200"]


def test_call_where_the_sdk_cannot_be_imported_raises_configuration_error(sandbox: Sandbox) -> None:
    script = """
        import sys
        from qf_tasks import ConfigurationError, TaskClient
        sys.modules["qianfan.resources"] = None
        try:
            TaskClient().models()
        except ConfigurationError as error:
            print(error)
        """
    assert run(script, sandbox).startswith("The qianfan SDK cannot be imported")
