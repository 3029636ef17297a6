"""The command that shows four deletes against a sandbox, through the public client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from qf_tasks.cli.commands.sandbox import reject_settings
from qf_tasks.cli.errors import FAILED
from qf_tasks.cli.output import Terminal
from qf_tasks.cli.registry import command, terminal_of
from qf_tasks.errors import AuthenticationError, QfTasksError, TaskNotFoundError, TaskStateError

if TYPE_CHECKING:
    from qf_tasks import DeleteResult, TaskClient

_WIDTH = 79
_INDENT = "    "
_INTRODUCTION = """\
A sandbox on this machine plays the service: it checks signatures and keeps
tasks. The client and the official SDK below it are the real ones. No account
is used, and nothing leaves this machine.
"""
_CLOSING = """\
With the real service and the key pair of your account (Access Key / Secret
Key of IAM):

    export QIANFAN_ACCESS_KEY=... QIANFAN_SECRET_KEY=...
    qf-tasks delete TASK_ID        # in Python: TaskClient().delete("TASK_ID")
"""
_CHOICE = "The codes in 2 and 3 are those of the sandbox; the service documents none."


@dataclass(frozen=True)
class _Step:
    """One delete: what it shows, the line that does it, and the error that is expected."""

    title: str
    line: str
    delete: Callable[[], DeleteResult]
    expected: type[QfTasksError] | None = None


@command("demo", examples=("qf-tasks demo", "qf-tasks demo | less"), ids=False, settings=False)
def demo(context: typer.Context) -> None:
    """Show a delete that works and three that are rejected, on this machine."""
    from qf_tasks import Settings, TaskClient
    from qf_tasks.sandbox import Sandbox

    terminal = terminal_of(context)
    reject_settings(terminal)
    with Sandbox(frozen=True) as sandbox:
        key, secret = sandbox.access_key, sandbox.secret_key
        good = Settings(access_key=key, secret_key=secret, base_url=sandbox.url)
        wrong = Settings(access_key=key, secret_key=secret[:-1], base_url=sandbox.url)
        ended = sandbox.add_task(name="nightly-eval")
        running = sandbox.add_task(name="translate-faq", run_status="Running", progress=120)
        with TaskClient(good) as client, TaskClient(wrong) as other_client:
            _print(terminal, _INTRODUCTION)
            _print(terminal, ">>> list(client.list())")
            for task in client.list():
                _print(terminal, str(task), _INDENT)
            for number, step in enumerate(_steps(client, other_client, ended, running), 1):
                _show(terminal, number, step)
    _print(terminal, f"\n{_CLOSING}")
    _print(terminal, _CHOICE)


def _steps(client: TaskClient, other_client: TaskClient, ended: str, running: str) -> list[_Step]:
    return [
        _Step("A task that has ended is deleted", f'client.delete("{ended}")', lambda: client.delete(ended)),
        _Step(
            "A task that is running is not",
            f'client.delete("{running}")',
            lambda: client.delete(running),
            TaskStateError,
        ),
        _Step(
            "Nor is one that does not exist: the first, once more",
            f'client.delete("{ended}")',
            lambda: client.delete(ended),
            TaskNotFoundError,
        ),
        _Step(
            "With a secret key that lost its last letter, nothing is deleted",
            f'TaskClient(secret_key=key[:-1], ...).delete("{running}")',
            lambda: other_client.delete(running),
            AuthenticationError,
        ),
    ]


def _show(terminal: Terminal, number: int, step: _Step) -> None:
    _print(terminal, f"\n{number}. {step.title}", style="bold")
    _print(terminal, f">>> {step.line}")
    error: QfTasksError | None = None
    try:
        result = step.delete()
        lines = [f"DeleteResult: {result.outcome}", f"request id: {result.request_id}"]
    except QfTasksError as caught:
        error = caught
        lines = [
            f"{type(error).__name__}: {error.message}",
            f"code: {error.code}",
            f"request id: {error.request_id}",
            f"hint: {error.hint}",
        ]
    for line in lines:
        _print(terminal, line, _INDENT)
    if not isinstance(error, step.expected or type(None)):
        terminal.exit_code = FAILED


def _print(terminal: Terminal, text: str, indent: str = "", style: str = "") -> None:
    """Print a text in lines that read well on any terminal, and in a file."""
    width = min(terminal.out.width, _WIDTH) - len(indent)
    for line in Text(text, style).wrap(terminal.out, max(width, 20)):
        line.rstrip()
        terminal.out.print(Text(indent) + line, soft_wrap=True)
