"""What the tests of the wire format share."""

from __future__ import annotations

import pytest

from tests.clients import Kind


@pytest.fixture
def kind() -> Kind:
    """Return one kind of client: below the operations, both run the same code."""
    return "blocking"
