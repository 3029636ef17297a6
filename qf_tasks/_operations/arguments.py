"""Checks what callers pass before any request: a value in one form, or an error that names the argument."""

from __future__ import annotations

import difflib
import inspect
import json
import posixpath
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar

from qf_tasks.durations import parse_duration, seconds
from qf_tasks.errors import InvalidArgumentError
from qf_tasks.models import CreatedTask, RunStatus, Task

State = Literal["Queuing", "Running", "Done", "Stopping", "Stopped", "Failed", "Expired"]
TaskLike = str | Task | CreatedTask
RunStatusLike = State | str | Iterable[State | str]
Age = str | timedelta | datetime
Callback = TypeVar("Callback", bound=Callable[..., object])

_MAX_QUOTED = 60
_MAX_BARE_AGE = 1e9  # what may be meant as days or seconds
# Names of other services for the states: the library suggests the right one, the terminal accepts both.
STATE_SYNONYMS = {
    **dict.fromkeys(("completed", "complete", "success", "succeeded", "finished"), "Done"),
    **dict.fromkeys(("canceled", "cancelled"), "Stopped"),
    **dict.fromkeys(("pending", "queued", "waiting"), "Queuing"),
    **dict.fromkeys(("error", "failure"), "Failed"),
    **dict.fromkeys(("active", "in_progress", "processing"), "Running"),
    "timeout": "Expired",
}


def task_id(task: object, argument: str = "task") -> str:
    """Return the id of a task, or an id as it is."""
    if isinstance(task, Task | CreatedTask):
        return task.task_id
    if not isinstance(task, str):
        raise InvalidArgumentError(f"{argument} must be a task id or a Task, not {_kind(task)}")
    if not task.strip():
        raise InvalidArgumentError(f"{argument} must not be empty: it is the id of a task")
    if task.startswith("bos:"):
        raise InvalidArgumentError(
            f"{argument} is an address in BOS, not the id of a task: {task[:80]!r}",
            hint="A job is client.job(bos_uri); in the terminal, qf-tasks status, results or run.",
        )
    if task != task.strip() or not task.isprintable() or " " in task:
        bare = task.strip()
        raise InvalidArgumentError(
            f"{argument} must be a bare id, without white space or control characters: {task[:80]!r}",
            hint=f"Pass {bare[:80]!r}." if bare.isprintable() and " " not in bare else None,
        )
    return str(task)


def task_ids(tasks: object, argument: str = "tasks") -> list[str]:
    """Return the ids of several tasks, each once, in the order given; the iterable is read to its end."""
    if isinstance(tasks, str | bytes | Task | CreatedTask) or not isinstance(tasks, Iterable):
        raise InvalidArgumentError(
            f"{argument} must be several tasks or ids, not one {_kind(tasks)}", hint="Put it into a list."
        )
    return list(dict.fromkeys(task_id(task, f"{argument}[{index}]") for index, task in enumerate(tasks)))


def duration_or_none(value: object, argument: str) -> float | None:
    """Return a duration in seconds, or None as it is."""
    return None if value is None else seconds(value, argument)


def age(value: object, argument: str) -> timedelta | datetime:
    """Return an age: a `timedelta`, text with a unit, or a moment with a time zone.

    A bare number is rejected: 30 can be meant as seconds or as days.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidArgumentError(f"{argument} must be a datetime with a time zone: {value}")
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MAX_BARE_AGE:
        raise InvalidArgumentError(
            f"{argument} must have a unit, not the bare number {value}",
            hint=f"Pass '{value}d' for days or '{value}s' for seconds.",
        )
    number = parse_duration(value) if isinstance(value, str) else None
    if isinstance(value, timedelta):
        number = value.total_seconds()
    if number is None:
        quoted = repr(value[:_MAX_QUOTED]) if isinstance(value, str) else _kind(value)
        raise InvalidArgumentError(
            f"{argument} must be a number with a unit, a timedelta or a datetime, not {quoted}",
            hint="Units are s, m, h, d and w: '90m', '12h', '30d'.",
        )
    if number < 0:
        raise InvalidArgumentError(f"{argument} must not be negative: {value}")
    try:
        duration = timedelta(seconds=number)
        _ = datetime.now(UTC) - duration
    except OverflowError:
        raise InvalidArgumentError(
            f"{argument} is too large: its date would be before year 1: {value}"
        ) from None
    return duration


def age_or_none(value: object, argument: str) -> timedelta | datetime | None:
    """Return an age, or None as it is."""
    return None if value is None else age(value, argument)


def whole_number(value: object, argument: str, *, minimum: int, maximum: int | None = None) -> int:
    """Return a whole number between two limits."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgumentError(f"{argument} must be a whole number, not {_kind(value)}")
    if not minimum <= value <= (maximum or sys.maxsize):
        limits = f"at least {minimum}" if maximum is None else f"between {minimum} and {maximum}"
        raise InvalidArgumentError(f"{argument} must be {limits}")
    return value


def callback(value: Callback | None, argument: str) -> Callback | None:
    """Return a function as it is, or None."""
    if value is None or callable(value):
        return value
    raise InvalidArgumentError(f"{argument} must be a function, not {_kind(value)}")


def plain_callback(value: Callback | None, argument: str) -> Callback | None:
    """Return a function whose result is not awaited, or None."""
    if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(type(value).__call__):
        raise InvalidArgumentError(
            f"{argument} must be a plain function: this client cannot await a coroutine function",
            hint="Use AsyncTaskClient, which awaits it.",
        )
    return callback(value, argument)


def run_statuses(value: object, argument: str = "run_status") -> tuple[RunStatus, ...]:
    """Return one or several states, written in any case; () for None."""
    if value is None:
        return ()
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Iterable):
        raise InvalidArgumentError(f"{argument} must be one or several states, not {_kind(value)}")
    statuses = tuple(dict.fromkeys(_run_status(name, argument) for name in names))
    if not statuses:  # a variable that should have held some; it must not mean all
        raise InvalidArgumentError(f"{argument} must name at least one state; leave it out for all")
    return statuses


def _run_status(name: object, argument: str) -> RunStatus:
    if not isinstance(name, str):
        raise InvalidArgumentError(f"{argument} must be a state such as 'Done', not {_kind(name)}")
    lowered = name.strip().lower()
    for known in RunStatus.KNOWN:
        if known.lower() == lowered:
            return known
    if isinstance(name, RunStatus):  # a state that is new, as the service sent it
        return name
    near = STATE_SYNONYMS.get(lowered) or next(
        iter(difflib.get_close_matches(lowered.capitalize(), RunStatus.KNOWN, n=1, cutoff=0.6)), None
    )
    suggestion = f"Did you mean {near!r}? " if near else ""
    raise InvalidArgumentError(
        f"{argument} has no state {name[:_MAX_QUOTED]!r}",
        hint=f"{suggestion}States are {', '.join(RunStatus.KNOWN)}.",
    )


def bos_directory(value: object, argument: str) -> str:
    """Return a directory in BOS as the service writes it: `bos:/bucket/folder/`, with one slash."""
    uri = text(value, argument)
    if not re.match(r"bos:/[^/]", uri):
        meant = re.fullmatch(r"bos:/*([^/\s]\S*)", uri.strip(), re.IGNORECASE)
        raise InvalidArgumentError(
            f"{argument} must be bos:/bucket/folder/, with one slash after bos:, not {uri[:80]!r}",
            hint=f"Pass 'bos:/{meant[1][:80]}'." if meant else None,
        )
    file_name = posixpath.basename(uri)
    if re.search(r"\.(jsonl|json|txt|csv|parquet)$", file_name, re.IGNORECASE):
        raise InvalidArgumentError(
            f"{argument} must be a directory, not the file {uri[:200]!r}",
            hint=f"Pass the directory of the file: {uri[: -len(file_name)][:200]!r}.",
        )
    return uri


def text(value: object, argument: str, *, may_be_blank: bool = False) -> str:
    """Return text that can be sent, by default text that is not blank."""
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{argument} must be text, not {_kind(value)}")
    if not (value.strip() or may_be_blank):
        raise InvalidArgumentError(f"{argument} must not be empty")
    _check_scalar(value, argument)
    return value


def text_or_none(value: object, argument: str) -> str | None:
    """Return text that is not blank, or None as it is."""
    return None if value is None else text(value, argument)


def json_object(value: object, argument: str) -> dict[str, Any]:
    """Return a dict that can be sent as JSON; what cannot is named by its path."""
    if not isinstance(value, Mapping):
        raise InvalidArgumentError(f"{argument} must be a dict, not {_kind(value)}")
    try:
        _check_json(dict(value), argument)
    except RecursionError:
        raise InvalidArgumentError(f"{argument} is nested too deeply, or contains itself") from None
    return dict(value)


def _check_json(value: object, path: str) -> None:
    """Reject what is not JSON, by its path; nothing is converted."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise InvalidArgumentError(f"{path} has a key that is not text: {_kind(key)}")
            inner_path = f"{path}[{key[:_MAX_QUOTED]!r}]"
            _check_scalar(key, inner_path)
            _check_json(inner, inner_path)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _check_json(inner, f"{path}[{index}]")
    elif not isinstance(value, str | int | float | bool | None):
        raise InvalidArgumentError(f"{path} is not a JSON value but {_kind(value)}")
    else:
        _check_scalar(value, path)


def _check_scalar(value: str | float | None, path: str) -> None:
    """Reject NaN, the infinities and half a surrogate pair, which Python has and JSON does not."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError as error:
        raise InvalidArgumentError(f"{path} is not a JSON value: {_kind(value)}, {error.args[-1]}") from None


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
