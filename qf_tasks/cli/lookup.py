"""Tasks by their ids, with an error for each that cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qf_tasks.cli.errors import as_object, exit_code_of, report_each
from qf_tasks.cli.output import Terminal
from qf_tasks.errors import InvalidRequestError, QfTasksError, TaskNotFoundError

if TYPE_CHECKING:
    from qf_tasks import Account, Task, TaskClient


@dataclass
class Lookup:
    """What a command learned about tasks, whatever ends it.

    Attributes:
        tasks: Those that could be read.
        errors: For each of the others why not, with its `task_id`.
        not_created: The JSON of tasks that could not be created, for `create --wait`.
    """

    tasks: list[Task] = field(default_factory=list["Task"])
    errors: list[QfTasksError] = field(default_factory=list[QfTasksError])
    not_created: list[dict[str, object]] = field(default_factory=list[dict[str, object]])

    def read(
        self, client: TaskClient, ids: Iterable[str], on_task: Callable[[Task], None] | None = None
    ) -> None:
        """Read each task; what goes wrong with one does not keep the others from being read."""
        for task_id in ids:
            try:
                task = client.get(task_id)
            except (TaskNotFoundError, InvalidRequestError) as error:
                error.task_id = task_id
                self.errors.append(error)
            else:
                self.tasks.append(task)
                if on_task:
                    on_task(task)

    def as_json(self, terminal: Terminal, account: Account) -> dict[str, object]:
        """Return the JSON of all commands that print tasks by their ids."""
        return {
            "account": account,
            "tasks": self.tasks,
            "errors": [*self.not_created, *(as_object(terminal, error) for error in self.errors)],
        }

    def report_errors(self, terminal: Terminal) -> None:
        """Print the errors, once for each cause what to do, and set the exit code."""
        report_each(terminal, [("Error", error) for error in self.errors])
        if self.errors:
            terminal.exit_code = exit_code_of(type(error).__name__ for error in self.errors)
