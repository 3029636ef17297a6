"""What all tests share: a clean environment, a sandbox, and clients whose clock is that of the sandbox."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from qf_tasks import TaskClient
from qf_tasks.sandbox import Sandbox
from tests.transport import tcp_proxy

from .clients import Kind, SandboxTime, client_of

MakeClient = Callable[..., TaskClient]

_REMOVED_PREFIXES = ("QIANFAN_", "QF_TASKS_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
_REMOVED = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")

_MAX_EXAMPLE_TIME = timedelta(seconds=30)  # an example that takes longer hangs, on any machine


def pytest_configure(config: pytest.Config) -> None:
    """Try the same few examples in every ordinary run, and many new ones with `-m fuzz`; heed signals."""
    # Some tests send these. A shell has a program in the background ignore the one, and nohup the other.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    settings.register_profile(
        "quick",
        max_examples=10,
        deadline=_MAX_EXAMPLE_TIME,
        stateful_step_count=20,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    settings.register_profile(
        "fuzz",
        settings.get_profile("quick"),
        max_examples=500,
        stateful_step_count=50,
        derandomize=False,
        print_blob=True,
    )
    settings.load_profile("fuzz" if config.getoption("markexpr") == "fuzz" else "quick")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove variables that would change a test, and run it in an empty home directory."""
    for name in os.environ:
        if name.upper().startswith(_REMOVED_PREFIXES) or name in _REMOVED:
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)


@pytest.fixture
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Return a running sandbox, with the `ServerBehavior` that a test passes as its indirect parameter."""
    with Sandbox(frozen=True, behavior=getattr(request, "param", None)) as running:
        yield running


@pytest.fixture
def _tls_sandbox_and_bundle(tmp_path: Path) -> Iterator[tuple[Sandbox, Path]]:
    with tcp_proxy.tls_sandbox(tmp_path, tcp_proxy.LOOPBACK) as sandbox_and_bundle:
        yield sandbox_and_bundle


@pytest.fixture
def tls_sandbox(_tls_sandbox_and_bundle: tuple[Sandbox, Path]) -> Sandbox:
    """Return a running sandbox with a certificate that is verified by `ca_bundle` alone."""
    return _tls_sandbox_and_bundle[0]


@pytest.fixture
def ca_bundle(_tls_sandbox_and_bundle: tuple[Sandbox, Path]) -> Path:
    return _tls_sandbox_and_bundle[1]


@pytest.fixture
def sandbox_time(sandbox: Sandbox) -> SandboxTime:
    return SandboxTime(sandbox)


@pytest.fixture(params=["blocking", "asyncio"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Return the kind of client that a test uses; a test of behaviour runs with both."""
    kind: Kind = request.param
    return kind


@pytest.fixture
def make_client(sandbox: Sandbox, sandbox_time: SandboxTime, kind: Kind) -> Iterator[MakeClient]:
    """Return a function that makes clients of the sandbox; when they sleep, its clock advances."""
    with ExitStack() as stack:

        def make(**fields: Any) -> TaskClient:
            return stack.enter_context(client_of(sandbox, sandbox_time, **{"kind": kind, **fields}))

        yield make


@pytest.fixture
def client(make_client: MakeClient) -> TaskClient:
    """Return a client of either kind."""
    return make_client()


@pytest.fixture
def blocking_client(sandbox: Sandbox, sandbox_time: SandboxTime) -> Iterator[TaskClient]:
    """Return a blocking client, for what the two kinds do differently."""
    with client_of(sandbox, sandbox_time) as client:
        yield client
