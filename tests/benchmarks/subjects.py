"""Those that are compared: this library, the raw SDK, a bare session below both, and the wire below that.

The raw SDK takes keys and host from the process: a benchmark has that for itself.
"""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPConnection, HTTPSConnection
from typing import Any, ClassVar

import qianfan
import requests
from baidubce.auth.bce_credentials import BceCredentials
from baidubce.auth.bce_v1_signer import sign
from qianfan.resources.console.utils import call_action

from qf_tasks import AsyncTaskClient, Settings, TaskClient
from qf_tasks._runtime.asyncio import AsyncClock
from qf_tasks._runtime.blocking import Clock
from tests.benchmarks.server import Server

ROUTE = "/v2/batchinference"
DELETE = "DeleteBatchInferenceTask"


def facade(server: Server, clock: Clock | None = None) -> TaskClient:
    """Return a client of ours, with a time of its own where that is given."""

    class TimedClient(TaskClient):
        _clock: ClassVar[Clock] = clock or Clock()

    return TimedClient(settings_of(server))


def async_facade(server: Server, clock: AsyncClock | None = None) -> AsyncTaskClient:
    """Return an asyncio client of ours, with a time of its own where that is given."""

    class TimedClient(AsyncTaskClient):
        _clock: ClassVar[AsyncClock] = clock or AsyncClock()

    return TimedClient(settings_of(server))


def settings_of(server: Server) -> Settings:
    """Return the settings of clients of a server."""
    return Settings(
        access_key=server.access_key,
        secret_key=server.secret_key,
        base_url=server.url,
        bos_endpoint=server.url,
        ca_bundle=server.ca_bundle if server.url.startswith("https") else None,
    )


def raw_sdk(server: Server) -> Callable[[str, dict[str, Any]], Any]:
    """Return the SDK's own call as its documentation has it; its response is the body."""
    config = qianfan.get_config()
    config.ACCESS_KEY = server.access_key
    config.SECRET_KEY = server.secret_key
    config.CONSOLE_API_BASE_URL = server.url
    os.environ["REQUESTS_CA_BUNDLE"] = str(server.ca_bundle)
    return lambda action, params: call_action(ROUTE, action, params).body


def bare_session(server: Server, action: str) -> Callable[[dict[str, Any]], None]:
    """Return the floor: a default session that keeps its connection and posts what was signed before."""
    session = requests.Session()
    os.environ["REQUESTS_CA_BUNDLE"] = str(server.ca_bundle)
    url, query, headers = server.url + ROUTE, {"Action": action}, _signed(server, action)

    def post(params: dict[str, Any]) -> None:
        session.post(url, params=query, data=json.dumps(params), headers=headers).raise_for_status()

    return post


def wire(server: Server, action: str) -> Callable[[dict[str, Any]], None]:
    """Return the same by the standard library: hardly more than the server's own time."""
    if server.url.startswith("https"):
        context = ssl.create_default_context(cafile=str(server.ca_bundle))
        connection: HTTPConnection = HTTPSConnection(server.netloc, context=context)
    else:
        connection = HTTPConnection(server.netloc)
    target, headers = f"{ROUTE}?Action={action}", _signed(server, action)

    def post(params: dict[str, Any]) -> None:
        connection.request("POST", target, json.dumps(params), headers)
        response = connection.getresponse()
        response.read()
        assert response.status == HTTPStatus.OK

    return post


def _signed(server: Server, action: str) -> dict[str, str]:
    """Return signed headers; the body is not part of a signature, so they serve for every task."""
    now = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "Host": server.netloc,
        "x-bce-date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
    }
    signed = sign(
        BceCredentials(server.access_key, server.secret_key),
        b"POST",
        ROUTE.encode(),
        {name.encode(): value for name, value in headers.items()},
        {b"Action": action},
        timestamp=now,
        headers_to_sign=sorted(name.lower().encode() for name in headers),
    )
    return {**headers, "Authorization": signed.decode()}
