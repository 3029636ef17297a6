"""Network faults: each leads a client to a sandbox, and fails on the route."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from qf_tasks.sandbox import Fault, Sandbox
from tests.transport import tcp_proxy

HOST = "sandbox.test"

Route = tuple[Sandbox, dict[str, Any]]  # and the settings of a client that takes it
NetworkFault = Callable[[Path], AbstractContextManager[Route]]


def wrong_port(port_of: Callable[[], AbstractContextManager[int]], **settings: Any) -> NetworkFault:
    """Lead the client to a port where the sandbox is not."""

    @contextmanager
    def fault(_directory: Path) -> Iterator[Route]:
        with Sandbox(frozen=True) as sandbox, port_of() as port:
            yield sandbox, {"base_url": f"http://127.0.0.1:{port}", **settings}

    return fault


@contextmanager
def unresolved(_directory: Path) -> Iterator[Route]:
    with Sandbox(frozen=True) as sandbox:
        yield sandbox, {"base_url": "https://qianfan.invalid"}


@contextmanager
def wrong_certificate(directory: Path) -> Iterator[Route]:
    with tcp_proxy.tls_sandbox(directory, HOST) as (sandbox, bundle):
        yield sandbox, {"base_url": sandbox.url, "ca_bundle": bundle}


def through_a_relay(*, applied: bool, final_bytes: bytes) -> NetworkFault:
    """Break TLS when the service responds, with the request applied or not."""

    @contextmanager
    def fault(directory: Path) -> Iterator[Route]:
        with tcp_proxy.tls_sandbox(directory, "127.0.0.1") as (sandbox, bundle):
            count = (lambda: len(sandbox.requests)) if applied else None
            with tcp_proxy.relay(sandbox.port, count=count, final_bytes=final_bytes) as relay:
                yield sandbox, {"base_url": f"https://127.0.0.1:{relay.port}", "ca_bundle": bundle}

    return fault


def through_a_proxy(*, connect_status: int = 200, applied: bool | None = None) -> NetworkFault:
    """Have a proxy refuse, or drop the connection with the request applied or not."""

    @contextmanager
    def fault(directory: Path) -> Iterator[Route]:
        with tcp_proxy.tls_sandbox(directory, HOST) as (sandbox, bundle):
            count = (lambda: len(sandbox.requests)) if applied else None
            with tcp_proxy.proxy(sandbox.port, count=count, connect_status=connect_status) as relay:
                yield sandbox, {"base_url": f"https://{HOST}", "ca_bundle": bundle, "proxy": relay.url}

    return fault


@contextmanager
def short_length(_directory: Path) -> Iterator[Route]:
    """Declare half of the length of each body; the other half arrives where the next response would begin."""
    with (
        Sandbox(frozen=True) as sandbox,
        tcp_proxy.relay(sandbox.port, count=lambda: 0, edit=tcp_proxy.half_as_long) as relay,
    ):
        yield sandbox, {"base_url": f"http://127.0.0.1:{relay.port}"}


def injected(fault_: Fault, **settings: Any) -> NetworkFault:
    """Inject a fault into every request."""

    @contextmanager
    def fault(_directory: Path) -> Iterator[Route]:
        with Sandbox(frozen=True) as sandbox:
            sandbox.inject(fault_, times=None)
            yield sandbox, {"base_url": sandbox.url, **settings}

    return fault


REFUSED_PORT = wrong_port(tcp_proxy.refusing_port)
SILENT_PORT = wrong_port(tcp_proxy.silent_port, request_timeout=0.25)
TLS_BROKEN_BEFORE = through_a_relay(applied=False, final_bytes=tcp_proxy.NOT_TLS)
TLS_BROKEN_AFTER = through_a_relay(applied=True, final_bytes=tcp_proxy.NOT_TLS)
TLS_CLOSED_AFTER = through_a_relay(applied=True, final_bytes=b"")
PROXY_REFUSES = through_a_proxy(connect_status=403)
PROXY_DROPS_BEFORE, PROXY_DROPS_AFTER = through_a_proxy(applied=False), through_a_proxy(applied=True)
