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


def exit_code_of(kinds: Iterable[str]) -> int:
    """Return the exit code after errors of these classes: their own if it is the same for all."""
    classes: list[type[QfTasksError]] = [getattr(errors, kind, QfTasksError) for kind in kinds]
    codes = {next((code for known, code in _CODES if issubclass(each, known)), FAILED) for each in classes}
    return codes.pop() if len(codes) == 1 else FAILED


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
    except typer.Exit as end:
        terminal.exit_code = terminal.exit_code or end.exit_code
    except BrokenPipeError:  # the reader has what it wants
        discard(terminal.out)
    except KeyboardInterrupt as interrupt:
        _report_interrupt(terminal, interrupt)
    except Exception as error:  # noqa: BLE001
        _report(terminal, error)


def _report(terminal: Terminal, error: Exception) -> None:
    """Print an object; or a line that says what is wrong, and one that says what to do."""
    details, text, hint = as_object(terminal, error), str(error), None
    code = exit_code_of([type(error).__name__])
    match error:
        case QfTasksError():
            hint = error.hint
        case ImportError():  # of an extra; the text names it
            code = USAGE
        case OSError():
            discard(terminal.out)  # what is in the buffer would fail again at exit
        case UsageError():
            details, text, code = {"error": "UsageError"}, _usage(error.format_message()), USAGE
            hint = f"{getattr(getattr(error, 'ctx', None), 'command_path', 'qf-tasks')} --help"
        case _:
            text = f"{type(error).__name__}: {error}"
            hint = "This should not happen; --debug shows where it did."
    terminal.exit_code = code
    text = in_options(text, terminal.names)
    if terminal.debug:
        for line in "".join(traceback.format_exception(error)).splitlines():
            terminal.note(line)
    if terminal.as_json:
        message = in_options(error.message, terminal.names) if isinstance(error, QfTasksError) else text
        terminal.note_json({"hint": hint, **details, "exit_code": code, "message": message})
    else:
        terminal.note(f"Error: {text.removesuffix('.')}", style="red")
        report_hint(terminal, hint)


def _report_interrupt(terminal: Terminal, interrupt: KeyboardInterrupt) -> None:
    terminal.exit_code = terminal.interrupt_code
    text, notes = "Interrupted.", getattr(interrupt, "__notes__", [])
    if terminal.as_json:
        error = {"error": "KeyboardInterrupt", "message": text, "hint": " ".join(notes) or None}
        terminal.note_json({**error, "exit_code": terminal.exit_code})
    else:
        for line in (*notes, text):
            terminal.note(line)


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
        found["candidates"] = error.candidates
    if isinstance(error, errors.WaitTimeoutError):
        found["pending"] = error.pending
    if isinstance(error, errors.InvalidRecordError):
        found |= {"file": error.file, "line": error.line, "rule": error.rule}
    return found


def report_each(terminal: Terminal, failed: Sequence[tuple[str, QfTasksError]]) -> None:
    """Print several errors, each after what it belongs to, and once for each cause what to do."""
    for subject, error in failed:
        terminal.note(f"{subject}: {in_options(str(error), terminal.names)}", style="red")
    report_hints(terminal, (error.hint for _, error in failed))


def report_hints(terminal: Terminal, hints: Iterable[str | None]) -> None:
    """Print each hint once."""
    for hint in dict.fromkeys(hints):
        report_hint(terminal, hint)


def report_hint(terminal: Terminal, hint: str | None, title: str = "Hint") -> None:
    """Print what to do, without Chinese where that cannot be shown."""
    if text := without_chinese(in_options(hint or "", terminal.names), terminal.err.encoding):
        terminal.note(f"{title}: {text}")
