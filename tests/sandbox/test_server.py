"""Start and stop, connections, TLS, recorded requests, and clients of the library."""

import ast
import errno
import importlib
import os
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import trustme

import qf_tasks.sandbox
from qf_tasks import ServerError
from qf_tasks.sandbox import Fault, Sandbox, ServerBehavior

from .signed_client import SignedClient


def test_start_after_stop_uses_the_same_port() -> None:
    sandbox = Sandbox(frozen=True)
    started = time.monotonic()
    ports = set()
    for _ in range(5):
        with sandbox:
            ports.add(sandbox.start().port)
        sandbox.stop()
    assert time.monotonic() - started < 10
    assert len(ports) == 1


def test_stopped_sandbox_refuses_connections_and_keeps_its_state() -> None:
    with Sandbox(frozen=True) as sandbox:
        client = SignedClient(sandbox)
        task_id = client.create().result["taskId"]
        client.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", sandbox.port))
    assert list(sandbox.tasks) == [task_id]
    assert len(sandbox.requests) == 1


def test_stop_ends_the_thread() -> None:
    before = threading.active_count()
    with Sandbox(frozen=True):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_stop_does_not_wait_for_open_connections(sandbox: Sandbox) -> None:
    lines = [socket.create_connection(("127.0.0.1", sandbox.port)) for _ in range(3)]
    lines[1].sendall(b"POST /v2/batchinference HTTP/1.1\r\nContent-Le")
    lines[2].sendall(b"POST /v2/batchinference HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12")
    started = time.monotonic()
    sandbox.stop()
    assert time.monotonic() - started < 10
    for line in lines:
        line.close()


def test_start_on_busy_port_raises_with_port_and_advice(sandbox: Sandbox) -> None:
    with pytest.raises(OSError, match=f"port {sandbox.port}.*choose another") as caught:
        Sandbox(port=sandbox.port).start()
    assert caught.value.errno == errno.EADDRINUSE


def test_repr_has_url_and_number_of_tasks_and_no_secret(sandbox: Sandbox) -> None:
    assert repr(sandbox) == f"<Sandbox {sandbox.url}, 0 tasks>"
    sandbox.add_task()
    assert repr(sandbox) == f"<Sandbox {sandbox.url}, 1 task>"
    assert repr(Sandbox()) == "<Sandbox not started, 0 tasks>"


def test_client_uses_the_sandbox_with_the_given_settings(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QIANFAN_CONSOLE_API_BASE_URL", "http://127.0.0.1:1")
    task_id = sandbox.add_task()
    sandbox.inject(Fault.status(503), action="DescribeBatchInferenceModel")

    with sandbox.client(max_retries=0) as client:
        assert client.delete(task_id).outcome == "deleted"
        with pytest.raises(ServerError):
            client.models()

    assert sandbox.tasks == {}


def test_start_with_invalid_ssl_context_raises() -> None:
    wrong: Any = True
    with pytest.raises(TypeError):
        Sandbox(frozen=True, ssl_context=wrong).start()


def test_url_before_first_start_raises() -> None:
    with pytest.raises(RuntimeError, match="not running"):
        _ = Sandbox(frozen=True).url


def test_sandbox_listens_on_loopback_only(sandbox: Sandbox) -> None:
    assert sandbox.url == f"http://127.0.0.1:{sandbox.port}"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", sandbox.port))


def test_env_names_keys_and_url(sandbox: Sandbox) -> None:
    assert sandbox.env() == {
        "QIANFAN_ACCESS_KEY": sandbox.access_key,
        "QIANFAN_SECRET_KEY": sandbox.secret_key,
        "QIANFAN_CONSOLE_API_BASE_URL": sandbox.url,
        "QF_TASKS_BOS_ENDPOINT": sandbox.url,
    }
    assert not set(sandbox.env().values()) & set(os.environ.values())


def test_connections_are_kept_alive_and_numbered(sandbox: Sandbox, client: SignedClient) -> None:
    other = SignedClient(sandbox)
    for caller in (client, client, other, client):
        caller.models()
    first, second, third, fourth = (request.connection for request in sandbox.requests)
    assert first == second == fourth != third
    assert sandbox.connections == 2
    other.close()


def test_ssl_context_serves_https_with_its_certificate() -> None:
    authority = trustme.CA()
    server, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(trusting)
    with Sandbox(frozen=True, ssl_context=server) as sandbox:
        assert sandbox.url.startswith("https://")
        client = SignedClient(sandbox, ssl_context=trusting)
        assert client.create().status == 200
        client.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            SignedClient(sandbox, ssl_context=ssl.create_default_context()).models()
        idle = socket.create_connection(("127.0.0.1", sandbox.port))
    idle.close()
    assert sandbox.errors == []


def test_applied_request_is_recorded_completely(sandbox: Sandbox, client: SignedClient) -> None:
    task_id = sandbox.add_task()
    response = client.delete(task_id)
    (request,) = sandbox.requests
    assert (request.method, request.path) == ("POST", "/v2/batchinference")
    assert request.query == {"Action": "DeleteBatchInferenceTask"}
    assert request.action == "DeleteBatchInferenceTask"
    assert request.headers["content-type"] == request.headers["Content-Type"] == "application/json"
    assert request.body == b'{"taskId": "%s"}' % task_id.encode()
    assert request.params == {"taskId": task_id}
    assert request.access_key == sandbox.access_key
    assert request.request_id == response.body["requestId"]
    assert (request.status, request.answer) == (200, response.content)
    assert (request.applied, request.fault, request.refused, request.unexpected) == (True, None, None, False)
    assert "bce-auth-v1" not in repr(request)


def test_rejected_request_is_recorded_with_its_code(sandbox: Sandbox, client: SignedClient) -> None:
    client.delete("infer-000000000000")
    (request,) = sandbox.requests
    assert (request.applied, request.refused, request.unexpected) == (False, "TaskNotFound", False)


def test_remember_limits_recorded_requests() -> None:
    with Sandbox(frozen=True, remember=2) as sandbox:
        client = SignedClient(sandbox)
        ids = [client.models().body["requestId"] for _ in range(3)]
        client.close()
    assert [request.request_id for request in sandbox.requests] == ids[1:]


def test_reset_restores_initial_state_on_the_same_port(sandbox: Sandbox, client: SignedClient) -> None:
    start, port = sandbox.now, sandbox.port
    sandbox.add_key("extra", "secret")
    sandbox.add_task()
    sandbox.advance(10**9)
    sandbox.clock_offset = 9999
    sandbox.service_time = 0.001
    sandbox.behavior = ServerBehavior(reject_all=(403, "Arrears", "in arrears"))
    assert (sandbox.clock_offset, sandbox.service_time) == (9999, 0.001)
    client.call("Nothing")
    sandbox.reset()
    assert (sandbox.tasks, sandbox.requests, sandbox.unexpected, sandbox.errors) == ({}, [], [], [])
    assert (sandbox.port, sandbox.clock_offset, sandbox.service_time) == (port, 0, 0)
    assert sandbox.behavior == ServerBehavior()
    assert (sandbox.now - start).total_seconds() < 3600
    assert client.models().status == 200
    extra = SignedClient(sandbox, "extra", "secret")
    assert extra.models().rejection == (403, "InvalidAccessKeyId")
    extra.close()


def test_bug_of_the_sandbox_gives_500_and_is_recorded(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.inject(Fault.transform(lambda _: object()))
    assert client.models().status == 500
    assert [type(error) for error in sandbox.errors] == [TypeError]
    assert client.models().status == 200
    sandbox.reset()


def test_import_without_aiohttp_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("qf_tasks.sandbox")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(ImportError, match="with its extra 'sandbox'"):
        importlib.import_module("qf_tasks.sandbox")


def test_package_imports_the_standard_library_and_aiohttp_alone() -> None:
    # The imports inside of functions are those of `Sandbox.client`.
    folder = Path(qf_tasks.sandbox.__file__).parent
    imported: set[str] = set()
    for path in folder.glob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(str(node.module).partition(".")[0])
    assert imported - sys.stdlib_module_names == {"aiohttp"}
