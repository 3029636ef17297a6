"""What the tests of the transport share: raw servers, and transports that lead to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from qf_tasks import Settings
from qf_tasks._transport.sdk_hook import Transport
from tests.clients import Kind

from .raw_server import RawServer, Script, raw_server
from .tcp_proxy import LOOPBACK, server_context

StartServer = Callable[[Script], RawServer]
MakeTransport = Callable[..., Transport]


@pytest.fixture
def kind() -> Kind:
    """Return one kind of client: below the operations, both run the same code."""
    return "blocking"


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def authority_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "test-authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Return a function that starts a server over plain HTTP."""
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(raw_server(script))


@pytest.fixture(params=["http", "https"])
def start_either_server(request: pytest.FixtureRequest, authority: trustme.CA) -> Iterator[StartServer]:
    """Return a function that starts a server over HTTP, and in another test over TLS."""
    context = server_context(authority, LOOPBACK) if request.param == "https" else None
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(raw_server(script, context))


@pytest.fixture
def make_transport(authority_file: Path) -> Iterator[MakeTransport]:
    """Return a function that makes a transport to a server, with any setting."""
    with ExitStack() as stack:

        def make(server: RawServer, **settings: Any) -> Transport:
            transport = Transport(settings_for(server.url, ca_bundle=authority_file, **settings))
            stack.callback(transport.close)
            return transport

        yield make


def settings_for(url: str, **settings: Any) -> Settings:
    return Settings(access_key="access-key", secret_key="secret-key", base_url=url, **settings)
