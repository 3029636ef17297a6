"""The command that waits for tasks, and what `create --wait` shares with it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from qf_tasks.cli import completion, ids, options, progress, tables
from qf_tasks.cli.commands.read import PIPED
from qf_tasks.cli.errors import FAILED, as_object
from qf_tasks.cli.lookup import Lookup
from qf_tasks.cli.options import flag
from qf_tasks.cli.output import Terminal
from qf_tasks.cli.registry import command
from qf_tasks.errors import QfTasksError

if TYPE_CHECKING:
    from qf_tasks import Task, TaskClient

_TABLE = ("task_id", "run_status", "records_done", "age", "name")


@command(
    "wait",
    examples=(
        "qf-tasks wait infer-9ia3kc1wt9mp --timeout 2h",
        "qf-tasks list -q --status running | qf-tasks wait - --events",
    ),
)
def wait(
    terminal: Terminal,
    task_ids: options.Ids,
    *,
    timeout: options.Timeout = "25h",
    poll_interval: options.PollInterval = "30s",
    events: Annotated[bool, flag("--events", "Print each change as a line of JSON (NDJSON).")] = False,
    max_tasks: options.MaxTasks = None,
) -> None:
    """Wait until all tasks end, then show their final states.

    Ctrl-C stops watching; the tasks keep running. With --json one object at the end, as of `get`. With
    --events an object a line: {"event": "task", "task"} at each change of state or progress, {"event":
    "error", "error"}, and at last {"event": "end", "done", "failed", "pending"} with ids.
    """
    wanted = ids.read(task_ids, max_tasks)
    terminal.as_json |= events
    with terminal.client() as client:
        Watch(terminal, client, wanted, events=events).run(timeout, poll_interval)


class Watch:
    """A wait for tasks: shown while it lasts, and reported whatever ends it."""

    def __init__(
        self,
        terminal: Terminal,
        client: TaskClient,
        task_ids: Sequence[str],
        *,
        events: bool = False,
        not_created: Sequence[dict[str, object]] = (),
    ) -> None:
        self._terminal = terminal
        self._client = client
        self._task_ids = task_ids
        self._events = events
        self._view = progress.WaitProgress(terminal, len(task_ids))
        self._found = Lookup(not_created=list(not_created))

    def run(self, timeout: str | None, poll_interval: str) -> None:
        """Wait until all have ended, and print them."""
        try:
            with progress.shown(self._terminal, self._view):
                # Read them once: a wrong id must not hide the others, and some may have ended already.
                self._found.read(self._client, self._task_ids, self._on_change)
                pending = [task.task_id for task in self._view.tasks if not task.is_final]
                self._client.wait_all(
                    pending,
                    timeout=timeout,
                    poll_interval=poll_interval,
                    on_change=self._on_change,
                    raise_on_failure=False,
                )
        except BaseException as error:
            self._show(error if isinstance(error, QfTasksError) else None)
            raise
        self._show(None)

    def _on_change(self, task: Task) -> None:
        self._view.update(task)
        if self._events:
            self._print_event("task", task=task)

    def _show(self, failure: QfTasksError | None) -> None:
        terminal, tasks = self._terminal, self._view.tasks
        self._found.tasks = tasks
        completion.remember(task.task_id for task in tasks)
        if self._events:
            self._end_events(failure)
        elif terminal.as_json:
            terminal.show_json(self._found.as_json(terminal, self._client.account))
        else:
            columns = (*PIPED, "output_uri", "error_reason")
            rows = (tables.task_row(task, {*_TABLE, *columns}) for task in tasks)
            terminal.show_rows(rows, _TABLE, piped=columns)
            self._explain(tasks)
        if any(task.is_final and not task.is_success for task in tasks):
            terminal.exit_code = FAILED
        self._found.report_errors(terminal)

    def _explain(self, tasks: Sequence[Task]) -> None:
        """Print where the output of a task is, or why it failed."""
        for task in tasks:
            if task.is_success and task.output_uri and self._terminal.out.is_terminal:
                self._terminal.note(f"{task.task_id} output: {task.output_uri}")
            elif task.is_final and not task.is_success:
                code = "" if task.error_code is None else f" [{task.error_code}]"
                reason = task.error_reason or "the service gives no reason"
                self._terminal.note(f"{task.task_id} {task.run_status}: {reason}{code}", style="red")

    def _end_events(self, failure: QfTasksError | None) -> None:
        for error in self._found.errors + ([failure] if failure else []):
            self._print_event("error", error=as_object(self._terminal, error))
        ids: dict[str, list[str]] = {"done": [], "failed": [], "pending": []}
        for task in self._view.tasks:
            ids["done" if task.is_success else "failed" if task.is_final else "pending"].append(task.task_id)
        self._print_event("end", **ids)

    def _print_event(self, event: str, **details: object) -> None:
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        self._terminal.show_json({"event": event, "time": moment, **details}, indent=None)
        self._terminal.out.file.flush()
