"""What all tests share: a clean surrounding, a sandbox, and clients whose time is the sandbox's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from qf_tasks import Settings, TaskClient
from qf_tasks._clock import Clock
from qf_tasks.sandbox import Sandbox

MakeClient = Callable[..., TaskClient]

_REACHING_IN = ("QIANFAN_", "QF_TASKS_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


@pytest.fixture(autouse=True)
def clean_surrounding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let no variable, home or working directory of the machine reach into a test."""
    for name in os.environ:
        if name.upper().startswith(_REACHING_IN) or name in _BUNDLES:
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def make_client(sandbox: Sandbox) -> Iterator[MakeClient]:
    """Return a maker of clients of the sandbox, with any setting; when they sleep, its clock is turned."""

    def now() -> float:
        return sandbox.now.timestamp()

    class SandboxClient(TaskClient):
        _clock: ClassVar[Clock] = Clock(now, sandbox.advance)

    made: list[TaskClient] = []

    def make(**fields: Any) -> TaskClient:
        given = {
            "access_key": sandbox.access_key,
            "secret_key": sandbox.secret_key,
            "base_url": sandbox.url,
            **fields,
        }
        made.append(SandboxClient(Settings(**given)))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(make_client: MakeClient) -> TaskClient:
    return make_client()
