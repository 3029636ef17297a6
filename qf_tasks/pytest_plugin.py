"""Fixtures for users' own tests: the sandbox, and a client of it.

pytest loads this file in every run of an environment where the library is installed, so it imports nothing
before a fixture is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from qf_tasks import TaskClient
    from qf_tasks.sandbox import Sandbox

_MARK = "qianfan_allow_rejections"
_SPEED = 100.0  # a task that is created is done within a second, so that code under test can wait for it
_OWN_VARIABLES = ("QIANFAN_", "QF_TASKS_")


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line(
        "markers", f"{_MARK}: the test expects the sandbox to refuse a path, an action or a signature"
    )


@pytest.fixture(scope="session")
def qianfan_sandbox_server() -> Iterator[Sandbox]:
    """Return the sandbox that runs for the whole session; tests take `qianfan_sandbox`."""
    from qf_tasks.sandbox import Sandbox

    with Sandbox(speed=_SPEED) as sandbox:
        yield sandbox


@pytest.fixture
def qianfan_sandbox(
    qianfan_sandbox_server: Sandbox,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Sandbox]:
    """Return a clean sandbox; the environment points to it, so that `TaskClient()` finds it.

    No settings file, `.env` or variable of the developer's own (`QIANFAN_…`, `QF_TASKS_…`) reaches in.
    An unknown path or action, or a refused signature, fails the test with what was seen, unless the test is
    marked with `qianfan_allow_rejections`.
    """
    sandbox = qianfan_sandbox_server
    sandbox.reset()
    for name in [name for name in os.environ if name.startswith(_OWN_VARIABLES)]:
        monkeypatch.delenv(name)
    nothing = tmp_path_factory.getbasetemp() / "qianfan_settings_of_nobody"
    nothing.touch()
    files = dict.fromkeys(("QF_TASKS_CONFIG", "QIANFAN_DOT_ENV_CONFIG_FILE"), str(nothing))
    for name, value in {**files, **sandbox.env()}.items():
        monkeypatch.setenv(name, value)
    yield sandbox
    if sandbox.unexpected and not request.node.get_closest_marker(_MARK):
        seen = "\n".join(f"  {it.refused}: {it.method} {it.path} {it.query}" for it in sandbox.unexpected)
        pytest.fail(f"The sandbox refused requests that no test should make:\n{seen}", pytrace=False)


@pytest.fixture
def qianfan_client(qianfan_sandbox: Sandbox) -> Iterator[TaskClient]:
    """Return a client of the sandbox, closed after the test."""
    from qf_tasks import Settings, TaskClient

    settings = Settings(
        access_key=qianfan_sandbox.access_key,
        secret_key=qianfan_sandbox.secret_key,
        base_url=qianfan_sandbox.url,
    )
    with TaskClient(settings) as client:
        yield client
