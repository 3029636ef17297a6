"""Durations: what counts as one, and what an error says about the rest."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest

from qf_tasks.durations import parse_duration, seconds
from qf_tasks.errors import InvalidArgumentError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90.0),
        ("5m", 300.0),
        ("2h", 7200.0),
        ("30d", 2_592_000.0),
        ("1w", 604_800.0),
        ("1.5h", 5400.0),
        ("0s", 0.0),
        (" 2 H ", 7200.0),
    ],
)
def test_parse_duration_with_unit_returns_seconds(text: str, expected: float) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text", ["", "60", "-5m", "h", "1h30m", "5 months", "5y", "1e3s", ".5s", "5.s", "inf", "nan", "٣s"]
)
def test_parse_duration_without_unit_or_number_returns_none(text: str) -> None:
    assert parse_duration(text) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0.0), (60, 60.0), (0.5, 0.5), (timedelta(minutes=2), 120.0), ("2m", 120.0)],
)
def test_seconds_with_duration_returns_float(value: object, expected: float) -> None:
    number = seconds(value, "timeout")

    assert (number, type(number)) == (expected, float)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("60", "'60'"),
        ("soon", "'soon'"),
        ("x" * 500, "'" + "x" * 60 + "'"),
        (True, "bool"),
        (None, "None"),
        ([5], "list"),
        (b"5s", "bytes"),
    ],
)
def test_seconds_with_anything_else_names_argument_value_and_fix(value: object, shown: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        seconds(value, "stop_timeout")

    assert str(caught.value) == f"stop_timeout must be a duration, not {shown}"
    assert "'5m'" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (-1, "-1"),
        (-0.5, "-0.5"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (timedelta(seconds=-1), "-1 day, 23:59:59"),
        (10**400, "a number beyond all floats"),
        ("9" * 400 + "s", "'" + "9" * 60 + "'"),
    ],
)
def test_seconds_negative_or_infinite_is_rejected(value: object, shown: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        seconds(value, "timeout")

    assert str(caught.value) == f"timeout must be a finite duration of at least 0 s, not {shown}"


def test_seconds_below_minimum_names_the_minimum() -> None:
    assert seconds("1s", "poll_interval", minimum=1.0) == 1.0
    with pytest.raises(InvalidArgumentError, match=r"poll_interval must be .* at least 1 s, not 0\.5"):
        seconds(0.5, "poll_interval", minimum=1.0)
