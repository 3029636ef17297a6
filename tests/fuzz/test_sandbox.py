"""Whatever is sent to the sandbox, signed or not, it accepts or rejects in the form of the service."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qf_tasks.sandbox import Sandbox
from qf_tasks.sandbox.signing import Authorization, canonical_request
from tests.sandbox.signed_client import CREATION, ROUTE, SignedClient, bce_time

from .values import Json, json_values

pytestmark = pytest.mark.fuzz

_ACTIONS = st.sampled_from(
    [
        "CreateBatchInferenceTask",
        "DescribeBatchInferenceTask",
        "DescribeBatchInferenceTasks",
        "StopBatchInferenceTask",
        "DeleteBatchInferenceTask",
        "DescribeBatchInferenceModel",
    ]
)
_MEMBERS = st.sampled_from(
    [*CREATION, "taskId", "marker", "maxKeys", "runStatus", "pageReverse", "modelId", "inferenceParams"]
)
_bodies = (
    st.dictionaries(_MEMBERS, json_values)
    | st.dictionaries(_MEMBERS, json_values).map(lambda body: CREATION | body)
    | json_values
)
_visible = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=20)
_header_values = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20
)
_header_names = st.sampled_from(
    [
        "x-bce-extra",
        "Date",
        "x-bce-date",
        "Content-Type",
        "Content-Encoding",
        "Accept",
        "Expect",
        "Cookie",
        "Range",
    ]
)


@pytest.fixture(scope="module", name="server")
def shared_sandbox() -> Iterator[Sandbox]:
    with Sandbox(frozen=True, remember=10) as running:
        running.add_tasks(3)
        yield running
        assert running.errors == []


@pytest.fixture(scope="module", name="signed")
def shared_client(server: Sandbox) -> Iterator[SignedClient]:
    client = SignedClient(server)
    yield client
    client.close()


def _check(status: int, content: bytes) -> None:
    assert status == 200 or 400 <= status < 500
    assert json.loads(content, parse_constant=pytest.fail).keys() >= {"requestId"}


@given(action=_ACTIONS, body=_bodies)
def test_signed_request_with_any_json_is_accepted_or_rejected(
    signed: SignedClient, action: str, body: Json
) -> None:
    response = signed.post(action, json.dumps(body).encode())
    _check(response.status, response.content)
    listed = signed.list(maxKeys=100)
    _check(listed.status, listed.content)


@given(action=_ACTIONS, content=st.binary(max_size=200))
def test_signed_request_with_any_bytes_is_accepted_or_rejected(
    signed: SignedClient, action: str, content: bytes
) -> None:
    response = signed.post(action, content)
    _check(response.status, response.content)


@given(
    method=st.sampled_from(["POST", "GET", "PUT", "DELETE", "OPTIONS", "BREW"]),
    path=st.just(ROUTE) | _visible.map(lambda text: f"/{text.replace('?', '')}"),
    query=st.just("Action=DescribeBatchInferenceModel") | _visible,
    extra=st.dictionaries(_header_names, _header_values, max_size=3),
)
def test_signed_request_with_any_target_and_headers_is_accepted_or_rejected(
    server: Sandbox, method: str, path: str, query: str, extra: dict[str, str]
) -> None:
    host = f"127.0.0.1:{server.port}"
    headers = {"Host": host, "Content-Length": "2", **extra}
    headers["Authorization"] = _authorization(server, method, path, query, headers)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest(method, f"{path}?{query}", skip_host=True, skip_accept_encoding=True)
    for name, text in headers.items():
        connection.putheader(name, text)
    connection.endheaders(b"{}")
    status = connection.getresponse().status
    connection.close()
    assert status == 200 or 400 <= status < 500
    assert server.errors == []


def _authorization(server: Sandbox, method: str, path: str, query: str, headers: dict[str, str]) -> str:
    """Return the header that signs all headers of a request, as the sandbox reads them."""
    names = sorted(name.lower() for name in headers)
    unsigned = Authorization(server.access_key, bce_time(time.time()), 1800, frozenset(names), "")
    texts = {name.lower(): text for name, text in headers.items()}
    parameters = parse_qsl(query, keep_blank_values=True)
    signature = unsigned.sign(server.secret_key, canonical_request(method, path, parameters, texts, names))
    return f"bce-auth-v1/{server.access_key}/{unsigned.timestamp}/1800/{';'.join(names)}/{signature}"


@given(authorization=_header_values, query=_visible)
def test_request_with_any_authorization_is_rejected(
    signed: SignedClient, authorization: str, query: str
) -> None:
    headers = {"Authorization": authorization, "x-bce-date": authorization}
    response = signed.send(b"{}", headers, target=f"{ROUTE}?{query}")
    assert 400 <= response.status < 500


_http = st.lists(
    st.sampled_from(
        [
            b"POST /v2/batchinference?Action=DescribeBatchInferenceModel HTTP/1.1\r\n",
            b"GET http://[::1/ HTTP/1.1\r\n",
            b"CONNECT x:1 HTTP/1.0\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"Host: x\r\n",
            b"Content-Length: 5\r\n",
            b"Content-Length: 5, 7\r\n",
            b"Content-Length: -1\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Content-Encoding: gzip\r\n",
            b"Upgrade: websocket\r\nConnection: upgrade\r\n",
            b"Expect: 100-continue\r\n",
            b"Authorization: \xff\xfe\r\n",
            b"Authorization: bce-auth-v1/a/b/1//c\r\n",
            b"x" * 9000,
            b": \r\n",
            b"\r\n",
            b"\r\n\r\n",
            b"zz\r\n",
            b"0\r\n\r\n",
            b"{}",
            b"\x16\x03\x01\x02\x00",
        ]
    )
    | st.binary(max_size=9),
    max_size=8,
).map(b"".join)


@given(sent=_http)
def test_connection_with_any_bytes_is_rejected_or_closed(
    server: Sandbox, signed: SignedClient, sent: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: _receive(connection), b""))
    assert not received or received.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4", b"HTTP/1.1 1"))
    assert signed.models().status == 200


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionError:
        return b""
