"""Hostile requests are rejected in the format of the service and do not break the sandbox."""

import socket

import pytest

from qf_tasks.sandbox import Sandbox

from .signed_client import SignedClient


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"inferenceParams":' * 66 + b"1" + b"}" * 66,
        b'{"inferenceParams":' * 500 + b"1" + b"}" * 500,
        b'{"maxKeys": ' + b"9" * 10_000 + b"}",
        b'{"name": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"name": "x", "name": Infinity}',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"\x00" * 100,
    ],
    ids=range(10),
)
def test_create_with_json_that_no_response_could_repeat_is_rejected(
    client: SignedClient, content: bytes
) -> None:
    assert client.post("CreateBatchInferenceTask", content).rejection == (400, "MalformedJSON")


def test_request_with_too_large_body_is_rejected(client: SignedClient) -> None:
    assert client.post("CreateBatchInferenceTask", b" " * 2_000_000).status == 413


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\xff\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /v2/batchinference HTTP/9.9\r\n\r\n",
        b"POST * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v2/batchinference?%FF=%ZZ HTTP/1.1\r\nHost: \xff\xfe\r\nDate: \xff\r\n\r\n",
        b"POST /v2/batchinference HTTP/1.1\r\nHost: x\r\nAuthorization: \xff\xfe\r\n\r\n",
        b"POST /v2/batchinference HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v2/batchinference HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v2/batchinference HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhi",
        b"POST /v2/batchinference HTTP/1.1\r\n" + b"a: b\r\n" * 5000 + b"\r\n",
    ],
    ids=range(12),
)
def test_malformed_http_is_rejected_or_disconnected(sandbox: Sandbox, raw: bytes) -> None:
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=20) as line:
        line.sendall(raw)
        got = line.recv(65536)
    assert not got or got.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))


def test_request_with_incomplete_body_has_no_effect_on_others(
    sandbox: Sandbox, client: SignedClient, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=20) as line:
        line.sendall(b"POST /v2/batchinference HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{}")
    assert client.models().status == 200
    sandbox.stop()
    assert len(sandbox.requests) == 1
    assert not caplog.records
