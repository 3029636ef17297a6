from collections.abc import Iterator

import pytest

from qf_tasks.sandbox import Sandbox

from .signed_client import SignedClient


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A running sandbox that must not have gone wrong itself."""
    with Sandbox(frozen=True) as running:
        yield running
    assert running.errors == []


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[SignedClient]:
    made = SignedClient(sandbox)
    yield made
    made.close()
