"""What the tests of the runtimes share: an asyncio client of the sandbox."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterator

import pytest

from qf_tasks import AsyncTaskClient
from qf_tasks.sandbox import Sandbox
from tests.clients import SandboxTime, async_client_of


@pytest.fixture
def async_client(sandbox: Sandbox, sandbox_time: SandboxTime) -> Iterator[AsyncTaskClient]:
    """Return an asyncio client, which its test uses on one loop."""
    client = async_client_of(sandbox, sandbox_time)
    yield client
    asyncio.run(client.close())


@pytest.fixture(autouse=True)
def quiet_asyncio(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which asyncio reports an exception that nobody retrieved, or a task left pending."""
    caplog.set_level(logging.INFO, "qf_tasks")
    gc.freeze()  # so that only what the test has made is collected
    yield
    gc.collect()
    gc.unfreeze()
    reported = [
        record.getMessage()
        for record in [*caplog.get_records("call"), *caplog.get_records("teardown")]
        if record.name == "asyncio" and record.levelno >= logging.WARNING
    ]
    assert reported == []
