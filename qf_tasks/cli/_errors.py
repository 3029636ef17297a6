"""What goes wrong, as one or two lines for a person, one object for a program, and an exit code."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from signal import SIGINT
from types import TracebackType
from typing import Protocol, runtime_checkable

import typer

from qf_tasks import errors
from qf_tasks.cli._terminal import Terminal, leave_closed_pipe
from qf_tasks.errors import QfTasksError

FAILED = 1
USAGE = 2

# The first class that an error belongs to counts; all others are FAILED.
_CODES: tuple[tuple[type[QfTasksError], int], ...] = (
    (errors.ConfigurationError, USAGE),
    (errors.InvalidArgumentError, USAGE),
    (errors.AuthenticationError, USAGE),
    (errors.ServiceUnreachableError, 3),
    (errors.WaitTimeoutError, 4),
    (errors.OutcomeUnknownError, 5),
)
_FACTS = (
    "message",
    "code",
    "status",
    "request_id",
    "action",
    "task_id",
    "retryable",
    "may_have_been_applied",
    "retry_after",
    "attempts",
    "hint",
)

EXIT_CODES = """\
Exit codes:
  0  done; also where nothing matched
  1  the service or a task said no, something failed, or the answer was no
  2  usage, settings, or refused keys
  3  the service cannot be reached
  4  still running at the time limit
  5  the outcome is unknown: look before you repeat it
130  ended by Ctrl-C; 143 by SIGTERM, 129 by SIGHUP
"""


@runtime_checkable
class UsageError(Protocol):
    """What typer raises over words that it cannot read; its class is in another place in each version."""

    def format_message(self) -> str: ...


def exit_code(error: type[QfTasksError]) -> int:
    """Return what a process ends with after an error of this class."""
    return next((code for kind, code in _CODES if issubclass(error, kind)), FAILED)


def exit_code_of_many(kinds: Iterable[str]) -> int:
    """Return what a process ends with after several failures: their own code where all of them agree."""
    codes = {exit_code_by_name(kind) for kind in kinds}
    return codes.pop() if len(codes) == 1 else FAILED


def exit_code_by_name(kind: str | None) -> int:
    """Return what a process ends with after an error whose class only its name tells."""
    found = getattr(errors, kind or "", None)
    return exit_code(found) if isinstance(found, type) and issubclass(found, QfTasksError) else FAILED


@contextmanager
def told_if_cut_off(text: str) -> Iterator[None]:
    """Have it told what is not known, when Ctrl-C comes while a request is under way."""
    try:
        yield
    except KeyboardInterrupt as cut_off:
        cut_off.add_note(text)
        raise


class Reporting(AbstractContextManager["Reporting"]):
    """Tells what is raised within, and keeps its exit code; what is typer's own passes."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Return whether all is told."""
        return error is not None and _told(self._terminal, error)


def _told(terminal: Terminal, error: BaseException) -> bool:
    match error:
        case BrokenPipeError():  # the reader has what it wants
            leave_closed_pipe(terminal.out)
        case KeyboardInterrupt():
            _tell_interrupt(terminal, error)
        case QfTasksError():
            _tell(terminal, error, exit_code(type(error)), str(error), error.hint)
        case ImportError():  # of an extra; the text names it
            _tell(terminal, error, USAGE, str(error))
        case OSError():
            _tell(terminal, error, FAILED, str(error))
        case UsageError() | typer.Exit():
            return False
        case Exception():
            text = f"{type(error).__name__}: {error}"
            _tell(terminal, error, FAILED, text, "This should not happen; --debug shows where it did.")
        case _:
            return False
    return True


def _tell(terminal: Terminal, error: Exception, code: int, text: str, hint: str | None = None) -> None:
    terminal.exit_code = code
    if terminal.debug:
        for line in "".join(traceback.format_exception(error)).splitlines():
            terminal.note(line)
    if terminal.as_json:
        terminal.note_json(as_object(error, text, code))
    else:
        _lines(terminal, text, hint)


def _tell_interrupt(terminal: Terminal, error: BaseException) -> None:
    terminal.exit_code = 128 + (terminal.signal or SIGINT)
    text, unknown = "Interrupted.", getattr(error, "__notes__", [])
    if terminal.as_json:
        facts = as_object(error, text, terminal.exit_code)
        terminal.note_json({**facts, "hint": " ".join(unknown) or None})
        return
    for line in (*unknown, text):
        terminal.note(line)


def tell_usage(terminal: Terminal, text: str, hint: str) -> None:
    """Tell that the words of the command line cannot be read."""
    if terminal.as_json:
        terminal.note_json({"error": "UsageError", "exit_code": USAGE, "message": text, "hint": hint})
    else:
        _lines(terminal, text, hint)


def _lines(terminal: Terminal, text: str, hint: str | None) -> None:
    """Print one line that says what is wrong, and one that says what to do."""
    terminal.note(f"Error: {text}", style="red")
    if hint:
        terminal.note(f"Hint: {hint}")


def as_object(error: BaseException, text: str, code: int) -> dict[str, object]:
    """Return an error as one JSON object: its class, its facts, the tasks that it is about."""
    facts: dict[str, object] = {"error": type(error).__name__, "exit_code": code, "message": text}
    if isinstance(error, QfTasksError):
        facts |= {name: getattr(error, name) for name in _FACTS}
    if isinstance(error, errors.OutcomeUnknownError):
        facts["candidates"] = [task.model_dump(mode="json") for task in error.candidates]
    if isinstance(error, errors.WaitTimeoutError):
        facts["pending"] = list(error.pending)
    return facts
