"""Whatever the server sends, every method returns a value or raises an error about the response."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qf_tasks import ConfigurationError, InvalidArgumentError, QfTasksError, TaskClient
from qf_tasks.models import Model
from qf_tasks.sandbox import Fault, Sandbox
from tests.conftest import MakeClient
from tests.transport.raw_server import Exchange, RawServer, raw_server

from .operations import OPERATIONS, TASKS
from .values import Json, json_values

pytestmark = pytest.mark.fuzz

_MAX_REQUESTS = 100  # of one call; a listing that does not end would exceed it

_header_text = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=9
)
_header_values = _header_text | st.sampled_from(
    [
        *("0", "1", "-5", "nan", "1e9", "99999999999", "Wed, 21 Oct 2015 07:28:00 GMT"),
        *(
            "Fri, 31 Dec 9999 23:59:59 -2359",
            "gzip",
            "br, gzip",
            "chunked",
            "AccessDenied",
            "InvalidAccessKeyId",
        ),
        *("http://[", "//", "\xff\xfe", "/elsewhere", "application/json; charset=klingon", "a=b; Path=/"),
        *("NotFound, cause: Could not find credential.", "bce-auth-v1/key/time/300/host/signature"),
    ]
)
_header_names = st.sampled_from(
    [
        *("Retry-After", "Date", "Location", "Content-Encoding", "Content-Type", "Set-Cookie", "Connection"),
        *("x-bce-request-id", "X-Bce-Error-Code", "X-Bce-Error-Message", "Content-Language", "Link"),
    ]
)
_headers = st.dictionaries(_header_names, _header_values, max_size=4)
_statuses = st.sampled_from(
    [
        200,
        201,
        202,
        204,
        206,
        301,
        302,
        304,
        307,
        308,
        400,
        401,
        403,
        404,
        407,
        409,
        413,
        429,
        500,
        503,
        504,
        599,
    ]
)
_contents = (
    st.binary(max_size=40)
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.builds(
        lambda value, size: json.dumps({"result": value}).encode()[:size], json_values, st.integers(0, 80)
    )
    | st.builds(
        lambda value, coding: json.dumps(value).encode(coding),
        json_values,
        st.sampled_from(["utf-16", "utf-8-sig"]),
    )
)


_methods = st.sampled_from([*OPERATIONS])


@pytest.fixture
def client(make_client: MakeClient) -> TaskClient:
    return make_client(max_retries=0, request_timeout=10)


def _call(client: TaskClient, method: str) -> None:
    try:
        value = OPERATIONS[method](client)
    except QfTasksError as error:
        _check_error(error)
    else:
        _check_value(value)


def _check_error(error: QfTasksError) -> None:
    assert not isinstance(error, ConfigurationError | InvalidArgumentError)
    assert str(error).isprintable()
    assert "bce-auth-v1/" not in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def _check_value(value: object) -> None:
    found = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    for model in found:
        assert isinstance(model, Model)
        assert repr(model)
        assert model.model_validate(model.model_dump(mode="json")) == model


@given(method=_methods, value=json_values)
def test_method_with_any_json_returns_or_raises(
    sandbox: Sandbox, client: TaskClient, method: str, value: Json
) -> None:
    sandbox.reset()
    sandbox.inject(Fault.body(json.dumps(value).encode()), times=None)
    _call(client, method)
    assert len(sandbox.requests) < _MAX_REQUESTS


@given(method=_methods, status=_statuses, headers=_headers, content=_contents)
def test_method_with_any_status_headers_and_bytes_returns_or_raises(
    sandbox: Sandbox, client: TaskClient, *, method: str, status: int, headers: dict[str, str], content: bytes
) -> None:
    sandbox.reset()
    sandbox.inject(Fault.body(content, status=status, headers=headers), times=None)
    _call(client, method)
    assert len(sandbox.requests) < _MAX_REQUESTS


@given(
    method=_methods,
    value=json_values,
    index=st.integers(0, 40),
    run_status=st.sampled_from(["Done", "Running", "Stopping", "Odd"]),
)
def test_method_with_any_json_inside_a_real_response_returns_or_raises(
    sandbox: Sandbox, client: TaskClient, *, method: str, value: Json, index: int, run_status: str
) -> None:
    sandbox.reset()
    for task_id in TASKS:
        sandbox.add_task(task_id, run_status=run_status, name="nightly")
    sandbox.inject(Fault.transform(lambda body: _replaced(body, index, value)), times=None)
    _call(client, method)
    assert len(sandbox.requests) < _MAX_REQUESTS
    assert sandbox.errors == []


_wire = st.lists(
    st.sampled_from(
        [
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n",
            b"HTTP/1.1 302 Found\r\nLocation: \xff\xfe\r\n",
            b"HTTP/1.1 301\r\nLocation: http://[\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 999 \xe6\r\n",
            b"HTTP/0.9 200\r\n",
            b"HTTP/1.1 -1 Odd\r\n",
            b"Content-Length: 5\r\n",
            b"Content-Length: 5, 7\r\n",
            b"Content-Length: -1\r\n",
            b"Content-Length: 99999999999999999999\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Content-Encoding: gzip\r\n",
            b"Content-Type: text/html; charset=\xff\r\n",
            b"Set-Cookie: \xff=\x00; expires=never\r\n",
            b"no colon\r\n",
            b": no name\r\n",
            b"a: b\r\n" * 200,
            b"\r\n",
            b"\r\n\r\n",
            b"ffffffffffffffff\r\n",
            b"zz\r\n",
            b"0\r\n\r\n",
            b'{"result": true}',
            b'{"code": "X", "message": "y"}',
            b"x" * 70_000,
        ]
    )
    | st.binary(max_size=9),
    max_size=8,
).map(b"".join)


@pytest.fixture
def server() -> Iterator[RawServer]:
    with raw_server(lambda exchange: exchange.close()) as running:
        yield running


@given(method=_methods, content=_wire)
def test_method_with_any_bytes_as_response_returns_or_raises(
    server: RawServer, make_client: MakeClient, method: str, content: bytes
) -> None:
    def script(exchange: Exchange) -> None:
        exchange.send(content)
        exchange.close()

    server.script = script
    with make_client(max_retries=0, request_timeout=10, base_url=server.url) as client:
        _call(client, method)


def _replaced(value: Any, index: int, new: object) -> Any:
    """Return a JSON value in which the value at an index, counted depth first, is another."""
    value = copy.deepcopy(value)
    members = [*_members(value)]
    if index >= len(members):
        return new
    container, key = members[index]
    container[key] = new
    return value


def _members(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each value inside a JSON value, as its container and its key there."""
    members: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        members = [*value.items()]
    elif isinstance(value, list):
        members = [*enumerate(value)]
    for key, inner in members:
        yield value, key
        yield from _members(inner)
