"""A service whose every response takes seconds of the sandbox's clock."""

from __future__ import annotations

from typing import Any

import pytest

from qf_tasks import RequestTimeoutError, TaskClient
from qf_tasks.sandbox import Sandbox


def slow_down(client: TaskClient, sandbox: Sandbox, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each request take some seconds of the sandbox's clock, or end with a timeout before."""
    transport: Any = getattr(client, "_transport")  # noqa: B009 - an adapter has it only by __getattr__
    call = transport.call

    def slow_call(action: str, params: dict[str, Any], *, timeout: float | None = None) -> Any:
        if timeout is not None and timeout < seconds:
            sandbox.advance(max(0.0, timeout))
            raise RequestTimeoutError("too slow", code="ReadTimeout")
        sandbox.advance(seconds)
        return call(action, params, timeout=timeout)

    monkeypatch.setattr(transport, "call", slow_call)
