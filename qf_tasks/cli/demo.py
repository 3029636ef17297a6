"""The command that shows four deletes, against a sandbox and through the public client."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from qf_tasks.cli._errors import FAILED, as_object, exit_code
from qf_tasks.cli._terminal import Terminal
from qf_tasks.errors import AuthenticationError, QfTasksError, TaskNotFoundError, TaskStateError
from qf_tasks.models import DeleteResult, Task

if TYPE_CHECKING:
    from qf_tasks import TaskClient

_WIDTH = 79
_INDENT = "    "
_INTRODUCTION = """\
A sandbox on this machine stands in for the service: it checks signatures and
keeps tasks. The client and the official SDK below it are the real ones. No
account is used, and nothing leaves this machine.
"""
_CLOSING = """\
On the real service, with the key pair of your account (安全认证 AK/SK):

    export QIANFAN_ACCESS_KEY=... QIANFAN_SECRET_KEY=...
    qf-tasks delete TASK_ID        # in Python: TaskClient().delete("TASK_ID")
"""
_CHOICE = "The codes in 2 and 3 are the sandbox's choice; those of the service are not documented."


@dataclass(frozen=True)
class _Step:
    """One delete: what it shows, the line that does it, and what is to come of it."""

    title: str
    written: str
    delete: Callable[[], DeleteResult]
    expected: type[DeleteResult | QfTasksError]

    def outcome(self) -> DeleteResult | QfTasksError:
        """Return what came of it."""
        try:
            return self.delete()
        except QfTasksError as error:
            return error


def demo(terminal: Terminal) -> None:
    """Show a delete that works and three that are refused, on this machine."""
    from qf_tasks import Settings, TaskClient
    from qf_tasks.sandbox import Sandbox

    with Sandbox(frozen=True) as sandbox:
        settings = Settings(
            access_key=sandbox.access_key, secret_key=sandbox.secret_key, base_url=sandbox.url
        )
        cut_short = Settings(
            access_key=sandbox.access_key, secret_key=sandbox.secret_key[:-1], base_url=sandbox.url
        )
        ended = sandbox.add_task(name="nightly-eval")
        running = sandbox.add_task(name="translate-faq", run_status="Running", progress=120)
        with TaskClient(settings) as client, TaskClient(cut_short) as stranger:
            tasks = list(client.list())
            steps = _steps(client, stranger, ended, running)
            if terminal.as_json:
                terminal.show_json([_as_json(step, step.outcome()) for step in steps])
            else:
                _tell(terminal, tasks, steps)


def _steps(client: TaskClient, stranger: TaskClient, ended: str, running: str) -> list[_Step]:
    return [
        _Step(
            "A task that has ended is deleted",
            f'client.delete("{ended}")',
            lambda: client.delete(ended),
            DeleteResult,
        ),
        _Step(
            "A task that is running is not",
            f'client.delete("{running}")',
            lambda: client.delete(running),
            TaskStateError,
        ),
        _Step(
            "Nor is one that is gone: the first, once more",
            f'client.delete("{ended}")',
            lambda: client.delete(ended),
            TaskNotFoundError,
        ),
        _Step(
            "With a secret key that lost its last letter, nothing is deleted",
            f'TaskClient(secret_key=key[:-1], ...).delete("{running}")',
            lambda: stranger.delete(running),
            AuthenticationError,
        ),
    ]


def _tell(terminal: Terminal, tasks: Iterable[Task], steps: Iterable[_Step]) -> None:
    _print(terminal, _INTRODUCTION)
    _print(terminal, ">>> list(client.list())")
    for task in tasks:
        _print(terminal, str(task), _INDENT)
    for number, step in enumerate(steps, 1):
        outcome = step.outcome()
        _print(terminal, f"\n{number}. {step.title}", style="bold")
        _print(terminal, f">>> {step.written}")
        for line in _lines(outcome):
            _print(terminal, line, _INDENT)
        if not isinstance(outcome, step.expected):
            terminal.exit_code = FAILED
    _print(terminal, f"\n{_CLOSING}")
    _print(terminal, _CHOICE)


def _lines(outcome: DeleteResult | QfTasksError) -> list[str]:
    """Return what came back, for people."""
    if isinstance(outcome, DeleteResult):
        return [f"DeleteResult: {outcome.outcome}", f"request id: {outcome.request_id}"]
    return [
        f"{type(outcome).__name__}: {outcome.message}",
        f"code: {outcome.code}",
        f"request id: {outcome.request_id}",
        f"hint: {outcome.hint}",
    ]


def _print(terminal: Terminal, text: str, indent: str = "", style: str = "") -> None:
    """Print a text in lines that read well on any terminal, and in a file."""
    width = min(terminal.out.width, _WIDTH) - len(indent)
    for line in Text(text, style).wrap(terminal.out, max(width, 20)):
        line.rstrip()
        terminal.out.print(Text(indent) + line, soft_wrap=True)


def _as_json(step: _Step, outcome: DeleteResult | QfTasksError) -> dict[str, object]:
    if isinstance(outcome, DeleteResult):
        return {"call": step.written, "result": outcome.model_dump(mode="json")}
    return {"call": step.written, "error": as_object(outcome, str(outcome), exit_code(type(outcome)))}
