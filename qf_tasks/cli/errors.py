"""What goes wrong: one or two lines for a person, one object for a program, and an exit code."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from signal import SIGINT
from typing import Protocol, runtime_checkable

import typer

from qf_tasks import errors
from qf_tasks.cli.output import Terminal, discard
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
    """Add what is not known then, if Ctrl-C comes while a request is under way."""
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
            message = " ".join(error.format_message().split())
            report_usage(terminal, message, f"{path} --help")
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
        terminal.note_json({**as_object(error), "exit_code": code, "message": in_options(text)})
    else:
        _print(terminal, in_options(text), hint)


def _report_interrupt(terminal: Terminal, interrupt: KeyboardInterrupt) -> None:
    terminal.exit_code = 128 + (terminal.signal or SIGINT)
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


def _print(terminal: Terminal, text: str, hint: str | None) -> None:
    """Print one line that says what is wrong, and one that says what to do."""
    terminal.note(f"Error: {text}", style="red")
    if hint := hint_for(terminal, hint):
        terminal.note(f"Hint: {hint}")


def as_object(error: Exception) -> dict[str, object]:
    """Return an error as a JSON object: its class, its message, and what a program needs to decide."""
    if not isinstance(error, QfTasksError):
        return {"error": type(error).__name__, "message": str(error)}
    found: dict[str, object] = {
        "error": type(error).__name__,
        "message": in_options(error.message),
        **{name: getattr(error, name) for name in _DETAILS},
        "hint": in_options(error.hint) if error.hint else None,
    }
    if isinstance(error, errors.OutcomeUnknownError):
        found["candidates"] = [task.model_dump(mode="json") for task in error.candidates]
    if isinstance(error, errors.WaitTimeoutError):
        found["pending"] = list(error.pending)
    return found


def hint_for(terminal: Terminal, hint: str | None) -> str:
    """Return a hint in the words of the command line, and without the Chinese that the terminal lacks."""
    return without_chinese(in_options(hint or ""), terminal.err.encoding)


# Python arguments that are called otherwise here. The rest keep their name, `stop_first` is --stop-first.
_OPTIONS = {
    "config_file": "--config",
    "inference_params": "--param",
    "on_change": "--events",
    "run_status": "--status",
}
# Names that only an argument has; `name` or `run_status` alone may be a field of a task.
_UNMISTAKABLE = (
    *("config_file", "env_file", "older_than", "newer_than", "keep_newest", "stop_first", "stop_timeout"),
    *("missing_ok", "max_tasks", "max_workers", "poll_interval", "page_size", "reuse_within"),
    *("quota_timeout", "idempotency_key", "inference_params"),
)
_ARGUMENTS = (
    *_UNMISTAKABLE,
    *("profile", "run_status", "name", "creator", "newest_first", "limit", "journal", "timeout", "extra"),
    *("input_bos_uri", "output_bos_uri", "endpoint", "model_id", "description", "data_format"),
    *("completion_window",),
)
_NAME = rf"(?<![\w-])(?P<name>{'|'.join(_ARGUMENTS)})"


def _option(match: re.Match[str]) -> str:
    name = match["name"]
    return _OPTIONS.get(name, f"--{name.replace('_', '-')}")


_PHRASES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b\w+=True \((--[\w-]+)\)"), r"\1"),
    (
        re.compile(r"(?:client\.)?\blist\(name=(\S+?)\)(?: \(qf-tasks list --name\))?"),
        r"qf-tasks list --name \1",
    ),
    (re.compile(r"'task_ids?' "), "ID "),
    (
        re.compile(r"run_status, name, older_than and creator is required"),
        "--status, --name, --older-than and --creator is required",
    ),
    (re.compile(r"(a number with a unit), a timedelta or a datetime"), r"\1"),
)
_CALLS: tuple[re.Pattern[str], ...] = (
    re.compile(rf"{_NAME}=True\b"),
    re.compile(rf"{_NAME}(?= (?:must|should|is required|cannot|needs|has no state)\b)"),
    re.compile(rf"(?<![\w-])(?P<name>{'|'.join(_UNMISTAKABLE)})\b(?!=)"),
)
_ASSIGNED = re.compile(rf"{_NAME}=")


def in_options(text: str) -> str:
    """Return a message of the library with options in the place of Python arguments."""
    for pattern, replacement in _PHRASES:
        text = pattern.sub(replacement, text)
    for pattern in _CALLS:
        text = pattern.sub(_option, text)
    return _ASSIGNED.sub(lambda match: f"{_option(match)} ", text)


_CHINESE = "\u2018-\u201f\u3000-\u303f\u4e00-\u9fff\uff00-\uffef"
_IN_BRACKETS = re.compile(rf"\([^()]*[{_CHINESE}][^()]*\)")
_SENTENCE = re.compile(rf"\s*[{_CHINESE}][^。]*。?")


def without_chinese(text: str, encoding: str) -> str:
    """Return a text without its Chinese sentences, if the encoding cannot show them."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = _IN_BRACKETS.sub(lambda match: re.sub(rf"[{_CHINESE}]+\s*", "", match[0]), text)
        return _SENTENCE.sub("", text).strip()
    return text
