"""What the fuzz tests share."""

from __future__ import annotations

import pytest

from qf_tasks.sandbox import Sandbox
from tests.clients import SandboxTime


class HastyTime(SandboxTime):
    """A time that passes at each sleep, however short, by at least a second, and by an hour at most."""

    def sleep(self, seconds: float) -> None:
        super().sleep(min(seconds, 3600.0) + 1.0)


@pytest.fixture
def sandbox_time(sandbox: Sandbox) -> SandboxTime:
    return HastyTime(sandbox)
