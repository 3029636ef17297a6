"""The idempotency key is read from the end of a description."""

from __future__ import annotations

import pytest

from qf_tasks._protocol.decoding import split_key, task, with_key
from qf_tasks.models import Response


@pytest.mark.parametrize("description", ["nightly", "ends in [key: other]", "two\nlines", " spaces "])
@pytest.mark.parametrize("key", ["daily-2025-06-01", "with ] in it", "x" * 128, "每日"])
def test_split_key_returns_what_with_key_joined(description: str, key: str) -> None:
    assert split_key(with_key(description, key)) == (description, key)


@pytest.mark.parametrize("description", [None, ""])
def test_split_key_of_description_that_is_only_a_key_is_empty(description: str | None) -> None:
    assert split_key(with_key(description, "daily")) == ("", "daily")


@pytest.mark.parametrize(
    "description", [None, "", "nightly", "[key: ]", "x[key: y]", "[key: y] x", f"x [key: {'y' * 129}]"]
)
def test_split_key_of_description_without_key_returns_it(description: str | None) -> None:
    assert split_key(description) == (description, None)


def test_task_has_description_and_key_apart_and_both_in_raw() -> None:
    raw = {"taskId": "infer-1", "runStatus": "Done", "description": "nightly [key: daily]"}

    decoded = task(Response({"result": raw}, "r-1", 200, {}), "infer-1")

    assert (decoded.description, decoded.idempotency_key) == ("nightly", "daily")
    assert decoded.raw == raw
