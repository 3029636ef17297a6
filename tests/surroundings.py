"""Surroundings in which a client does not get through: each leads to a sandbox, and fails on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from qf_tasks.sandbox import Fault, Sandbox

from . import wire

HOST = "sandbox.test"

Way = tuple[Sandbox, dict[str, Any]]  # and the settings of a client that takes it
Surrounding = Callable[[Path], AbstractContextManager[Way]]


def elsewhere(port_of: Callable[[], AbstractContextManager[int]], **settings: Any) -> Surrounding:
    """Lead the client to a port where the sandbox is not."""

    @contextmanager
    def surrounding(_directory: Path) -> Iterator[Way]:
        with Sandbox(frozen=True) as sandbox, port_of() as port:
            yield sandbox, {"base_url": f"http://127.0.0.1:{port}", **settings}

    return surrounding


@contextmanager
def nowhere(_directory: Path) -> Iterator[Way]:
    with Sandbox(frozen=True) as sandbox:
        yield sandbox, {"base_url": "https://qianfan.invalid"}


@contextmanager
def under_another_name(directory: Path) -> Iterator[Way]:
    with wire.tls_sandbox(directory, HOST) as (sandbox, bundle):
        yield sandbox, {"base_url": sandbox.url, "ca_bundle": bundle}


def through_a_relay(*, applied: bool, last_words: bytes) -> Surrounding:
    """Break TLS at the service's first word, or at its first after it has carried out the request."""

    @contextmanager
    def surrounding(directory: Path) -> Iterator[Way]:
        with wire.tls_sandbox(directory, "127.0.0.1") as (sandbox, bundle):
            count = (lambda: len(sandbox.requests)) if applied else None
            with wire.relay(sandbox.port, count=count, last_words=last_words) as line:
                yield sandbox, {"base_url": f"https://127.0.0.1:{line.port}", "ca_bundle": bundle}

    return surrounding


def through_a_proxy(*, connect_status: int = 200, applied: bool | None = None) -> Surrounding:
    """Have a proxy refuse, or drop the line at the service's first word, or when it has applied."""

    @contextmanager
    def surrounding(directory: Path) -> Iterator[Way]:
        with wire.tls_sandbox(directory, HOST) as (sandbox, bundle):
            count = (lambda: len(sandbox.requests)) if applied else None
            with wire.proxy(sandbox.port, count=count, connect_status=connect_status) as line:
                yield sandbox, {"base_url": f"https://{HOST}", "ca_bundle": bundle, "proxy": line.url}

    return surrounding


@contextmanager
def with_too_short_a_length(_directory: Path) -> Iterator[Way]:
    """Promise half of each body; the other half comes all the same, where the next answer would begin."""
    with (
        Sandbox(frozen=True) as sandbox,
        wire.relay(sandbox.port, count=lambda: 0, edit=wire.half_as_long) as line,
    ):
        yield sandbox, {"base_url": f"http://127.0.0.1:{line.port}"}


def under(fault: Fault, **settings: Any) -> Surrounding:
    """Let a fault fall on every request."""

    @contextmanager
    def surrounding(_directory: Path) -> Iterator[Way]:
        with Sandbox(frozen=True) as sandbox:
            sandbox.inject(fault, times=None)
            yield sandbox, {"base_url": sandbox.url, **settings}

    return surrounding


REFUSED_PORT = elsewhere(wire.refusing_port)
SILENT_PORT = elsewhere(wire.silent_port, request_timeout=0.25)
TLS_BROKEN_BEFORE = through_a_relay(applied=False, last_words=wire.GARBAGE)
TLS_BROKEN_AFTER = through_a_relay(applied=True, last_words=wire.GARBAGE)
TLS_CLOSED_AFTER = through_a_relay(applied=True, last_words=b"")
PROXY_REFUSES = through_a_proxy(connect_status=403)
PROXY_DROPS_BEFORE, PROXY_DROPS_AFTER = through_a_proxy(applied=False), through_a_proxy(applied=True)
