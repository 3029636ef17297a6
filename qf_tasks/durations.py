"""Durations: a number of seconds, a `timedelta`, or text with a unit such as `"90s"`, `"5m"` or `"30d"`."""

from __future__ import annotations

import math
import re
from datetime import timedelta

from qf_tasks.errors import InvalidArgumentError

Duration = float | timedelta | str

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_TEXT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhdw])", re.IGNORECASE)
_LONGEST_QUOTED = 60
_HINT = "Pass seconds as a number, a timedelta, or text with a unit: '90s', '5m', '2h', '30d', '1w'."


def parse_duration(text: str) -> float | None:
    """Return the seconds in text such as `"90s"` or `"1.5h"`; None if it has no unit or is not a duration.

    Units are s, m, h, d and w, in either case; white space is allowed around the number and the unit.
    """
    found = _TEXT.fullmatch(text.strip())
    return float(found[1]) * _UNITS[found[2].lower()] if found else None


def seconds(value: object, name: str, *, minimum: float = 0.0) -> float:
    """Return a duration in seconds.

    Text without a unit is refused: settings files and environment variables, where every value can be text,
    are the only place where `"60"` means 60 seconds.

    Args:
        value: A finite number of seconds, a `timedelta`, or text with a unit.
        name: The argument that an error names.
        minimum: The smallest duration allowed, in seconds; default 0.

    Raises:
        InvalidArgumentError: The value is not a duration, not finite, or below the minimum.
    """
    number = _number(value)
    if number is None:
        raise InvalidArgumentError(f"{name} must be a duration, not {_quoted(value)}", hint=_HINT)
    if not math.isfinite(number) or number < minimum:
        raise InvalidArgumentError(
            f"{name} must be a finite duration of at least {minimum:g} s, not {_quoted(value)}", hint=_HINT
        )
    return number


def _number(value: object) -> float | None:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # an int beyond the largest float
        return math.inf


def _quoted(value: object) -> str:
    """Return the value as a message shows it: only what can be meant as a duration, and not at any length."""
    if isinstance(value, str):
        return repr(value[:_LONGEST_QUOTED])
    if isinstance(value, float | timedelta):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if value.bit_length() < 64 else "a number beyond all floats"
    return "None" if value is None else type(value).__name__
