"""What goes wrong: one or two lines for a person, one object for a program, and an exit code."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import typer

from qf_tasks import errors
from qf_tasks.cli.output import Terminal, discard
from qf_tasks.cli.wording import in_options, without_chinese
from qf_tasks.errors import QfTasksError

FAILED = 1
USAGE = 2
WAIT_TIMED_OUT = 4

# The first class that an error belongs to counts; all others are FAILED.
_CODES: tuple[tuple[type[QfTasksError], int], ...] = (
    (errors.ConfigurationError, USAGE),
    (errors.InvalidArgumentError, USAGE),
    (errors.AuthenticationError, USAGE),
    (errors.ServiceUnreachableError, 3),
    (errors.WaitTimeoutError, WAIT_TIMED_OUT),
    (errors.OutcomeUnknownError, 5),
)
_DETAILS = (
    "code",
    "status",
    "request_id",
    "action",
    "task_id",
    "retryable",
    "may_have_been_applied",
    "retry_after",
    "attempts",
)

EXIT_CODES = (
    "  0  done; also if nothing matched",
    "  1  the request was rejected, a task failed, or you answered no",
    "  2  wrong usage or settings, or rejected keys",
    "  3  the service cannot be reached",
    "  4  still running at the time limit",
    "  5  the outcome is unknown: check before you repeat it",
    "130  ended by Ctrl-C; 143 by SIGTERM, 129 by SIGHUP",
)


@runtime_checkable
class UsageError(Protocol):
    """What typer raises for a command line that it cannot read; where its class is depends on the version."""

    def format_message(self) -> str:
        """Return what is wrong with it."""
        ...


def exit_code_of(error: type[QfTasksError]) -> int:
    """Return the exit code after an error of this class."""
    return next((code for kind, code in _CODES if issubclass(error, kind)), FAILED)


def exit_code_of_kinds(kinds: Iterable[str]) -> int:
    """Return the exit code after several errors, named by their classes: their own if all agree."""
    codes = {_exit_code_of_kind(kind) for kind in kinds}
    return codes.pop() if len(codes) == 1 else FAILED


def _exit_code_of_kind(kind: str) -> int:
    found = getattr(errors, kind, None)
    return exit_code_of(found) if isinstance(found, type) and issubclass(found, QfTasksError) else FAILED


@contextmanager
def note_on_interrupt(text: str) -> Iterator[None]:
    """Add what to do then, if Ctrl-C comes in the meantime."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(text)
        raise


@contextmanager
def reported(terminal: Terminal) -> Iterator[None]:
    """Print what is raised within, and keep its exit code."""
    try:
        yield
    except BaseException as error:
        if not _is_reported(terminal, error):
            raise


def _is_reported(terminal: Terminal, error: BaseException) -> bool:
    match error:
        case typer.Exit():
            terminal.exit_code = terminal.exit_code or error.exit_code
        case BrokenPipeError():  # the reader has what it wants
            discard(terminal.out)
        case KeyboardInterrupt():
            _report_interrupt(terminal, error)
        case QfTasksError():
            _report(terminal, error, exit_code_of(type(error)), str(error), error.hint)
        case ImportError():  # of an extra; the text names it
            _report(terminal, error, USAGE, str(error))
        case OSError():
            discard(terminal.out)  # what is in the buffer would fail again at exit
            _report(terminal, error, FAILED, str(error))
        case UsageError():
            path = getattr(getattr(error, "ctx", None), "command_path", "qf-tasks")
            report_usage(terminal, _usage(error.format_message()), f"{path} --help")
        case Exception():
            text = f"{type(error).__name__}: {error}"
            _report(terminal, error, FAILED, text, "This should not happen; --debug shows where it did.")
        case _:
            return False
    return True


def _report(terminal: Terminal, error: Exception, code: int, text: str, hint: str | None = None) -> None:
    terminal.exit_code = code
    if terminal.debug:
        for line in "".join(traceback.format_exception(error)).splitlines():
            terminal.note(line)
    if terminal.as_json:
        message = in_options(text, terminal.names)
        terminal.note_json({**as_object(terminal, error), "exit_code": code, "message": message})
    else:
        _print(terminal, in_options(text, terminal.names), hint)


def _report_interrupt(terminal: Terminal, interrupt: KeyboardInterrupt) -> None:
    terminal.exit_code = terminal.interrupt_code
    text, notes = "Interrupted.", getattr(interrupt, "__notes__", [])
    if terminal.as_json:
        error = {"error": "KeyboardInterrupt", "message": text, "hint": " ".join(notes) or None}
        terminal.note_json({**error, "exit_code": terminal.exit_code})
    else:
        for line in (*notes, text):
            terminal.note(line)


def report_usage(terminal: Terminal, text: str, hint: str) -> None:
    """Print that the command line cannot be read."""
    terminal.exit_code = USAGE
    if terminal.as_json:
        terminal.note_json({"error": "UsageError", "exit_code": USAGE, "message": text, "hint": hint})
    else:
        _print(terminal, text, hint)


_PYDANTIC = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"Value error, ", ""),
        (r"Input should be a valid integer.*", "not a whole number"),
        (r"Input should be a valid number.*", "not a number"),
        (r"Input should be greater than or equal to", "must be at least"),
        (r"Input should be less than or equal to", "must be at most"),
    )
)


def _usage(message: str) -> str:
    """Return a message of typer as one line, in which those of pydantic are plain."""
    text = " ".join(message.split())
    for pattern, replacement in _PYDANTIC:
        text = pattern.sub(replacement, text)
    return text


def _print(terminal: Terminal, text: str, hint: str | None) -> None:
    """Print one line that says what is wrong, and one that says what to do."""
    terminal.note(f"Error: {text.removesuffix('.')}", style="red")
    if hint := hint_for(terminal, hint):
        terminal.note(f"Hint: {hint}")


def as_object(terminal: Terminal, error: Exception) -> dict[str, object]:
    """Return an error as a JSON object: its class, its message, and what a program needs to decide."""
    if not isinstance(error, QfTasksError):
        return {"error": type(error).__name__, "message": str(error)}
    found: dict[str, object] = {
        "error": type(error).__name__,
        "message": in_options(error.message, terminal.names),
        **{name: getattr(error, name) for name in _DETAILS},
        "hint": in_options(error.hint, terminal.names) if error.hint else None,
    }
    if isinstance(error, errors.OutcomeUnknownError):
        found["candidates"] = [task.model_dump(mode="json") for task in error.candidates]
    if isinstance(error, errors.WaitTimeoutError):
        found["pending"] = list(error.pending)
    if isinstance(error, errors.InvalidRecordError):
        found |= {"file": error.file, "line": error.line, "rule": error.rule}
    return found


def hint_for(terminal: Terminal, hint: str | None) -> str:
    """Return a hint with options in the place of keywords, and without Chinese that cannot be shown."""
    return without_chinese(in_options(hint or "", terminal.names), terminal.err.encoding)


def report_each(terminal: Terminal, failed: Sequence[tuple[str, QfTasksError]]) -> None:
    """Print several errors, each after what it belongs to, and what to do."""
    for subject, error in failed:
        terminal.note(f"{subject}: {in_options(str(error), terminal.names)}", style="red")
    report_hints(terminal, (error.hint for _, error in failed))


def report_hints(terminal: Terminal, hints: Iterable[str | None]) -> None:
    """Print each hint once."""
    for hint in dict.fromkeys(hints):
        if hint:
            terminal.note(f"Hint: {hint_for(terminal, hint)}")
