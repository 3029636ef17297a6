"""Whatever is sent, the sandbox says no in its own shape and never breaks: what is known to be hard."""

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
def test_json_that_no_answer_could_repeat_is_malformed(client: SignedClient, content: bytes) -> None:
    assert client.post("CreateBatchInferenceTask", content).refusal == (400, "MalformedJSON")


def test_a_body_without_end_is_refused(client: SignedClient) -> None:
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
def test_any_http_is_refused_or_cut(sandbox: Sandbox, raw: bytes) -> None:
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=20) as line:
        line.sendall(raw)
        got = line.recv(65536)
    assert not got or got.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))


def test_a_client_that_leaves_before_the_end_of_its_body_does_no_harm(
    sandbox: Sandbox, client: SignedClient, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=20) as line:
        line.sendall(b"POST /v2/batchinference HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{}")
    assert client.models().status == 200
    sandbox.stop()
    assert len(sandbox.requests) == 1
    assert not caplog.records
