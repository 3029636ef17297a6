from collections.abc import Iterator

import pytest

from qf_tasks.sandbox import Sandbox

from .signed_client import SignedClient


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Return a running sandbox; the test fails if the sandbox itself has a bug."""
    with Sandbox(frozen=True) as running:
        yield running
    assert running.errors == []


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[SignedClient]:
    made = SignedClient(sandbox)
    yield made
    made.close()
