"""What callers pass, checked before any request: values in one form, or an error that names the argument."""

from __future__ import annotations

import difflib
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from qf_tasks.errors import InvalidArgumentError
from qf_tasks.models import CreatedTask, RunStatus, Task

TaskLike = str | Task | CreatedTask
RunStatusLike = str | Iterable[str] | None
Seconds = float | timedelta
Age = str | float | timedelta | datetime
Callback = TypeVar("Callback", bound=Callable[..., object])

_AGE_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LONGEST_NAMED = 60


def task_id(task: object, argument: str = "task") -> str:
    """Return the id that a caller means: that of a task, or the text itself."""
    if isinstance(task, Task | CreatedTask):
        return task.task_id
    if not isinstance(task, str):
        raise InvalidArgumentError(f"{argument} must be a task id or a Task, not {_kind(task)}")
    if not task.strip():
        raise InvalidArgumentError(f"{argument} must not be empty: it is the id of a task")
    if task != task.strip() or not task.isprintable() or " " in task:
        raise InvalidArgumentError(
            f"{argument} must be a bare id, without white space or control characters: {task[:80]!r}",
            hint=f"Pass {task.strip()[:80]!r}." if task.strip().isprintable() else None,
        )
    return str(task)


def task_ids(tasks: object, argument: str = "tasks") -> list[str]:
    """Return the ids that a caller means, each once, in the order given; the iterable is read to its end."""
    if isinstance(tasks, str | bytes | Task | CreatedTask) or not isinstance(tasks, Iterable):
        raise InvalidArgumentError(
            f"{argument} must be several tasks or ids, not one {_kind(tasks)}", hint="Put it into a list."
        )
    return list(dict.fromkeys(task_id(task, f"{argument}[{at}]") for at, task in enumerate(tasks)))


def seconds(value: object, argument: str, *, least: float = 0.0) -> float:
    """Return a length of time in seconds: a finite number, or a `timedelta`."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidArgumentError(f"{argument} must be seconds or a timedelta, not {_kind(value)}")
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond all of them
        number = math.inf
    if not math.isfinite(number) or number < least:
        raise InvalidArgumentError(f"{argument} must be a finite number of at least {least:g}, not {number}")
    return number


def seconds_or_none(value: object, argument: str) -> float | None:
    """Return a length of time in seconds, or None as it is."""
    return None if value is None else seconds(value, argument)


def whole_number(value: object, argument: str, *, least: int, most: int | None = None) -> int:
    """Return a whole number between the two limits."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgumentError(f"{argument} must be a whole number, not {_kind(value)}")
    if not least <= value <= (most or sys.maxsize):
        limits = f"at least {least}" if most is None else f"between {least} and {most}"
        raise InvalidArgumentError(f"{argument} must be {limits}")
    return value


def callback(value: Callback | None, argument: str) -> Callback | None:
    """Return a function as it is, or None."""
    if value is None or callable(value):
        return value
    raise InvalidArgumentError(f"{argument} must be a function, not {_kind(value)}")


def run_statuses(value: object, argument: str = "run_status") -> tuple[RunStatus, ...]:
    """Return the states that a caller means: one or several, in any case; () where it is None."""
    if value is None:
        return ()
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, Iterable):
        raise InvalidArgumentError(f"{argument} must be one or several states, not {_kind(value)}")
    meant = tuple(dict.fromkeys(_run_status(word, argument) for word in words))
    if not meant:  # a variable that was to hold some; it must not mean all
        raise InvalidArgumentError(f"{argument} must name at least one state; leave it out for all")
    return meant


def _run_status(word: object, argument: str) -> RunStatus:
    if not isinstance(word, str):
        raise InvalidArgumentError(f"{argument} must be a state such as 'Done', not {_kind(word)}")
    if found := next((known for known in RunStatus.KNOWN if known.lower() == word.strip().lower()), None):
        return found
    if isinstance(word, RunStatus):  # a new word, as the service itself sent it
        return word
    near = difflib.get_close_matches(word.strip().capitalize(), RunStatus.KNOWN, n=1, cutoff=0.4)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise InvalidArgumentError(
        f"{argument} has no state {word[:_LONGEST_NAMED]!r}",
        hint=f"{hint}States are {', '.join(RunStatus.KNOWN)}.",
    )


def older_than(value: object, argument: str = "older_than") -> datetime | None:
    """Return the moment before which a task counts as old, None where no age is asked for.

    Seconds, a `timedelta`, `"30d"` (s, m, h, d, w), or an aware `datetime`.
    """
    if value is None:
        return None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidArgumentError(f"{argument} must be a datetime with a time zone: {value}")
        return value
    if isinstance(value, str):
        value = _age(value, argument)
    try:
        return datetime.now(UTC) - timedelta(seconds=seconds(value, argument))
    except OverflowError:
        raise InvalidArgumentError(f"{argument} reaches back before the calendar: {value}") from None


def _age(text: str, argument: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text.strip().lower())
    if not found:
        raise InvalidArgumentError(
            f"{argument} must be a number with a unit, not {text[:_LONGEST_NAMED]!r}",
            hint="Units are s, m, h, d and w: '90m', '12h', '30d'.",
        )
    return float(found[1]) * _AGE_UNITS[found[2]]


def text(value: object, argument: str, *, may_be_blank: bool = False) -> str:
    """Return a text that can be sent, by default one that is not blank."""
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{argument} must be a text, not {_kind(value)}")
    if not (value.strip() or may_be_blank):
        raise InvalidArgumentError(f"{argument} must not be empty")
    _check_scalar(value, argument)
    return value


def text_or_none(value: object, argument: str) -> str | None:
    """Return a text that is not blank, or None as it is."""
    return None if value is None else text(value, argument)


def json_object(value: object, argument: str) -> dict[str, Any]:
    """Return a dict that can be sent as JSON; what cannot is named by its path."""
    if not isinstance(value, Mapping):
        raise InvalidArgumentError(f"{argument} must be a dict, not {_kind(value)}")
    try:
        _check_json(dict(value), argument)
    except RecursionError:
        raise InvalidArgumentError(f"{argument} is nested too deeply, or holds itself") from None
    return dict(value)


def _check_json(value: object, path: str) -> None:
    """Refuse what is no JSON, by its path. Only JSON's own types pass: nothing is turned into another."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise InvalidArgumentError(f"{path} has a key that is no text: {_kind(key)}")
            inside = f"{path}[{key[:_LONGEST_NAMED]!r}]"
            _check_scalar(key, inside)
            _check_json(inner, inside)
    elif isinstance(value, list | tuple):
        for at, inner in enumerate(value):
            _check_json(inner, f"{path}[{at}]")
    elif not isinstance(value, str | int | float | bool | None):
        raise InvalidArgumentError(f"{path} is no JSON value but {_kind(value)}")
    else:
        _check_scalar(value, path)


def _check_scalar(value: str | float | None, path: str) -> None:
    """Refuse NaN, the infinities and half a surrogate pair, which Python has and JSON has not."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError as error:
        raise InvalidArgumentError(f"{path} is no JSON value: {_kind(value)}, {error.args[-1]}") from None


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
