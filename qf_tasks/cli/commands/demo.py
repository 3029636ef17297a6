"""The command that shows the whole pipeline against a sandbox, through the public client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from qf_tasks.cli.commands.sandbox import reject_settings
from qf_tasks.cli.errors import FAILED
from qf_tasks.cli.output import Terminal
from qf_tasks.cli.registry import command
from qf_tasks.cli.tables import counted
from qf_tasks.errors import TaskNotFoundError

if TYPE_CHECKING:
    from qf_tasks import Task, TaskClient

_WIDTH = 80
_SPEED = 30  # a task takes 70 s by the sandbox's clock
_POLL_INTERVAL = 0.4  # seconds
_FOLDER = "bos:/demo-bucket/rivers"
_RIVERS = (
    *("Amazon", "Congo", "Danube", "Ganges", "Mekong"),
    *("Mississippi", "Niger", "Nile", "Volga", "Yangtze"),
)
_INDENT = " " * 6
_SHOWN = 3  # results
_INTRODUCTION = """\
Ten questions become ten answers. A sandbox on this machine plays the service
and its object storage (BOS): it checks signatures, keeps tasks and files, and
answers each record by repeating its question. The client and the official SDK
below it are the real ones. No account is used, and nothing leaves this machine.

Each step shows a line of Python (>>>), the command in a terminal ($), and what
came back.
"""
_CLOSING = """\
With the real service the lines are the same. It needs the key pair of your
account (Access Key / Secret Key of IAM):

    export QIANFAN_ACCESS_KEY=... QIANFAN_SECRET_KEY=...
    qf-tasks doctor                # or first: qf-tasks configure

`qf-tasks run` does steps 1 to 4 in one, for any number of records.
"""


@command("demo", examples=("qf-tasks demo", "qf-tasks demo | less"), ids=False, settings=False)
def demo(terminal: Terminal) -> None:
    """Send ten records through a task and back on this machine, in a few seconds."""
    from qf_tasks.sandbox import Sandbox

    reject_settings(terminal)
    with Sandbox(speed=_SPEED) as sandbox, sandbox.client() as client:
        _print(terminal, _INTRODUCTION)
        _Demo(terminal, client).run()
    _print(terminal, f"\n{_CLOSING}")


class _Demo:
    """The steps, each printed before it is done."""

    def __init__(self, terminal: Terminal, client: TaskClient) -> None:
        self._terminal = terminal
        self._client = client
        self._number = 0

    def run(self) -> None:
        """Take records through a task and back, clean up, and show a rejection."""
        client, show = self._client, self._show
        records = [{"id": str(n), "query": f"How long is the {river}?"} for n, river in enumerate(_RIVERS, 1)]
        self._step(
            "Upload ten records, one JSON object a line",
            f'client.data.upload("rivers.jsonl", "{_FOLDER}/in/")',
            f"qf-tasks upload rivers.jsonl {_FOLDER}/in/",
        )
        upload = client.data.upload(records, f"{_FOLDER}/in/")
        show(
            f"{upload.records} records, {upload.bytes} bytes, {counted(upload.files, 'file')} in {upload.uri}"
        )

        task: dict[str, Any] = {"name": "rivers", "endpoint": "ernie-x1-turbo-32k"}
        task |= {"input_bos_uri": f"{_FOLDER}/in/", "output_bos_uri": f"{_FOLDER}/out/"}
        keywords = ", ".join(f'{name}="{value}"' for name, value in task.items())
        shell = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in task.items())
        self._step("Create a task for them", f"task = client.create({keywords})", f"qf-tasks create {shell}")
        created = client.create(**task)
        task_id = created.task_id
        show(f"{task_id}, request id {created.request_id}")

        self._step(
            "Wait until it has ended", "client.wait(task, on_change=print)", f"qf-tasks wait {task_id}"
        )
        ended = client.wait(created, poll_interval=_POLL_INTERVAL, on_change=self._show_change)
        show(f"output in {ended.output_uri}; {ended.total_token_usage} tokens")

        self._step(
            "Read the results, in no particular order",
            "for result in client.data.results(task): print(result.id, result.outcome, result.text)",
            f"qf-tasks results {task_id} -o results.jsonl",
        )
        results = list(client.data.results(ended, missing=True))
        show(*(f"{result.id} {result.outcome} {result.text}" for result in results[:_SHOWN]))
        show(f"... and {len(results) - _SHOWN} more")

        self._step(
            "Delete the task, and the data of it: neither can be undone",
            f'client.delete(task); client.data.delete("{_FOLDER}/")',
            f"qf-tasks delete {task_id}",
        )
        outcome = client.delete(ended).outcome
        show(f"task: {outcome}; data: {counted(client.data.delete(f'{_FOLDER}/'), 'file')}")

        self._step(
            "A rejection says why, and what to do: the same delete once more",
            "client.delete(task)",
            f"qf-tasks delete {task_id}",
        )
        try:
            client.delete(ended)
            self._terminal.exit_code = FAILED
        except TaskNotFoundError as error:
            show(f"TaskNotFoundError: {error.message}")
            show(f"code {error.code} (of the sandbox: the service documents none)", f"hint: {error.hint}")

    def _step(self, title: str, python: str, shell: str) -> None:
        self._number += 1
        _print(self._terminal, f"\n{self._number}. {title}", style="bold")
        _print(self._terminal, python, first="  >>> ", indent=" " * 10)
        _print(self._terminal, shell, first="    $ ", indent=" " * 10)

    def _show(self, *texts: str) -> None:
        for text in texts:
            _print(self._terminal, text, first=_INDENT, indent=_INDENT)

    def _show_change(self, task: Task) -> None:
        done = f", {counted(task.progress, 'record')} done" if task.progress else ""
        self._show(f"{task.run_status}{done}")


def _print(terminal: Terminal, text: str, *, first: str = "", indent: str = "", style: str = "") -> None:
    """Print a text in lines that read well on any terminal, and in a file."""
    width = max(min(terminal.out.width, _WIDTH) - max(len(first), len(indent)), 20)
    for line in Text(text, style).wrap(terminal.out, width):
        line.rstrip()
        terminal.out.print(Text(first) + line, soft_wrap=True)
        first = indent
    terminal.out.file.flush()
