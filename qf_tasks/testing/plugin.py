"""The pytest plugin; `qf_tasks.testing` describes its fixtures and marks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from qf_tasks import TaskClient
    from qf_tasks.sandbox import Sandbox

_ALLOW_REJECTIONS = "qianfan_allow_rejections"
_ALLOW_UNUSED_FAULTS = "qianfan_allow_unused_faults"
_SPEED = 100.0
_VARIABLES = ("QIANFAN_", "QF_TASKS_")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks."""
    rejections = "the sandbox may reject requests of the test for their path, action or signature"
    unused = "faults that the test injects need not fire"
    config.addinivalue_line("markers", f"{_ALLOW_REJECTIONS}: {rejections}")
    config.addinivalue_line("markers", f"{_ALLOW_UNUSED_FAULTS}: {unused}")


@pytest.fixture
def qianfan_sandbox(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Sandbox]:
    """Return a running sandbox that `TaskClient()` uses.

    The test fails if the sandbox rejects a request for its path, action or signature, or if an injected fault
    does not fire. The marks `qianfan_allow_rejections` and `qianfan_allow_unused_faults` allow that.
    """
    from qf_tasks.sandbox import Sandbox

    with Sandbox(speed=_SPEED) as sandbox:
        for name in os.environ:
            if name.startswith(_VARIABLES):
                monkeypatch.delenv(name)
        # An empty file, so that no settings file or `.env` of the developer is found.
        empty_file = tmp_path_factory.getbasetemp() / "empty_qianfan_settings"
        empty_file.touch()
        files = dict.fromkeys(("QF_TASKS_CONFIG", "QIANFAN_DOT_ENV_CONFIG_FILE"), str(empty_file))
        for name, value in {**files, **sandbox.env()}.items():
            monkeypatch.setenv(name, value)
        yield sandbox
    problems = []
    if sandbox.unexpected and not request.node.get_closest_marker(_ALLOW_REJECTIONS):
        problems.append(_rejections(sandbox))
    if sandbox.unused_faults and not request.node.get_closest_marker(_ALLOW_UNUSED_FAULTS):
        problems.append(_unused_faults(sandbox))
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.fixture
def qianfan_client(qianfan_sandbox: Sandbox) -> Iterator[TaskClient]:
    """Return a client of the sandbox, closed after the test."""
    with qianfan_sandbox.client() as client:
        yield client


def _rejections(sandbox: Sandbox) -> str:
    requests = (
        f"  {rejected.refused}: {rejected.method} {rejected.path} {rejected.query}"
        for rejected in sandbox.unexpected
    )
    hint = f"If the test expects that, mark it with @pytest.mark.{_ALLOW_REJECTIONS}."
    return "\n".join(["The sandbox rejected requests for their path, action or signature:", *requests, hint])


def _unused_faults(sandbox: Sandbox) -> str:
    faults = (f"  {injected}" for injected in sandbox.unused_faults)
    hint = f"If the test expects that, mark it with @pytest.mark.{_ALLOW_UNUSED_FAULTS}."
    return "\n".join(["Injected faults did not fire as often as expected:", *faults, hint])
