"""Clients whose time is a sandbox's: their pauses turn its clock, and are kept."""

from __future__ import annotations

from typing import Any, ClassVar

from qf_tasks import Settings, TaskClient
from qf_tasks._runtime.blocking import Clock
from qf_tasks.sandbox import Sandbox

_TICK = 2e-6  # a sleep does not end early, and the sandbox tells its time in whole microseconds


class SandboxTime:
    """The time of a sandbox, as a client is given it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.sleeps: list[float] = []

    def now(self) -> float:
        return self._sandbox.now.timestamp()

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self._sandbox.advance(seconds + _TICK)


def client_of(sandbox: Sandbox, time: SandboxTime | None = None, **fields: Any) -> TaskClient:
    """Return a client of the sandbox, with any setting."""
    passing = time or SandboxTime(sandbox)

    class SandboxClient(TaskClient):
        _clock: ClassVar[Clock] = Clock(passing.now, passing.sleep)

    given: dict[str, Any] = {
        "access_key": sandbox.access_key,
        "secret_key": sandbox.secret_key,
        "base_url": sandbox.url,
        **fields,
    }
    return SandboxClient(Settings(**given))
